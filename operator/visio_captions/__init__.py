"""The captions proxy: gives each stream of the subtitles agent beside it a speech-to-text server, and moves streams.

Kyutai's server has a fixed number of slots, no queue and no drain; its client in the agent opens one websocket per
participant and never tries again. So the proxy holds a stream's handshake until a server has accepted it, and when that
server is taken out of service, stalls or dies, it carries the stream on elsewhere: the last seconds of audio again, the
words on the client's own time line, none twice.
"""

from visio_captions.command import main

__all__ = ["main"]
