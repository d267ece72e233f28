"""Words around a move: by their time, none twice and none lost."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from visio_captions.timeline import Timeline


def said(timeline: Timeline, *words: tuple[str, float]) -> list[tuple[str, float]]:
    return [(text, at) for text, time in words if (at := timeline.word(text, time)) is not None]


def test_times_go_on_where_the_new_servers_audio_begins() -> None:
    timeline = Timeline()
    assert said(timeline, ("one", 0.4), ("two", 3.2)) == [("one", 0.4), ("two", 3.2)]
    timeline.move(2.4)
    assert said(timeline, ("two", 0.8), ("three", 1.6)) == [("three", 4.0)]
    assert timeline.shift(1.0) == 3.4


def test_the_same_word_said_again_is_another_word() -> None:
    timeline = Timeline()
    said(timeline, ("no", 1.0), ("no", 1.32))
    timeline.move(0.8)
    assert said(timeline, ("no", 0.2), ("no", 0.52), ("no", 0.84)) == [("no", 1.64)]


def test_a_repeat_of_which_the_new_server_hears_only_the_end_costs_no_word() -> None:
    timeline = Timeline()
    said(timeline, ("no", 1.0), ("no", 1.32))
    timeline.move(1.12)
    assert said(timeline, ("no", 0.2), ("no", 0.52)) == [("no", 1.64)]


def test_what_the_new_server_hears_differently_is_not_said_twice() -> None:
    timeline = Timeline()
    said(timeline, ("a", 1.0), ("new", 1.4), ("plan", 1.9))
    timeline.move(0.8)
    # The client has `a new plan`; this server hears `anew plan,` in the same audio, and one word more after it.
    assert said(timeline, ("anew", 0.24), ("Plan,", 1.04), ("now", 1.6)) == [("now", 2.4)]


def test_a_last_word_heard_differently_is_not_said_twice() -> None:
    timeline = Timeline()
    said(timeline, ("to", 1.0))
    timeline.move(0.0)
    assert said(timeline, ("two", 1.08), ("go", 1.4)) == [("go", 1.4)]


def test_a_stream_that_moves_twice_in_a_row_repeats_nothing() -> None:
    timeline = Timeline()
    said(timeline, ("one", 1.0), ("two", 1.5), ("three", 2.0))
    timeline.move(0.8)
    assert said(timeline, ("one", 0.2)) == []
    timeline.move(0.4)
    assert said(timeline, ("one", 0.6), ("two", 1.1), ("three", 1.6), ("four", 2.1)) == [("four", 2.5)]


def test_after_a_move_in_silence_words_pass() -> None:
    timeline = Timeline()
    said(timeline, ("one", 1.0))
    timeline.move(60.0)
    assert said(timeline, ("two", 0.08)) == [("two", 60.08)]


STEP = 0.08


@settings(max_examples=200)
@example([(3, "no"), (3, "no")], [(1, 0)])
@given(
    st.lists(st.tuples(st.integers(3, 6), st.sampled_from(["no", "yes"])), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=4),
)
def test_wherever_streams_move_the_words_are_those_of_an_undisturbed_one(
    gaps: list[tuple[int, str]], moves: list[tuple[int, int]]
) -> None:
    """Speech of equal and different words at least 240 ms apart, any number of moves, servers that agree on times."""
    steps, words = 0, []
    for gap, text in gaps:
        steps += gap
        words.append((text, round(steps * STEP, 2)))
    timeline, given_words = Timeline(), []
    origin, first, delivered = 0.0, 0, 0
    for until, back in [*moves, (len(words), 0)]:
        # A server says words up to one that was not delivered yet, or fails before it comes so far.
        until = min(until, len(words))
        for text, time in words[first:until]:
            if (at := timeline.word(text, time - origin)) is not None:
                given_words.append((text, at))
        delivered = max(delivered, until)
        # The replay begins before the first word that was not delivered, anywhere in what was.
        first = max(0, delivered - back)
        origin = words[first][1] if first < len(words) else words[-1][1] + STEP
        timeline.move(origin)
    assert given_words == words
