"""The real LiveKit server takes the configuration that is rendered for it, with its strict parsing, and listens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import a_deployment
from livekit_loopback import fetch, free_port, started, until
from visio_lab.container_env import environment
from visio_operator.api.media import MEDIA_PORTS
from visio_operator.api.releases import load_releases
from visio_operator.api.spec import KIND, VisioDeploymentSpec
from visio_operator.cli.render import NO_UID, healthy
from visio_operator.plan.decide import decide
from visio_operator.plan.policy import secrets_wanted
from visio_operator.runtime.media_signals import sums
from visio_operator.runtime.secret_values import fill
from visio_operator.workloads.common import Site
from visio_operator.workloads.media import ANNOUNCED
from visio_operator.workloads.render import render

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STUN = free_port(socket.SOCK_DGRAM)
MODES = {
    f"{network}-{expose}": {"sfu": {"network": network, "expose": expose}}
    for network in ("udpMux", "nodePorts", "turnTLS")
    for expose in ("nodePort", "loadBalancer", "hostNetwork")
}
ADDRESSES = {
    "nodeExternalIP": {"sfu": {"externalAddress": {"discover": "nodeExternalIP"}}},
    "stun": {"sfu": {"externalAddress": {"discover": "stun", "stunServers": [f"127.0.0.1:{STUN}"]}}},
    "address": {"sfu": {"externalAddress": {"address": "192.0.2.10"}, "min": 1, "max": 1}},
}
TOLD = "192.0.2.77"
ANNOUNCES = {"stun": TOLD, "address": "192.0.2.10"}
SHARP = "p'ss\"$(HOME): #{w}0rd"
"""A password that ends strings and starts comments, where it is pasted into text."""


def documents() -> dict[str, dict[str, Any]]:
    """Every deployment whose configuration is tried, by a name for it."""
    found = {name: a_deployment().having(**changes).cr() for name, changes in {**MODES, **ADDRESSES}.items()}
    for path in sorted(EXAMPLES.glob("*.yaml")):
        found |= {
            f"{path.stem}-{each['metadata']['name']}": each
            for each in yaml.safe_load_all(path.read_text())
            if each and each["kind"] == KIND
        }
    return found


CASES = documents()


@pytest.fixture(scope="module")
def programs() -> Mapping[str, Path]:
    from visio_lab.debian import ensure_programs
    from visio_lab.progress import SilentProgress
    from visio_lab.tools import ensure_tools

    return {**ensure_tools(SilentProgress(), real_pods=True), **ensure_programs(SilentProgress())}


@pytest.fixture(scope="module", autouse=True)
def _stun() -> Iterator[None]:
    """A STUN server that tells everybody an address for documentation (RFC 5389, binding request and answer)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", STUN))
        server.settimeout(0.2)
        ending = threading.Event()

        def serve() -> None:
            while not ending.is_set():
                with contextlib.suppress(TimeoutError):
                    question, client = server.recvfrom(1500)
                    cookie, transaction = question[4:8], question[8:20]
                    seen = struct.pack("!H", client[1]) + socket.inet_aton(TOLD)
                    hidden = bytes(one ^ other for one, other in zip(seen, cookie[:2] + cookie, strict=True))
                    mapped = struct.pack("!HHBB", 0x0020, 8, 0, 1) + hidden
                    answer = struct.pack("!HH", 0x0101, len(mapped)) + cookie + transaction + mapped
                    server.sendto(answer, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        ending.set()
        thread.join()


@pytest.fixture(scope="module")
def redis(programs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port()
    log = tmp_path_factory.mktemp("redis") / "redis.log"
    argv = [str(programs["redis-server"]), "--port", str(number), "--bind", "127.0.0.1", "--save", ""]
    with started([*argv, "--requirepass", SHARP], log):
        until("Redis", lambda: "Ready to accept" in log.read_text())
        yield number


def container_environment(document: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a media server's container as a kubelet hands them over."""
    spec = VisioDeploymentSpec.model_validate_json(json.dumps(document["spec"]))
    ladder = load_releases()
    name = document["metadata"]["name"]
    plan = decide(spec, healthy(spec, name, "visio", ladder), 0.0, ladder)
    assert not plan.invalid
    manifests = render(Site(name, "visio", NO_UID, spec), plan)
    given = {wanted.name: dict.fromkeys(wanted.keys, SHARP) for wanted in secrets_wanted(spec)}
    drawn, problems = fill(plan.secrets, given)
    assert not problems
    values = {**given, **drawn}
    objects = {("Secret", name): {key: value.encode() for key, value in held.items()} for name, held in values.items()}
    [template] = [
        one["spec"]["template"]
        for one in manifests
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", f"{name}-sfu")
    ]
    pod = {
        "metadata": {
            "name": "sfu",
            "namespace": "visio",
            "uid": NO_UID,
            "annotations": {ANNOUNCED: "127.0.0.1"},
        },
        "spec": template["spec"],
        "status": {"hostIP": "127.0.0.1", "podIP": "127.0.0.1"},
    }
    [main] = [one for one in template["spec"]["containers"] if one["name"] == "sfu"]
    found = environment(main, pod, objects)
    return {key: value for key, value in found.items() if not key.startswith("KUBERNETES_")}


@pytest.mark.parametrize("case", CASES)
def test_the_server_parses_what_is_rendered_strictly(case: str, programs: Mapping[str, Path]) -> None:
    said = subprocess.run(
        [str(programs["livekit-server"]), "ports"],
        env={**os.environ, **container_environment(CASES[case])},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "7880 - HTTP service" in said.stdout, said.stdout + said.stderr


def test_the_server_refuses_a_field_that_it_does_not_know(programs: Mapping[str, Path]) -> None:
    variables = container_environment(CASES["udpMux-nodePort"])
    variables["LIVEKIT_CONFIG"] += "rooms: {}\n"
    said = subprocess.run(
        [str(programs["livekit-server"]), "ports"],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert "field rooms not found" in said.stdout + said.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_server_starts_and_listens(case: str, programs: Mapping[str, Path], redis: int, tmp_path: Path) -> None:
    """As rendered but for the ports and the place of Redis, since many share this machine."""
    variables = container_environment(CASES[case])
    config = yaml.safe_load(variables["LIVEKIT_CONFIG"])
    http, metrics, tcp, first = free_port(), free_port(), free_port(), free_udp_ports()
    rendered = str(config["rtc"]["udp_port"])
    last = first + (MEDIA_PORTS - 1 if "-" in rendered else 0)
    config |= {"port": http, "prometheus": {"port": metrics}, "bind_addresses": ["127.0.0.1"]}
    config["rtc"] |= {"tcp_port": tcp, "udp_port": f"{first}-{last}" if last > first else first}
    config["redis"] = {"address": f"127.0.0.1:{redis}", "db": config["redis"]["db"]}
    variables |= {"LIVEKIT_CONFIG": yaml.safe_dump(config), "REDIS_PASSWORD": SHARP}
    log = tmp_path / "livekit.log"
    with started([str(programs["livekit-server"])], log, variables) as process:
        until(
            "LiveKit",
            lambda: fetch(f"http://127.0.0.1:{http}/") == "OK" or process.poll() is not None,
            timeout=40,
        )
        assert process.poll() is None, log.read_text()
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", tcp)) == 0
        assert is_taken(first)
        # What the operator reads of it is there, under the names that it asks for.
        text = fetch(f"http://127.0.0.1:{metrics}/metrics")
        names = ("livekit_room_total", "livekit_participant_total", "process_cpu_seconds_total")
        assert sums(text, names).keys() == set(names)
        assert ANNOUNCES.get(case, "127.0.0.1") in log.read_text()


def free_udp_ports() -> int:
    """The first of eight UDP ports in a row that are free."""
    while True:
        first = free_port(socket.SOCK_DGRAM)
        if first + MEDIA_PORTS < 65_536 and not any(is_taken(first + step) for step in range(MEDIA_PORTS)):
            return first


def is_taken(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.bind(("0.0.0.0", number))
        except OSError:
            return True
    return False
