"""An upgrade of the real Visio, release by release, under a call of two browsers: on demand, with two checkouts.

    uv run --group browser pytest tests/e2e/test_visio_upgrade.py -s --visio-source OLDER --visio-source NEWER

OLDER and NEWER are releases of suitenumerique/meet that follow each other. What else it needs is said in
test_visio_browsers.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_visio_browsers import HOST, SAID, speech

import live
import trusted
from rendered_environment import rendered_environment
from visio_lab.context import load_context
from visio_lab.lab import add_livekit
from visio_lab.operator_process import make_namespace
from visio_lab.public_ca import certificate_file
from visio_lab.visio_source import home_for, program
from visio_operator.api.releases import find_release, load_releases
from visio_operator.runtime.secret_values import decode

NAMESPACE = "upgraded"
PROGRAM = Path(__file__).with_name("browsers_that_stay.py")
TOGETHER_S, CLIMB_S, LEAVE_S = 240.0, 900.0, 120.0
SILENCE_S = 8.0
"""A machine that starts ten programs lets two browsers wait for some seconds; one that lost its server waits longer."""
OWN_FAULTS = frozenset({"net::ERR_NETWORK_CHANGED", "net::ERR_SOCKET_NOT_CONNECTED"})
"""A browser on the laboratory's node drops its requests when an interface comes or goes, as each pod's does."""
OTHER_TAG = "docker.io/livekit/livekit-server:v9.9.9"
"""The same program under another tag, so that media servers are replaced where two releases name the same."""
RUNS = """
import json, pathlib
found = set()
for each in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        pairs = dict(line.split("=", 1) for line in each.read_text().split("\\0") if "=" in line)
    except OSError:
        continue
    if "/meet-" in pairs.get("LAB_IMAGE", "") and "/venvs/" in pairs["PATH"]:
        found.add((pairs["LAB_IMAGE"], pairs["PATH"].partition("/venvs/")[0]))
print(json.dumps(sorted(found)))
"""
"""Of each process of Visio the image and the folder whose programs it runs."""
APPLIED = """
import asyncio, asyncpg, json, os, sys
async def main():
    db = await asyncpg.connect(host=sys.argv[1], user="meet", database="meet", password=os.environ["P"])
    rows = await db.fetch("select app, name, extract(epoch from applied) as at from django_migrations")
    print(json.dumps([[row["app"], row["name"], float(row["at"])] for row in rows]))
asyncio.run(main())
"""
KNOWN = """
import configurations, json
configurations.setup()
from django.db.migrations.loader import MigrationLoader
print(json.dumps(sorted(MigrationLoader(None).disk_migrations)))
"""
Migrations = set[tuple[str, str]]


@dataclass(frozen=True)
class Release:
    """One checkout: its version, and the folder with its programs."""

    version: str
    home: Path

    @property
    def scripts(self) -> set[str]:
        """Paths of its scripts and styles."""
        folder = self.home / "frontend" / "dist" / "assets"
        return {f"/assets/{file.name}" for file in folder.iterdir() if file.suffix in (".js", ".css")}

    def migrations(self, folder: Path) -> Migrations:
        """All that its own backend knows."""
        argv = program("meet-backend", ["python", "-c", KNOWN], self.home, sys.executable)
        assert argv
        environment = {"PATH": os.environ["PATH"], **rendered_environment("backend", folder)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return {(app, name) for app, name in json.loads(done.stdout.splitlines()[-1])}


@pytest.fixture(scope="module")
def releases(real_lab: Any) -> tuple[Release, Release]:
    """The oldest and the newest of the checkouts."""
    homes = list(load_context(real_lab.directory).visio_homes.items())
    return Release(*homes[0]), Release(*homes[-1])


@pytest.fixture(scope="module")
def platform(real_lab: Any, releases: tuple[Release, Release]) -> Iterator[str]:
    """A platform of the older release with one media server."""
    older, newer = releases
    make_namespace(real_lab, NAMESPACE)
    before, after = (_livekit(each.version) for each in releases)
    if before == after:
        spec = {"version": newer.version, "images": {"livekit": OTHER_TAG}}
        live.apply(real_lab, [_object("VisioRelease", newer.version, spec)])
    elif not before.endswith("v1.13.5"):
        add_livekit(real_lab, before.rpartition(":v")[2])

    def change(spec: dict[str, Any]) -> None:
        spec["version"] = older.version
        # The laboratory has three nodes for media servers: the old one, the canary and the new one.
        spec["sfu"] = {"min": 1, "max": 1}
        spec["upgrade"] = {"soak": "0s", "canaryFor": "30s", "backup": {"none": {}}}

    live.apply(real_lab, trusted.deployment(real_lab, "minimal.yaml", NAMESPACE, change))
    live.wait_ready(real_lab, NAMESPACE, timeout=300)
    yield NAMESPACE
    real_lab.kubectl("delete", "vd", "visio", "--namespace", NAMESPACE, "--timeout=60s", check=False)
    real_lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)
    real_lab.kubectl("delete", "visiorelease", newer.version, "--ignore-not-found", check=False)


def _livekit(version: str) -> str:
    release = find_release(load_releases(), version)
    assert release is not None, f"{version} is on no rung of the ladder"
    return release.images["livekit"]


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "visio-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class Browsers:
    """The program with both browsers, and what it said."""

    def __init__(self, lab: Any, folder: Path, scripts: set[str]) -> None:
        self.folder, self.log = folder, folder / "browsers.log"
        (folder / "scripts.json").write_text(json.dumps(sorted(scripts)))
        for name, numbers in SAID.items():
            (folder / f"{name}.wav").write_bytes(speech(numbers))
        argv = [sys.executable, str(PROGRAM), HOST, str(certificate_file(lab.directory)), str(folder)]
        self.process = lab.enter(argv, env={**os.environ, "HOME": str(folder)}, log=self.log)

    def said(self, step: str, since: float = 0.0) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        steps = [json.loads(line) for line in lines if line.startswith('{"step"') and line.endswith("}")]
        return [each for each in steps if each["step"] == step and each["t"] >= since]

    def reach(self, step: str, count: int, seconds: float) -> list[dict[str, Any]]:
        """Wait until the program has said so; it must not have ended without it."""
        end = time.monotonic() + seconds
        while len(found := self.said(step)) < count:
            assert self.process.poll() is None and time.monotonic() < end, f"not {step}: {self.log.read_text()[-3000:]}"
            time.sleep(1)
        return found

    def silence(self, who: str, kind: str, since: float) -> float:
        """The longest time, in seconds, in which somebody received nothing of a kind."""
        looks = self.said("look", since)
        times = [looks[0]["t"]]
        times += [after["t"] for before, after in pairwise(looks) if after[who][kind] > before[who][kind]]
        return max(float(after - before) for before, after in pairwise([*times, looks[-1]["t"]]))


@pytest.fixture
def browsers(
    real_lab: Any, platform: str, releases: tuple[Release, Release], tmp_path: Path
) -> Iterator[tuple[Browsers, Path]]:
    older, newer = releases
    scripts = older.scripts - newer.scripts
    assert scripts, "the two releases have the same scripts"
    running = Browsers(real_lab, tmp_path, scripts)
    yield running, tmp_path
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)


@pytest.mark.timeout(1_800)
def test_two_browsers_stay_in_their_call_while_visio_is_upgraded(
    real_lab: Any, browsers: tuple[Browsers, Path], releases: tuple[Release, Release]
) -> None:
    (people, folder), (older, newer) = browsers, releases
    together = people.reach("together", 1, TOGETHER_S)[0]
    assert together["alice"] and together["bob"], "each sees the other before the upgrade"
    assert _run_by(real_lab) == {older.version: older.home}
    old_servers = _servers(real_lab)
    people.reach("look", 5, 60)

    since = time.time()
    _want(real_lab, newer.version)
    end = time.monotonic() + CLIMB_S
    while (status := _status(real_lab)).get("version") != newer.version:
        assert time.monotonic() < end, (live.condition(real_lab, NAMESPACE, "UpgradeHeld"), status)
        assert people.process.poll() is None, people.log.read_text()[-3000:]
        time.sleep(1)
    took = time.time() - since
    time.sleep(10)
    draining = [pod for name, pod in _servers(real_lab).items() if name in old_servers]
    until = time.time()
    (folder / "leave").touch()
    left = {each["who"]: each for each in people.reach("left", 2, LEAVE_S)}

    looks = people.said("look", since)
    silences = {(who, kind): people.silence(who, kind, since) for who in SAID for kind in ("audio", "video")}
    rows = _applied(real_lab)
    quiet = ", ".join(f"{who} {kind} {seconds:.1f} s" for (who, kind), seconds in silences.items())
    print(f"{older.version} to {newer.version} in {took:.0f} s; {len(looks)} looks at two browsers; silence: {quiet}")
    print(f"{len(rows)} migrations, {sum(at >= since for *_, at in rows)} of them new; screenshots: {folder}")

    before = people.said("look")[4]
    received = {"audio": 0, "video": 0}
    for who in SAID:
        changed = [look[who] for look in looks if look[who] | received != before[who] | received]
        assert changed == [], f"what {who} sees changed from {before[who]}"
        assert left[who]["born"] == before[who]["born"], f"{who}'s page was never loaded again"
        assert (before[who]["warning"], set(before[who]["states"])) == ("", {"connected"})
    assert [each for each in people.said("signalling", since) if each["t"] < until] == []
    assert max(silences.values()) <= SILENCE_S, silences
    assert all(people.said("pictures")[0][who] for who in SAID), "each sees the other after the upgrade"
    assert draining and all("deletionTimestamp" in pod["metadata"] for pod in draining), "the call's server waits"

    asked = [look["script"] for look in looks] + people.said("scripts")[0]["answers"]
    assert [each for each in asked if not _is_script(each)] == []
    unanswered = [each for each in people.said("unanswered", since) if each["t"] < until]
    assert [each for each in unanswered if each["why"] not in OWN_FAULTS] == []
    main_script = people.said("scripts")[0]["page"]
    assert main_script in newer.scripts - older.scripts, "who comes now gets the new page"
    assert _run_by(real_lab) == {newer.version: newer.home}

    with tempfile.TemporaryDirectory() as secrets:
        had, has = (each.migrations(Path(secrets)) for each in releases)
    assert Counter((app, name) for app, name, _ in rows) == Counter(has), "each migration once, and all of them"
    assert {(app, name) for app, name, at in rows if at >= since} == has - had
    assert _migration_runs(real_lab, newer.version) == [(1, 0)]
    live.eventually("the old server leaves", lambda: not set(old_servers) & set(_servers(real_lab)), 60)


def _want(lab: Any, version: str) -> None:
    patch = json.dumps({"spec": {"version": version}})
    lab.kubectl("patch", "vd", "visio", "-n", NAMESPACE, "--type=merge", "-p", patch)


def _status(lab: Any) -> dict[str, Any]:
    return dict((live.get(lab, "vd", "visio", NAMESPACE) or {}).get("status", {}))


def _servers(lab: Any) -> dict[str, dict[str, Any]]:
    pods = live.items(lab, "pods", NAMESPACE, "app.kubernetes.io/component=sfu")
    return {pod["metadata"]["name"]: pod for pod in pods}


def _is_script(answer: dict[str, Any]) -> bool:
    """A server without the file answers with the page, as if all were well."""
    return answer.get("status") == 200 and bool(re.search("javascript|css", answer.get("kind") or ""))


def _run_by(lab: Any) -> dict[str, Path]:
    """The releases of Visio's running images, and the folder whose programs they run."""
    said = lab.enter([sys.executable, "-c", RUNS], stdout=subprocess.PIPE).communicate(timeout=60)[0]
    homes = load_context(lab.directory).visio_homes
    found = {}
    for image, home in json.loads(said):
        assert Path(home) == home_for(image, homes), image
        found[image.rpartition(":v")[2]] = Path(home)
    return found


def _applied(lab: Any) -> list[tuple[str, str, float]]:
    """What django_migrations holds: application, name, seconds since 1970."""
    secret = live.get(lab, "secret", "visio-postgres", NAMESPACE)
    assert secret is not None
    address = live.items(lab, "pods", NAMESPACE, "app.kubernetes.io/component=postgres")[0]["status"]["podIP"]
    environment = {**os.environ, "P": decode(secret["data"])["password"]}
    asked = lab.enter([sys.executable, "-c", APPLIED, address], env=environment, stdout=subprocess.PIPE)
    return [(app, name, at) for app, name, at in json.loads(asked.communicate(timeout=60)[0])]


def _migration_runs(lab: Any, version: str) -> list[tuple[int, int]]:
    """Of each Job of this release's migration, how often it succeeded and failed."""
    jobs = live.items(lab, "jobs", NAMESPACE, "app.kubernetes.io/component=migrate")
    named = [job for job in jobs if f"-{version.replace('.', '-')}-" in job["metadata"]["name"]]
    return [(job["status"].get("succeeded", 0), job["status"].get("failed", 0)) for job in named]
