"""Plays the image meet-backend 1.27: server, Celery worker and management commands, with the real one's paths.

Facts: facts/visio.md 1, 6, 8. The server does what an operator has to wire: database, Redis, OpenID Connect, LiveKit,
object storage, summary service and mail are really used; pages that only browsers need are not there.
"""
