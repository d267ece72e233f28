"""Plays the image meet-agents 1.27 with the real library, livekit-agents: subtitles, and who speaks when.

Facts: facts/visio.md 4. The subtitles agent uses the very plugin of the real one, so refused or broken streams are lost
in the same way.
"""
