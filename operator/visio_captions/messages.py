"""The client's messages: reading audio cheaply, storing it small, and writing it again for another server.

A frame is `{"type": "Audio", "pcm": [float32, ...]}` in msgpack, 24 kHz and mono: five bytes per sample, the tag 0xca
and a big-endian float. All work here is on slices of bytes, since a proxy reads some 2,500 frames of 1,920 samples in a
second and has no numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

SAMPLE_RATE = 24_000
FRAME_SAMPLES = 1920
"""Samples in one step of the model, 80 ms; word times are multiples of it."""
_AUDIO = b"\x82\xa4type\xa5Audio\xa3pcm"
_AUDIO_16 = _AUDIO + b"\xdc"
_SHORT = len(_AUDIO_16) + 2
_FLOAT = b"\xca"
# Comparing with what is there is many times faster than counting.
_FRAME_TAGS = _FLOAT * FRAME_SAMPLES
_FRAME_SILENCE = bytes(3 * FRAME_SAMPLES)
_STEP = msgpack.packb({"type": "Step"})[1:]
# The first byte of a float holds its sign and all but one bit of its exponent: these are the magnitudes below 2**-7,
# which is -42 dB of full scale. Speech in a call is far above it, a room's noise after noise suppression below.
_QUIET = bytes(byte for byte in range(256) if byte & 0x7F < 60)
_LOUD_SHARE = 50


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of one message: the upper three bytes of each float, all first bytes first; empty for pure silence.

    Three bytes keep 16 bits of the mantissa, so audio that came from 16-bit samples is stored without loss.
    """

    samples: int
    planes: bytes
    loud: bool

    def message(self, skip: int = 0) -> bytes:
        """The Audio message with these samples, without the first `skip` ones."""
        count = self.samples - skip
        body = bytearray(b"\xca\0\0\0\0" * count)
        if self.planes:
            for place in range(3):
                body[place + 1 :: 5] = self.planes[place * self.samples + skip : (place + 1) * self.samples]
        size = b"\xdc" + count.to_bytes(2, "big") if count < 65536 else b"\xdd" + count.to_bytes(4, "big")
        return _AUDIO + size + bytes(body)


def read_client(message: bytes) -> Sound | int:
    """A client's message: the sound of an Audio, or the id of a Marker.

    Raises ValueError for anything else: what a server would close the stream for must not reach one, and compressed
    audio (OggOpus) cannot be continued in its middle on another server.
    """
    samples, rest = divmod(len(message) - _SHORT, 5)
    if not rest and message.startswith(_AUDIO_16) and int.from_bytes(message[_SHORT - 2 : _SHORT], "big") == samples:
        tags = message[_SHORT::5]
        if tags == (_FRAME_TAGS if samples == FRAME_SAMPLES else _FLOAT * samples):
            return _sound(message[_SHORT:])
    content = unpack(message)
    match content:
        case {"type": "Marker", "id": int(identity)}:
            return identity
        case {"type": "Audio", "pcm": list(pcm)}:
            try:
                packed: bytes = msgpack.packb([float(sample) for sample in pcm], use_single_float=True)
            except (TypeError, ValueError, OverflowError):
                raise ValueError("an Audio message holds something that is no sample") from None
            return _sound(packed[len(packed) - 5 * len(pcm) :])
    raise ValueError("a message is neither Audio nor Marker")


def unpack(message: bytes) -> Any:
    """The value of a msgpack message. Raises ValueError when it is none."""
    try:
        return msgpack.unpackb(message)
    except (ValueError, RecursionError):
        raise ValueError("a message is not msgpack") from None


def _sound(body: bytes) -> Sound:
    samples = len(body) // 5
    first = body[1::5]
    loud = len(first.translate(None, _QUIET)) * _LOUD_SHARE > samples
    planes = first + body[2::5] + body[3::5]
    silence = _FRAME_SILENCE if samples == FRAME_SAMPLES else bytes(3 * samples)
    return Sound(samples, b"" if planes == silence else planes, loud)


def is_step(message: bytes) -> bool:
    """Whether a server tells a step of its model, as a map whose type comes first; it does so after each frame."""
    return message.startswith(_STEP, 1) and message[0] & 0xF0 == 0x80
