"""The code of tones: what was said is heard, at its time, through what speech goes through on its way."""

from __future__ import annotations

import io
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visio_lab.standins.tone import RATE, Decoder, Samples, encode_words, number_of, wav

# Every digit after every other, and the numbers whose digits repeat.
NUMBERS = [0, 1, 65_535, 0x1111, 0xEEEE, *np.random.default_rng(7).integers(0, 65_536, 25).tolist()]
WORDS = [f"w{number}" for number in NUMBERS]


def heard(pcm: Samples, piece: int = 1920) -> list[tuple[int, float]]:
    decoder = Decoder()
    return [word for start in range(0, len(pcm), piece) for word in decoder.hear(pcm[start : start + piece])]


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 65_535), min_size=1, max_size=6),
    st.floats(0.46, 1.5),
    st.floats(0, 0.3),
    st.sampled_from([480, 1000, 1920, 99_999]),
)
def test_words_are_heard_once_in_order_and_at_their_time(
    numbers: list[int], every: float, lead: float, piece: int
) -> None:
    found = heard(encode_words([f"w{number}" for number in numbers], every=every, lead=lead), piece)
    assert [number for number, _ in found] == numbers
    for index, (_, second) in enumerate(found):
        assert abs(second - lead - index * every) <= 0.021


@pytest.mark.parametrize("bit_rate", [12_000, 32_000])
@pytest.mark.parametrize("application", ["voip", "audio"])
def test_words_survive_opus_and_a_noisy_room(bit_rate: int, application: str) -> None:
    clean = encode_words(WORDS, rate=48_000, lead=0.2)
    noisy = clean + 0.01 * np.random.default_rng(3).standard_normal(len(clean)).astype(np.float32)
    received = through_opus(noisy, bit_rate, application)
    # Half the rate, as the agent resamples; and the odd start is where no frame of the sender begins.
    halved = received[: len(received) // 2 * 2].reshape(-1, 2).mean(axis=1).astype(np.float32)[137:]
    assert [number for number, _ in heard(halved)] == NUMBERS


def test_words_survive_a_jitter_buffer_that_leaves_out_and_repeats_pieces() -> None:
    # As WebRTC's does, by whole periods of the sound: 10 ms hold a whole number of them for every tone.
    pieces = list(encode_words(WORDS).reshape(-1, 240))
    random = np.random.default_rng(5)
    for start in range(len(pieces) - 12, 0, -12):
        place = start + int(random.integers(0, 12))
        pieces[place : place + 1] = [pieces[place]] * int(random.choice([0, 2]))
    assert [number for number, _ in heard(np.concatenate(pieces))] == NUMBERS


def test_a_word_that_is_cut_anywhere_is_not_heard_as_another() -> None:
    pcm = encode_words(["w4660"])
    whole = round(0.36 * RATE)
    for cut in range(480, whole, 480):
        for piece in (pcm[cut:], np.concatenate([pcm[:cut], np.zeros(whole, np.float32)])):
            assert heard(piece) in ([], [(4660, 0.0)])


def test_a_wav_file_holds_the_samples_as_a_microphone_gives_them() -> None:
    pcm = encode_words(["w1"], rate=48_000)
    with wave.open(io.BytesIO(wav(pcm, 48_000))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 1, 2)
        assert file.getnframes() == len(pcm)


@pytest.mark.parametrize("word", ["", "w", "7", "w-1", "w65536", "bonjour", "w1 "])
def test_other_texts_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not a word of this code"):
        number_of(word)


def test_words_too_close_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.46 s"):
        encode_words(["w1"], every=0.4)


def through_opus(pcm: Samples, bit_rate: int, application: str) -> Samples:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 48_000, "mono", "s16", bit_rate
    encoder.options = {"application": application, "dtx": "1"}
    decoder = av.CodecContext.create("opus", "r")
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    samples = (np.clip(pcm, -1, 1) * 32_767).astype(np.int16)
    parts = []
    for start in range(0, len(samples) - 959, 960):
        frame = av.AudioFrame.from_ndarray(samples[start : start + 960].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        for packet in encoder.encode(frame):
            parts += [decoded.to_ndarray()[0] for decoded in decoder.decode(packet)]
    return np.concatenate(parts).astype(np.float32)
