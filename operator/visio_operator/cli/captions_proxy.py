"""`visio-operator captions-proxy`: the sidecar of the subtitles agent; a program of its own in this image."""

from visio_captions import main

__all__ = ["main"]
