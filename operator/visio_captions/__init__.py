"""The captions proxy: gives each stream of the subtitles agent beside it a speech-to-text server with a free slot.

Kyutai's server has a fixed number of slots, no queue, and refuses a stream when all are taken; its client in the agent
never retries. So the proxy holds a stream's handshake until a server has accepted it. A stream stays where it was
placed: when its server ends, it ends too.
"""

from visio_captions.command import main

__all__ = ["main"]
