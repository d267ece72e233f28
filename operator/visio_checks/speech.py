"""What the smoke test says: a sentence, made with espeak-ng, as 16-bit samples."""

from __future__ import annotations

import array
import functools
from importlib.resources import files

RATE = 16_000
"""Samples in a second, one channel."""
SENTENCE = "Bonjour. Ceci est un essai des sous-titres de Visio."
"""What is said, in French, which both of Kyutai's languages and WhisperX know."""
LANGUAGE = "fr"
_FILE = "speech.ulaw"


@functools.cache
def samples() -> bytes:
    """The sentence as little-endian signed 16-bit samples; the file holds them in 8 bits each (ITU-T G.711 mu-law)."""
    coded = files(__package__).joinpath(_FILE).read_bytes()
    table = [_linear(code) for code in range(256)]
    return array.array("h", (table[code] for code in coded)).tobytes()


def _linear(code: int) -> int:
    inverted = ~code & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted & 0x70) >> 4)) - 0x84
    return -magnitude if inverted & 0x80 else magnitude


def wave_file() -> bytes:
    """The sentence as a WAV file, for programs that want a recording."""
    pcm = samples()
    header = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + RATE.to_bytes(4, "little")
    form += (2 * RATE).to_bytes(4, "little") + (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    return header + form + b"data" + len(pcm).to_bytes(4, "little") + pcm
