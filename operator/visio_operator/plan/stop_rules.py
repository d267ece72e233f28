"""When a canary has to be taken back: what its media server counted, beside what the old ones did in the same minutes.

Each rule asks for three things at once: enough cases to speak of, a difference that people notice, and one that chance
does not give. The last is a test on numbers that both sides counted together, so a bad hour of the network, which hits
both, stops nothing. It is asked again at every look, so its bound is far below that of a single test; how often that
stops a healthy canary, and how soon a bad one is caught, is measured (tests/unit/plan/test_stop_rules.py, ranges.yaml).
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p, sqrt

from .media_counts import Counts

CHANCE, LAST_CHANCE = 0.005, 0.02
"""What a test may give by chance at one of many looks, and at the last one."""
FEWEST = 5
"""Failures below which nothing is said."""
NOTICED = 0.02
"""The difference of shares that stops: two more of a hundred."""
FEW_JOINS = 20
"""Joins of the old servers below which there is nothing to compare with."""
BLATANT = 0.25
"""The share of failures that stops where there is nothing to compare with."""
LOSS_OF_JOINS = 0.05
ENOUGH_JOINS = 200
CONFIDENT = 2.326
"""Standard deviations above which a normal variable is once in a hundred times."""
FEWEST_RECONNECTS = 10
RECONNECT_FACTOR = 3.0
"""Reconnects of one office whose line was cut come together, so only many times more of them count."""
FEWEST_PACKETS = 50_000.0
FEWEST_PERSON_SECONDS = 600.0
"""Below these, packet loss is that of single people's lines."""
LOSS_FACTOR = 2.0
REFUSED = 0.5
"""The share of refused tokens that stops: a server that does not understand them refuses all."""


def stop_reasons(old: Counts, new: Counts, *, last: bool = False) -> tuple[str, ...]:
    """Why the new server has to go, one line with its numbers for each rule; empty when nothing speaks against it.

    The `last` look is asked once, so it may take more for no chance.
    """
    chance = LAST_CHANCE if last else CHANCE
    found = (
        _share(
            "joins without media", (new.failed_joins(fresh=True), new.joins), (old.failed_joins(), old.joins), chance
        ),
        _share(
            "signalling connections that failed",
            (new.failed_signals, new.signals + new.failed_signals),
            (old.failed_signals, old.signals + old.failed_signals),
            chance,
        ),
        _refused(old, new),
        _reconnects(old, new, chance),
        _loss(old, new),
        _restarts(old, new),
    )
    return tuple(line for line in found if line)


def rules_out_loss(old: Counts, new: Counts) -> bool:
    """Whether so many joined that the new server loses hardly 5 % of joins more than the old ones.

    The upper end of the interval for a difference of shares by Agresti and Caffo (Simple and effective confidence
    intervals for proportions, The American Statistician 54, 2000) is below it.
    """
    if min(old.joins, new.joins) < ENOUGH_JOINS:
        return False
    share, tried = (new.failed_joins(fresh=True) + 1) / (new.joins + 2), new.joins + 2
    usual, before = (old.failed_joins() + 1) / (old.joins + 2), old.joins + 2
    spread = sqrt(share * (1 - share) / tried + usual * (1 - usual) / before)
    return share - usual + CONFIDENT * spread < LOSS_OF_JOINS


def _share(what: str, new: tuple[float, float], old: tuple[float, float], most: float) -> str:
    """Compare two shares of failures by Fisher's exact test."""
    bad, tried = new
    before, tried_before = old
    if bad < FEWEST or tried <= 0:
        return ""
    share, usual = bad / tried, before / tried_before if tried_before > 0 else 0.0
    said = f"{what}: {_of(bad, tried)}, the old servers {_of(before, tried_before)}"
    if tried_before < FEW_JOINS and share >= BLATANT and share > usual + NOTICED:
        return f"{said}, too few to compare with"
    chance = fisher(round(bad), round(tried), round(before), round(tried_before))
    return f"{said}, by chance {chance:.1g}" if share >= usual + NOTICED and chance < most else ""


def _refused(old: Counts, new: Counts) -> str:
    tried, tried_before = new.signals + new.refused_signals, old.signals + old.refused_signals
    usual = old.refused_signals / tried_before if tried_before else 0.0
    if new.refused_signals < 2 * FEWEST or new.refused_signals < REFUSED * tried or usual >= REFUSED / 2:
        return ""
    return (
        f"refused tokens: {_of(new.refused_signals, tried)}, the old servers {_of(old.refused_signals, tried_before)}"
    )


def _reconnects(old: Counts, new: Counts, most: float) -> str:
    """Compare two rates: of all reconnects, the new server has as many as its share of the time in calls makes likely
    (Przyborowski and Wilenski, Homogeneity of results in testing samples from Poisson series, Biometrika 31, 1940)."""
    if new.reconnects < FEWEST_RECONNECTS or not new.person_seconds or not old.person_seconds:
        return ""
    rate, usual = new.reconnects / new.person_seconds, old.reconnects / old.person_seconds
    chance = binomial_tail(
        round(new.reconnects),
        round(new.reconnects) + round(old.reconnects),
        new.person_seconds / (new.person_seconds + old.person_seconds),
    )
    if rate < RECONNECT_FACTOR * usual or chance >= most:
        return ""
    return (
        f"reconnects: {new.reconnects:.0f}, {3600 * rate:.1f} in an hour of one person,"
        f" the old servers {3600 * usual:.1f}, by chance {chance:.1g}"
    )


def _loss(old: Counts, new: Counts) -> str:
    """Packets are lost in runs, so no test of single ones applies; many packets of many people must show it."""
    if min(old.packets, new.packets) < FEWEST_PACKETS:
        return ""
    if min(old.person_seconds, new.person_seconds) < FEWEST_PERSON_SECONDS:
        return ""
    share, usual = new.lost / new.packets, old.lost / old.packets
    if share < LOSS_FACTOR * usual + NOTICED:
        return ""
    return f"packets lost: {100 * share:.1f} % of {new.packets:.0f}, the old servers {100 * usual:.1f} %"


def _restarts(old: Counts, new: Counts) -> str:
    """A server that ends cuts its calls: once is enough, unless those of the old release end as well."""
    if not new.restarts or new.restarts <= old.restarts:
        return ""
    return f"restarts: {new.restarts:.0f}, the old servers {old.restarts:.0f}"


def _of(some: float, every: float) -> str:
    share = f" ({100 * some / every:.1f} %)" if every else ""
    return f"{some:.0f} of {every:.0f}{share}"


def fisher(bad: int, tried: int, before: int, tried_before: int) -> float:
    """The chance of so many failures on the new side, or more, when both sides fail alike.

    Fisher's exact test, one-sided: given all failures, those of one side follow the hypergeometric distribution
    (R. A. Fisher, Statistical Methods for Research Workers, 5th edition, 1934, section 21.02).
    """
    failures, sound = bad + before, tried + tried_before - bad - before
    least, most = max(0, tried - sound), min(failures, tried)
    expected = failures * tried / max(1, failures + sound)
    if bad <= expected:
        # The tail that is summed has to be the small one, or its first table is too rare for a float.
        return 1.0 - _tables(failures, sound, tried, range(bad - 1, least - 1, -1))
    return _tables(failures, sound, tried, range(max(bad, least), most + 1))


def _tables(failures: int, sound: int, tried: int, counts: range) -> float:
    """The chance that one of these numbers of failures is on the side that was tried so often."""
    if not counts:
        return 0.0
    chance, first = 0.0, counts[0]
    term = exp(_choose(failures, first) + _choose(sound, tried - first) - _choose(failures + sound, tried))
    for count in counts:
        chance += term
        # Each table from the one beside it.
        if counts.step > 0:
            term *= (failures - count) * (tried - count) / ((count + 1) * (sound - tried + count + 1))
        else:
            term *= count * (sound - tried + count) / ((failures - count + 1) * (tried - count + 1))
        if term < 1e-9 * chance:
            break
    return min(1.0, chance)


def binomial_tail(count: int, tries: int, share: float) -> float:
    """The chance of `count` successes or more in `tries` with this share of success, which is within 0 and 1."""
    return min(
        1.0,
        sum(
            exp(_choose(tries, number) + number * log(share) + (tries - number) * log1p(-share))
            for number in range(count, tries + 1)
        ),
    )


def _choose(number: int, some: int) -> float:
    """The logarithm of the number of ways to choose `some` out of `number`."""
    return lgamma(number + 1) - lgamma(some + 1) - lgamma(number - some + 1)
