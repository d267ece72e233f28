"""Which announcements are due, in which channels, and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import upgrade_world
from plan_world import LADDER, NOW, a_healthy_world, a_spec

from visio_operator.plan.announce import Announcement, Coming, announcements, identity, replace_from, told_key
from visio_operator.plan.announce_texts import texts
from visio_operator.plan.coming import coming, replaces_media
from visio_operator.plan.decide import decide
from visio_operator.plan.drains import Drain
from visio_operator.plan.images import as_release
from visio_operator.plan.leaving import Leaving
from visio_operator.plan.observed import MediaServer
from visio_operator.plan.plan import Release, UpgradePlan

RUNNING = next(one for one in LADDER if one.version == "1.25.0")
WEBHOOK = {"url": "https://hooks.example.fr/visio", "secretRef": {"name": "hook"}}
HOUR = 3600.0


def told(policy: str = "Warn", deadline: str | None = None, **announce: Any) -> Any:
    drain = {"policy": policy, **({"deadline": deadline} if deadline else {})}
    return a_spec(drain=drain, upgrade={"announce": {"webhook": WEBHOOK, **announce}})


def a_drain(since: float = NOW, grace: float = HOUR, rooms: int | None = 2, **changes: Any) -> Drain:
    return Drain("sfu", "sfu-a", "n1", rooms, 5 if rooms else 0, since, since + grace, **changes)


def ids(memory: dict[str, float], *due: Announcement) -> dict[str, float]:
    """The memory after all of it was made in all its channels."""
    return {**memory, **{told_key(channel, one.id): NOW for one in due for channel in one.channels}}


def test_a_drain_is_announced_at_its_start_and_when_15_and_5_minutes_are_left_each_once() -> None:
    spec, drain, memory = told(), a_drain(), {}
    said = []
    for passed in range(0, 3600, 20):
        found = announcements(spec, (drain,), None, memory, NOW + passed)
        memory = ids(dict(found.memory), *found.due)
        said += [(one.phase, passed, one.channels) for one in found.due]
    both = ("rooms", "webhook")
    assert said == [("start", 0, both), ("15m", 2700, both), ("5m", 3300, both)]


def test_a_restart_late_in_a_drain_makes_only_the_last_one_that_was_missed() -> None:
    [one] = announcements(told(), (a_drain(),), None, {}, NOW + 3400).due
    assert (one.phase, one.seconds_left, one.end) == ("5m", 200.0, NOW + HOUR)


def test_a_short_drain_has_no_reminder_at_its_start() -> None:
    spec, drain = told("Force", "10m"), a_drain(grace=600.0)
    assert [one.phase for one in announcements(spec, (drain,), None, {}, NOW + 200).due] == ["start"]
    assert [one.phase for one in announcements(spec, (drain,), None, {}, NOW + 301).due] == ["5m"]


def test_only_the_channel_that_failed_is_tried_again() -> None:
    spec, drain = told(), a_drain()
    made = {told_key("rooms", identity("drain", "sfu-a", "start")): NOW}
    [one] = announcements(spec, (drain,), None, made, NOW + 5).due
    assert one.channels == ("webhook",)


def test_what_was_told_is_forgotten_with_the_pod() -> None:
    spec = told()
    first = announcements(spec, (a_drain(),), None, {}, NOW)
    memory = ids(dict(first.memory), *first.due)
    assert announcements(spec, (a_drain(),), None, memory, NOW + 1).memory == memory
    assert announcements(spec, (), None, memory, NOW + 2).memory == {}


@pytest.mark.parametrize(
    "spec, drain",
    [
        (told("Wait"), a_drain()),
        (told(), a_drain(rooms=0)),
        (told(), Drain("egress", "egress-1", "n1", 1, None, NOW, NOW + HOUR)),
        (told(), Drain("sfu", "sfu-a", "n1", 1, 2, NOW, None)),
    ],
    ids=["policy Wait", "nobody is left", "another part", "only closed"],
)
def test_nothing_is_announced(spec: Any, drain: Drain) -> None:
    assert announcements(spec, (drain,), None, {}, NOW).due == ()


def test_without_a_webhook_only_rooms_are_told() -> None:
    [one] = announcements(a_spec(drain={"policy": "Warn"}), (a_drain(),), None, {}, NOW).due
    assert one.channels == ("rooms",)


def test_maintenance_is_announced_before_the_window_and_media_servers_wait_for_the_promised_time() -> None:
    spec = told("Wait", before="20m")
    coming = Coming("1.28.0", start=NOW + 7200)
    assert announcements(spec, (), coming, {}, NOW).due == ()
    found = announcements(spec, (), coming, {}, NOW + 6000)
    [one] = found.due
    assert (one.kind, one.phase, one.about, one.channels) == ("maintenance", "before", "1.28.0", ("webhook",))
    assert (one.start, one.end, one.seconds_left, one.interrupts) == (NOW + 7200, None, 1200, False)
    # The webhook fails for ever; the upgrade waits no longer for that.
    later = announcements(spec, (), Coming("1.28.0", under_way=True), found.memory, NOW + 7100)
    assert [item.phase for item in later.due] == ["before"]
    assert replace_from(spec, "1.28.0", later.memory, NOW + 7100) == NOW + 7200


def test_an_upgrade_without_a_window_is_announced_when_it_begins() -> None:
    spec = told("Force", "1h")
    found = announcements(spec, (), Coming("1.28.0", under_way=True), {}, NOW)
    [one] = found.due
    assert (one.channels, one.start, one.interrupts) == (("rooms", "webhook"), NOW + 900, True)
    memory = ids(dict(found.memory), one)
    reached = Coming("1.28.0", under_way=True, at_media=True)
    assert announcements(spec, (), reached, memory, NOW + 899).due == ()
    [start] = announcements(spec, (), reached, memory, NOW + 900).due
    assert (start.phase, start.seconds_left) == ("start", 0)


def test_what_was_announced_of_an_upgrade_is_known_until_its_last_step_is_done() -> None:
    spec = told("Warn")
    first = announcements(spec, (), Coming("1.28.0", under_way=True), {}, NOW)
    memory = ids(dict(first.memory), *first.due)
    over = announcements(spec, (), Coming("1.28.0", under_way=True, over=True), memory, NOW + 5000)
    assert (over.due, over.memory) == ((), memory)


def test_an_upgrade_is_announced_only_where_it_replaces_media_servers() -> None:
    spec = told("Warn")
    here, other = (Release("1", {"livekit": f"livekit/livekit-server:{tag}"}) for tag in ("v1.11.0", "v1.13.5"))
    assert replaces_media(here, other) and not replaces_media(here, here)
    release = as_release(next(each for each in LADDER if each.version == "1.26.0"), ())
    wanted = UpgradePlan("1.26.0", "1.27.0", path=("1.27.0",), rung="1.27.0", step="media")
    newer = replace(release, images={**release.images, "livekit": "livekit/livekit-server:v0.0.1"})
    assert coming(spec, wanted, newer, LADDER) == Coming("1.27.0", under_way=True, at_media=True)
    assert coming(spec, replace(wanted, step="verify"), newer, LADDER) == Coming("1.27.0", under_way=True, over=True)
    assert coming(spec, None, newer, LADDER) is None


def test_nobody_waits_where_nothing_is_announced() -> None:
    assert announcements(a_spec(), (), Coming("1.28.0", under_way=True), {}, NOW).due == ()
    assert replace_from(a_spec(), "1.28.0", {}, NOW) == NOW


def test_an_id_names_nothing_and_stays_the_same() -> None:
    one = identity("drain", "main-sfu-7d9f-abcde", "start")
    assert one == identity("drain", "main-sfu-7d9f-abcde", "start") and "sfu" not in one


@pytest.mark.parametrize(
    "seconds, fr, en",
    [(20, "dans une minute environ", "in about a minute"), (900, "dans 15 minutes", "in 15 minutes"),
     (17_990, "dans 5 heures", "in 5 hours")],
)  # fmt: skip
def test_the_words_are_french_and_english(seconds: float, fr: str, en: str) -> None:
    one = Announcement("i", "drain", "start", "sfu-a", ("rooms",), NOW, NOW + seconds, seconds_left=seconds)
    said = texts(one)
    assert fr in said["fr"] and en in said["en"] and "Contact" not in said["fr"]


def test_what_a_user_wrote_is_escaped() -> None:
    one = Announcement("i", "maintenance", "before", "1.28.0", (), NOW, None, contact="<b>a & b</b>")
    assert texts(one)["en"].endswith("Contact: &lt;b&gt;a &amp; b&lt;/b&gt;")
    assert "1.28.0" in texts(one)["fr"]


def test_a_plan_announces_and_remembers() -> None:
    spec = a_spec(drain={"policy": "Warn"})
    going = Leaving("sfu-a", "sfu", "n1", NOW, NOW + HOUR)
    server = MediaServer("sfu-a", "n1", True, NOW, rooms=1, participants=2, terminating=True)
    plan = decide(spec, a_healthy_world(spec, leaving=(going,), media=(server,)), NOW, LADDER)
    [one] = plan.announcements
    assert (one.phase, one.pods, one.rooms, one.participants) == ("start", ("sfu-a",), 1, 2)
    assert plan.memory[f"due.{one.id}"] == NOW


@pytest.mark.parametrize(
    ("livekit", "policy", "waited"),
    [("v1.11.0", "Warn", True), ("v1.13.5", "Warn", False), ("v1.11.0", "Wait", False)],
    ids=["rooms are told", "media servers stay", "nobody can be told"],
)
def test_an_upgrade_replaces_media_servers_when_the_promised_time_is_over(
    livekit: str, policy: str, waited: bool
) -> None:
    image = f"docker.io/livekit/livekit-server:{livekit}"
    later = LADDER.index(RUNNING) + 1
    newer = [replace(one, images={**one.images, "livekit": image}) for one in LADDER[later:]]
    fields = {"upgrade": {"canary": False, "announce": {"before": "15m"}}, "drain": {"policy": policy}}
    world = upgrade_world.an_upgrade("1.25.0", "1.26.0", **fields)
    world.ladder = (*LADDER[:later], *newer)
    while world.workload("sfu").release == "1.25.0":
        plan = world.turn()
        world.world = replace(world.world, memory=dict(plan.memory))
        assert world.now < NOW + 1200
    assert (world.now - NOW >= 900) is waited
    assert world.workload("frontend").release == "1.26.0", "only the media servers waited"
