"""Recordings on this disk: what is in them, how long they are, and their sound alone.

The real worker asks ffprobe and ffmpeg; PyAV carries the same libraries.
"""

from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError


@dataclass(frozen=True)
class Media:
    """What a file holds."""

    has_audio: bool
    has_video: bool
    seconds: float


def probe(path: Path) -> Media:
    """What the file holds; nothing when it is no recording at all."""
    try:
        with av.open(str(path)) as container:
            audio = container.streams.audio
            seconds = container.duration / av.time_base if container.duration else 0.0
            if audio and not seconds:
                # A file that was cut off has no length in its head; its packets know.
                ends = [
                    float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    for packet in container.demux(audio[0])
                    if packet.pts is not None and packet.time_base is not None
                ]
                seconds = max(ends, default=0.0)
            return Media(bool(audio), bool(container.streams.video), seconds)
    except (FFmpegError, OSError):
        return Media(has_audio=False, has_video=False, seconds=0.0)


def sound_of(path: Path) -> Path:
    """The sound of a video, copied without encoding it again, beside it."""
    target = path.with_suffix(".m4a")
    with av.open(str(path)) as source, av.open(str(target), "w", format="mp4") as sink:
        stream = sink.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    return target
