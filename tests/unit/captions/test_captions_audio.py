"""The client's audio as bytes: read, stored, cut and written again."""

import asyncio
import contextlib
import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visio_captions.messages import FRAME_SAMPLES, Sound, is_step, read_client
from visio_captions.tape import Tape


def message(pcm: list[float]) -> bytes:
    return msgpack.packb({"type": "Audio", "pcm": pcm}, use_single_float=True)


def sound(pcm: list[float]) -> Sound:
    read = read_client(message(pcm))
    assert isinstance(read, Sound)
    return read


@given(st.lists(st.integers(-32768, 32767), max_size=300), st.integers(0, 300))
def test_16_bit_audio_is_written_again_as_it_was(samples: list[int], skip: int) -> None:
    pcm = [sample / 32768 for sample in samples]
    skip = min(skip, len(pcm))
    assert msgpack.unpackb(sound(pcm).message(skip)) == {"type": "Audio", "pcm": pcm[skip:]}


def test_a_frame_is_written_again_byte_for_byte() -> None:
    frame = message([index / 32768 for index in range(FRAME_SAMPLES)])
    read = read_client(frame)
    assert isinstance(read, Sound)
    assert read.message() == frame
    assert read.samples == FRAME_SAMPLES


@pytest.mark.parametrize("packing", [{}, {"use_single_float": True}])
@pytest.mark.parametrize("pcm", [[0, 0, 0], [0.5, 0, -0.25], [1, -1], []])
def test_audio_is_read_however_it_is_packed(pcm: list[float], packing: dict[str, bool]) -> None:
    for order in ({"type": "Audio", "pcm": pcm}, {"pcm": pcm, "type": "Audio"}):
        read = read_client(msgpack.packb(order, **packing))
        assert isinstance(read, Sound)
        assert msgpack.unpackb(read.message())["pcm"] == pcm


def test_silence_takes_no_memory_and_long_messages_keep_their_length() -> None:
    read = sound([0.0] * 70_000)
    assert read.planes == b"" and not read.loud
    assert msgpack.unpackb(read.message())["pcm"] == [0.0] * 70_000


@pytest.mark.parametrize(
    "level, loud", [(0.0, False), (0.0005, False), (0.005, False), (0.02, True), (0.3, True), (-0.3, True)]
)
def test_speech_is_told_from_a_rooms_noise(level: float, loud: bool) -> None:
    assert sound([level, -level] * 960).loud is loud


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xc1", b"\x00", b"\xdc\xff\xff", b"\x91" * 2000,
        msgpack.packb({"type": "Audio"}), msgpack.packb({"type": "Audio", "pcm": "x"}),
        msgpack.packb({"type": "Audio", "pcm": [None]}), msgpack.packb({"type": "Audio", "pcm": [[1.0]]}),
        msgpack.packb({"type": "OggOpus", "data": b"x"}), msgpack.packb({"type": "Init"}),
        msgpack.packb({"type": "Marker", "id": "one"}), msgpack.packb([1]),
        message([0.5] * 10)[:-1], message([0.5] * 10) + b"x",
    ],
)  # fmt: skip
def test_what_is_neither_audio_nor_marker_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_client(content)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(read_client(content), Sound | int)


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ({"type": "Step"}, True),
        ({"type": "Step", "step_idx": 7, "prs": [0.0] * 4, "buffered_pcm": 0}, True),
        ({"type": "Steps"}, False),
        ({"type": "Word", "text": "Step", "start_time": 0.0}, False),
        (["type", "Step"], False),
        ("Step", False),
    ],
)
def test_a_step_is_told_from_other_messages_by_how_it_begins(content: object, want: bool) -> None:
    assert is_step(msgpack.packb(content)) is want


@given(st.binary(max_size=20))
def test_no_bytes_are_too_odd_to_be_asked_whether_they_are_a_step(content: bytes) -> None:
    assert is_step(content) is (content[1:].startswith(b"\xa4type\xa4Step") and 0x80 <= content[0] < 0x90)


def test_a_float_that_only_looks_like_a_frame_is_decoded_as_it_is() -> None:
    # Nine bytes per double: 5 doubles are as long as 9 singles.
    content = b"\x82\xa4type\xa5Audio\xa3pcm\xdc\x00\x05" + b"".join(b"\xcb" + struct.pack(">d", 0.5) for _ in range(5))
    read = read_client(content)
    assert isinstance(read, Sound)
    assert msgpack.unpackb(read.message())["pcm"] == [0.5] * 5


def filled(*lengths: int) -> Tape:
    tape, place = Tape(limit=10**9), 0
    for length in lengths:
        pcm = [(place + index) / 32768 for index in range(length)]
        tape.append(message(pcm), sound(pcm))
        place += length
    return tape


@given(st.lists(st.integers(1, 700), min_size=8, max_size=30), st.integers(0, 12_000), st.integers(0, 12_000))
def test_a_tape_is_read_from_a_step_on_without_a_gap(lengths: list[int], forgotten: int, position: int) -> None:
    tape = filled(*lengths)
    tape.forget(forgotten)
    number, place = tape.seek(position)
    assert place % FRAME_SAMPLES == 0 or place == tape.end
    assert place >= tape.start
    assert place <= max(position, tape.start + FRAME_SAMPLES) or place == tape.end
    heard = []
    begin = place
    while number < tape.next:
        content, place = tape.message(number, place)
        heard += msgpack.unpackb(content)["pcm"]
        number += 1
    assert heard == [index / 32768 for index in range(begin, tape.end)]


async def test_a_full_tape_makes_its_reader_wait_until_something_is_forgotten() -> None:
    tape = Tape(limit=4000)
    for _ in range(3):
        await tape.room()
        tape.append(message([0.0] * 1920), sound([0.0] * 1920))
    waiting = asyncio.create_task(tape.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    tape.forget(1920)
    async with asyncio.timeout(1):
        await waiting


async def test_a_message_longer_than_the_tape_does_not_block_it() -> None:
    tape = Tape(limit=100)
    tape.append(message([0.0] * 1920), sound([0.0] * 1920))
    async with asyncio.timeout(1):
        await tape.room()


def test_quiet_is_counted_since_the_last_speech() -> None:
    tape = Tape(limit=10**9)
    for level in (0.5, 0.0, 0.0):
        tape.append(b"", sound([level] * 1920))
    assert tape.quiet == 2 * 1920
    tape.append(b"", sound([0.5] * 1920))
    assert tape.quiet == 0
