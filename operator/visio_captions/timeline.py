"""A stream's words on the client's time line, whichever servers they came from."""

from __future__ import annotations

from collections import deque

SAME_WORD_S = 0.4
"""How far apart two servers may place the same word: a few steps of 80 ms, as each one guesses where it began."""
JITTER_S = 0.12
"""A different word that begins this soon after the last one is the last one heard differently."""
_REMEMBERED = 200


class Timeline:
    """Shifts the times of words and drops those that a replay repeats. Times are seconds of the client's audio."""

    def __init__(self) -> None:
        self._origin = 0.0
        self._said: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._repeats: list[tuple[float, str]] = []
        self._last = -1.0

    def move(self, origin: float) -> None:
        """Words come from a server now whose time 0 is `origin` here, and which hears audio again that is known."""
        self._origin = origin
        self._repeats = [word for word in self._said if word[0] >= origin - JITTER_S]
        self._last = self._said[-1][0] if self._repeats else -1.0

    def shift(self, time: float) -> float:
        """A server's time on the client's time line."""
        return round(self._origin + time, 3)

    def word(self, text: str, time: float) -> float | None:
        """The client's time of a word that a server says at its own `time`; None when the client has it already.

        The same text near the same time is the same word, once: of two equal words in a row each one answers for one.
        Other text up to the time of the last known word is that audio heard differently.
        """
        at = self.shift(time)
        if self._repeats and self._known(text, at):
            return None
        self._said.append((at, text))
        return at

    def _known(self, text: str, at: float) -> bool:
        near = [
            (abs(at - time), index)
            for index, (time, known) in enumerate(self._repeats)
            if _plain(known) == _plain(text) and abs(at - time) <= SAME_WORD_S
        ]
        if near:
            # Words come in order: all before the one found will not come any more.
            del self._repeats[: min(near)[1] + 1]
            return True
        if at <= self._last + JITTER_S:
            return True
        self._repeats = []
        return False


def _plain(text: str) -> str:
    """Text without what depends on its context, so that `Bonjour,` and `bonjour` are one word."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
