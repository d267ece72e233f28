"""Plays the image meet-summary 1.27: the API that takes jobs, and the three Celery workers that do them.

Facts: facts/visio.md 3. Broker, object store, transcription server, language model, Docs and webhooks are really used.
"""
