"""Words coded as tones, which the laboratory's speech-to-text servers write down; to real ones they are beeps.

The code: a word is a number, sent as six tones of 60 ms. The first is a mark of 2,400 Hz; four hexadecimal digits and a
check digit follow, each as a step of 1 + digit around a ring of 17 tones, 700 to 2,300 Hz, the mark counting as the
first. A word begins every half second.
"""

from __future__ import annotations

import array
import math
from collections.abc import Iterator

NUMBERS = (1000, 2000, 3000)
"""What the smoke test says in tones; a server that knows the code writes w1000 w2000 w3000."""
_MARK_HZ, _FIRST_HZ, _STEP_HZ, _RING = 2_400, 700, 100, 17
_TONE_S, _RAMP_S, _EVERY_S = 0.06, 0.004, 0.5
_LOUDNESS = 0.4 * 32_767


def tone_samples(rate: int) -> bytes:
    """The words as signed 16-bit samples, `rate` in a second, in the machine's byte order."""
    samples = array.array("h")
    for number in NUMBERS:
        word = array.array("h", (sample for hertz in _tones(number) for sample in _tone(hertz, rate)))
        samples += word
        samples.frombytes(bytes(2 * (round(_EVERY_S * rate) - len(word))))
    return samples.tobytes()


def _tones(number: int) -> Iterator[int]:
    digits = [number >> shift & 15 for shift in (12, 8, 4, 0)]
    check = (digits[0] + 2 * digits[1] + 5 * digits[2] + 11 * digits[3] + 7) % 16
    yield _MARK_HZ
    place = 0
    for digit in (*digits, check):
        place = (place + 1 + digit) % _RING
        yield _FIRST_HZ + _STEP_HZ * place


def _tone(hertz: int, rate: int) -> Iterator[int]:
    for index in range(round(_TONE_S * rate)):
        at = index / rate
        # Without ramps a codec would spread the click at each end over the neighbours.
        ramp = max(0.0, min(1.0, at / _RAMP_S, (_TONE_S - at) / _RAMP_S))
        yield round(_LOUDNESS * ramp * math.sin(2 * math.pi * hertz * at))
