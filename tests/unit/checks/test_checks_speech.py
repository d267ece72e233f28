"""What the smoke test says: a sentence, and words in tones that the laboratory's servers know."""

from __future__ import annotations

import array
import io
import wave

import numpy as np

from visio_checks import speech, tone
from visio_lab.standins.tone import encode_words


def test_the_sentence_is_small_and_lasts_some_seconds() -> None:
    samples = array.array("h", speech.samples())
    assert len(samples) < 60_000
    assert 2 < len(samples) / speech.RATE < 5
    assert 5_000 < max(samples) <= 32_767


def test_the_wave_file_holds_the_sentence() -> None:
    with wave.open(io.BytesIO(speech.wave_file())) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (speech.RATE, 1, 2)
        assert reader.readframes(reader.getnframes()) == speech.samples()


def test_the_tones_are_those_of_the_laboratory() -> None:
    ours = np.frombuffer(tone.tone_samples(speech.RATE), "<i2") / 32_767
    theirs = encode_words([f"w{number}" for number in tone.NUMBERS], rate=speech.RATE)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3
