"""When a pass is followed by the next one."""

from __future__ import annotations

from visio_operator.runtime.memory import Memory
from visio_operator.runtime.reconcile import look_again_in


def test_what_is_refused_is_looked_at_again_soon_and_ever_later_until_the_refusals_change() -> None:
    memory = Memory()
    assert look_again_in(memory, ()) is None
    assert [look_again_in(memory, ("no Secret a", "no Secret b")) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [look_again_in(memory, ("no Secret b",)) for _ in range(2)] == [0.1, 0.2]
    assert look_again_in(memory, ()) is None
    assert look_again_in(memory, ("no Secret b",)) == 0.1
    assert all((look_again_in(memory, ("no Secret b",)) or 0) <= 200 for _ in range(5000))
