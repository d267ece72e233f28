"""An upgrade under running calls: real LiveKit servers, real WebRTC participants, and somebody who opens new rooms."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_sfu import WITH_SOUND, Calls, is_ready, servers

import live
import trusted
from upgrade_work import WORK, Leavers, LongCall, working
from visio_lab.lab import add_livekit
from visio_lab.progress import SilentProgress
from visio_lab.tools import ensure_tool
from visio_operator.api.releases import find_release, load_releases

PROBER = Path(live.__file__).with_name("prober.py")
PEOPLE = 2
REPLACED = ("sfu", "egress", "subtitles", "transcription", "captions")
"""What a call lives on."""
SWALLOWED = 0.01
"""Share of the words of one call that may be missing in its captions; 1 of 613 was on 2026-11-26."""
OVERRIDDEN = "1.26.0"
"""The release that gets other images: the same programs under another tag."""


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether 20 rooms live through three rungs, and through the change from LiveKit 1.11.0 to 1.13.5."""
    return bool(request.config.getoption("--whole-upgrade"))


@pytest.fixture
def platform(real_lab: Any, whole: bool) -> Iterator[str]:
    """A platform of an older release with one media server."""
    if whole:
        add_livekit(real_lab, "1.11.0")
    # The whole ladder has another LiveKit and another recorder in its first rung, but the same servers on GPUs.
    live.apply(real_lab, [_release(dict.fromkeys(("moshi", "whisper"), "v9.9.9") if whole else {"livekit": "v9.9.9"})])

    def older(spec: dict[str, Any]) -> None:
        spec["version"] = "1.24.0" if whole else "1.25.0"
        # The laboratory has three nodes for media servers: the old one, the canary and the new one.
        spec["sfu"] = {"min": 1, "max": 1}
        spec["upgrade"] = {"soak": "0s", "canaryFor": "30s"}

        if whole:
            spec["captions"]["min"] = spec["transcription"]["min"] = 1

    example = "evaluation-captions.yaml" if whole else "minimal.yaml"
    with trusted.platform(real_lab, "upgrade", older, example) as namespace:
        yield namespace
    real_lab.kubectl("delete", "visiorelease", OVERRIDDEN, "--ignore-not-found", check=False)


def _release(tags: Mapping[str, str]) -> dict[str, Any]:
    """OVERRIDDEN with other tags of the same programs."""
    known = find_release(load_releases(), OVERRIDDEN)
    assert known is not None
    images = {part: f"{known.images[part].rpartition(':')[0]}:{tag}" for part, tag in tags.items()}
    return {
        "apiVersion": "visio-operator.dev/v1alpha1",
        "kind": "VisioRelease",
        "metadata": {"name": OVERRIDDEN},
        "spec": {"version": OVERRIDDEN, "images": images},
    }


@pytest.fixture
def calls(real_lab: Any, platform: str, whole: bool) -> Iterator[Calls]:
    # A person with real sound takes a fourteenth of a core; there are forty, and two cores for all.
    program = [str(ensure_tool("participants", SilentProgress()) / "people")] if whole else WITH_SOUND
    made = Calls(real_lab, platform, PEOPLE, program)
    yield made
    real_lab.kubectl("delete", "pod", "participants", "--namespace", platform, "--wait=false", check=False)


class Prober:
    """Opens a new room every second, in a pod of its own."""

    def __init__(self, lab: Any, namespace: str, calls: Calls) -> None:
        pod = calls._pod()
        [container] = pod["spec"]["containers"]
        container["command"] = [sys.executable, str(PROBER)]
        container["env"][0] = {"name": "URL", "value": "ws://visio-sfu:7880"}
        del container["volumeMounts"], pod["spec"]["volumes"]
        container["name"] = pod["metadata"]["name"] = "prober"
        live.apply(lab, [pod])
        self.log = lab.directory / "logs" / "pods" / f"{namespace}_prober_prober.log"

    def tries(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith('{"t"') and line.endswith("}")]


@pytest.mark.timeout(1_800)
def test_nobody_is_cut_and_new_rooms_always_open_while_every_part_is_upgraded(
    real_lab: Any, platform: str, calls: Calls, whole: bool
) -> None:
    rooms = [f"room-{number}" for number in range(20 if whole else 2)]
    for room in rooms:
        calls.open(room)
    old = set(servers(real_lab, platform))
    prober = Prober(real_lab, platform, calls)
    live.eventually("new rooms open", lambda: any(each["ok"] for each in prober.tries()), 60)
    leavers = Leavers(real_lab, platform)
    long_call = LongCall(real_lab, platform) if whole else None
    since, wanted = time.time(), "1.27.0" if whole else OVERRIDDEN
    with working(real_lab, platform) if whole else nullcontext() as work:
        patch = json.dumps({"spec": {"version": wanted}})
        real_lab.kubectl("patch", "vd", "visio", "-n", platform, "--type=merge", "-p", patch)
        end = time.monotonic() + (1_500 if whole else 400)
        while _version(real_lab, platform) != wanted:
            assert time.monotonic() < end, live.condition(real_lab, platform, "UpgradeHeld")
            leavers.look()
            time.sleep(1)
        took = time.time() - since
        time.sleep(10)
    tries = [each for each in prober.tries() if each["t"] >= since]
    failed, in_vain = ([each for each in tries if not each["ok"] and each["again"] == again] for again in (False, True))
    lost = [event for room in rooms for event in calls.lost(room, since)]
    print(f"{len(rooms)} rooms, {len(tries)} new rooms, {len(failed)} failed at first, upgraded in {took:.0f} s")
    pause = max(calls.pause(room, since) for room in rooms)
    print(f"{len(lost)} cuts, the longest pause of a voice {pause:.1f} s")
    if work and long_call:
        print(f"{len(work.rounds)} rounds of {', '.join(WORK)}: {len(work.failed())} failed {work.failed()}")
        _assert_all_is_whole(long_call.end(), leavers, since)
    assert lost == []
    assert not work or (work.rounds and work.failed() == [])
    assert in_vain == []
    assert len(failed) <= 1, failed
    assert [calls.hearing(room) for room in rooms] == [PEOPLE] * len(rooms)
    draining = {name: pod for name, pod in servers(real_lab, platform).items() if name in old}
    assert all("deletionTimestamp" in pod["metadata"] for pod in draining.values())
    ready = [pod for name, pod in servers(real_lab, platform).items() if name not in old and is_ready(pod)]
    assert ready
    assert _migrations(real_lab, platform) == (["1-25-0", "1-26-0", "1-27-0"] if whole else ["1-26-0"])[-1:]
    for room in rooms:
        calls.close(room)
    live.eventually("the old servers leave", lambda: not old & set(servers(real_lab, platform)), 60)


def _assert_all_is_whole(told: dict[str, Any], leavers: Leavers, since: float) -> None:
    """The captions, the recording and the transcriptions whose servers were replaced while they were under way."""
    written, recorded, jobs = told["written"], told["recorded"], told["jobs"]
    gone = {part: leavers.within(part, since, told["t"]) for part in REPLACED}
    crossed = [job for job in jobs if leavers.within("transcription", job["began"], job["ended"])]
    print(f"replaced meanwhile: {', '.join(f'{pods} {part}' for part, pods in gone.items())}")
    print(
        f"one call of {told['said']} words: written down from word {written['first']} on, missing"
        f" {written['missing']}, {len(written['twice'])} twice; recorded from word {recorded['first']} to"
        f" {recorded['last']}, missing {recorded['missing']}, the longest gap {recorded['gap']:.1f} s"
    )
    print("seconds at which they were said:", {number: round(at - since) for number, at in told["at"].items()})
    print("and at which pods left:", {part: [round(at - since) for at in leavers.seen[part].values()] for part in gone})
    errors, longest = [job["error"] for job in jobs if job["error"]], max(job["ended"] - job["began"] for job in jobs)
    print(
        f"{len(jobs)} transcriptions of {longest:.0f} s at most, {len(crossed)} while a worker was replaced;"
        f" {len(errors)} failed {errors}"
    )
    assert all(gone.values()), "each kind of server was replaced"
    assert written["twice"] == []
    # Whoever is cut loses a sentence; a word here and there is swallowed by two cores that play forty people.
    assert not any(after - before == 1 for before, after in pairwise(written["missing"]))
    assert len(written["missing"]) <= SWALLOWED * told["said"]
    assert recorded["missing"] == []
    assert recorded["last"] == told["said"]
    assert crossed
    assert errors == []


def _migrations(lab: Any, namespace: str) -> list[str]:
    jobs = live.items(lab, "jobs", namespace, "app.kubernetes.io/component=migrate")
    return [re.sub(r"visio-migrate-([0-9-]+)-[0-9a-f]+$", r"\1", job["metadata"]["name"]) for job in jobs]


def _version(lab: Any, namespace: str) -> str:
    return str((live.get(lab, "vd", "visio", namespace) or {}).get("status", {}).get("version", ""))
