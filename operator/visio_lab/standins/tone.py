"""Words as sound: a code of audible tones that survives telephony, Opus and a microphone's noise suppression.

Every word is a number from 0 to 65535, written `w<number>`, and lasts 360 ms: six tones of 60 ms. The first is the
mark, 2,400 Hz. The others are five of the 17 frequencies 700, 800 ... 2,300 Hz: the number's four hexadecimal digits,
highest first, and a check digit. A digit is the step to the next tone: tone = (tone before + 1 + digit) modulo 17,
where the mark counts as tone 0. So no tone follows itself, and the code keeps its own time however a jitter buffer
stretches it. The check digit is (d1 + 2 d2 + 5 d3 + 11 d4 + 7) modulo 16. Between words there is silence of 100 ms at
least; by default a word begins every half second.

Only numpy and the standard library are used, so that a program which may not import this one can do the same.
"""

import io
import itertools
import wave
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 24_000
"""Samples per second of what speech-to-text servers hear."""
TONE_S = 0.06
TONES = 6
WORD_S = TONE_S * TONES
NUMBERS = 65_536
_MARK = 17
_FREQUENCIES = tuple(700 + 100 * index for index in range(18))
_DIGITS = 4
_BASE = 17
_RAMP_S = 0.004

HOP_S = 0.02
_HOP = round(HOP_S * RATE)
_CONFIRMED = 2
_GAP = 3
_LONGEST = 40
_NONE = -1
_FAINT = 0.004
_PURE = 0.45

Samples = NDArray[np.float32]


def number_of(word: str) -> int:
    """The number of a word `w<number>`. Raises ValueError for any other text."""
    if not word.startswith("w") or not word[1:].isdecimal() or int(word[1:]) >= NUMBERS:
        raise ValueError(f"{word!r} is not a word of this code, such as w7; numbers end at {NUMBERS - 1}")
    return int(word[1:])


def encode_words(
    words: Sequence[str], rate: int = RATE, every: float = 0.5, lead: float = 0.0, amplitude: float = 0.4
) -> Samples:
    """Words as mono samples between -1 and 1: `lead` seconds of silence, then one word each `every` seconds.

    Raises ValueError for a word that the code has not, and for words closer than 0.46 s.
    """
    if every < WORD_S + 0.1:
        raise ValueError(f"words need {WORD_S + 0.1:.2f} s each, not {every} s")
    pcm = np.zeros(round((lead + every * len(words)) * rate), np.float32)
    for index, word in enumerate(words):
        start = round((lead + every * index) * rate)
        sound = _word(number_of(word), rate, amplitude)
        pcm[start : start + len(sound)] = sound
    return pcm


def wav(pcm: Samples, rate: int) -> bytes:
    """Samples as a WAV file of 16 bits, as Chromium takes it for a microphone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _word(number: int, rate: int, amplitude: float) -> Samples:
    digits = [number >> shift & 15 for shift in (12, 8, 4, 0)]
    tone, tones = 0, [_MARK]
    for digit in (*digits, _check(digits)):
        tone = (tone + 1 + digit) % _BASE
        tones.append(tone)
    length = round(TONE_S * rate)
    time = np.arange(length) / rate
    # Without ramps each tone would begin and end with a click, which a codec spreads over its neighbours.
    ramp = np.clip(np.minimum(time, TONE_S - time) / _RAMP_S, 0, 1)
    sounds = [amplitude * ramp * np.sin(2 * np.pi * _FREQUENCIES[each] * time) for each in tones]
    return np.concatenate(sounds).astype(np.float32)


def _check(digits: Sequence[int]) -> int:
    return (digits[0] + 2 * digits[1] + 5 * digits[2] + 11 * digits[3] + 7) % 16


def _basis() -> Samples:
    """One column pair (cosine, sine) per frequency; all are orthogonal over a hop of 20 ms."""
    time = np.arange(_HOP) / RATE
    angles = 2 * np.pi * np.outer(time, _FREQUENCIES)
    return np.hstack([np.cos(angles), np.sin(angles)]).astype(np.float32)


_BASIS = _basis()


class Decoder:
    """Hears words in a stream of samples at 24 kHz, in pieces of any length."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._hop = 0
        self._run = (_NONE, 0)
        self._tones: list[int] | None = None
        self._start = 0

    def hear(self, pcm: Samples) -> list[tuple[int, float]]:
        """The words that these samples complete: their number, and the second at which each began (to 20 ms)."""
        samples = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        whole = len(samples) // _HOP * _HOP
        self._rest = samples[whole:]
        labels = self._labels(samples[:whole])
        return [(number, self._start * HOP_S) for each in labels if (number := self._next(each)) is not None]

    def _labels(self, samples: Samples) -> list[int]:
        """Which tone each hop holds, if one."""
        if not len(samples):
            return []
        hops = samples.reshape(-1, _HOP)
        energy = np.einsum("ij,ij->i", hops, hops)
        if energy.max() < _FAINT**2 * _HOP:
            return [_NONE] * len(hops)
        parts = hops @ _BASIS
        power = parts[:, :18] ** 2 + parts[:, 18:] ** 2
        best = power.argmax(axis=1)
        # A hop that is one tone and nothing else has all its energy there: power = energy x half the hop's length.
        pure = power.max(axis=1) > _PURE * energy * (_HOP / 2)
        loud = energy > _FAINT**2 * _HOP
        return [int(tone) if clear else _NONE for tone, clear in zip(best, pure & loud, strict=True)]

    def _next(self, label: int) -> int | None:
        """Take one hop; the number of the word that it completes."""
        self._hop += 1
        tone, length = self._run
        length = length + 1 if label == tone else 1
        self._run = (label, length)
        if label == _NONE:
            if length >= _GAP:
                self._tones = None
            return None
        if length != _CONFIRMED:
            return None
        if label == _MARK:
            self._tones, self._start = [], self._hop - length
            return None
        if self._tones is None or self._hop - self._start > _LONGEST:
            self._tones = None
            return None
        if not self._tones or self._tones[-1] != label:
            self._tones.append(label)
        if len(self._tones) <= _DIGITS:
            return None
        tones, self._tones = [0, *self._tones], None
        *digits, check = [(after - before - 1) % _BASE for before, after in itertools.pairwise(tones)]
        if max(digits) > 15 or check != _check(digits):
            return None
        return digits[0] << 12 | digits[1] << 8 | digits[2] << 4 | digits[3]
