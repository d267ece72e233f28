"""What the operator renders runs: PostgreSQL, Redis and media servers as real processes, with real calls by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import live
from builders import DeploymentBuilder, a_deployment
from visio_lab.front_door import certificate_secret, public_ca_configmap
from visio_lab.operator_process import make_namespace
from visio_operator.runtime.secret_values import decode, fill

CALL = Path(__file__).parent / "call.py"


def manifests(namespace: str, deployment: DeploymentBuilder, *parts: str) -> list[dict[str, Any]]:
    """Some parts of a deployment as the operator renders them, and the Secrets that it would make."""
    deployment = deployment.named("visio", namespace)
    chosen = [
        each for each in deployment.manifests() if each["metadata"]["labels"]["app.kubernetes.io/component"] in parts
    ]
    for each in chosen:
        # Their owner is not in this cluster, and the garbage collector would take them along.
        each["metadata"].pop("ownerReferences", None)
    generated, problems = fill(deployment.plan().secrets, {})
    assert not problems
    for name, values in generated.items():
        chosen.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in chosen]


@pytest.fixture(scope="module")
def space(real_lab: Any) -> Iterator[str]:
    name = f"real-{time.monotonic_ns()}"
    make_namespace(real_lab, name)
    deployment = a_deployment().having(sfu={"min": 2, "max": 2})
    live.apply(real_lab, manifests(name, deployment, "postgres", "redis", "sfu"))
    for kind in ("statefulset/visio-postgres", "statefulset/visio-redis", "deployment/visio-sfu"):
        real_lab.kubectl("rollout", "status", kind, "-n", name, "--timeout=90s")
    yield name
    real_lab.kubectl("delete", "namespace", name, "--wait=false", check=False)


def pods(lab: Any, space: str, part: str) -> list[dict[str, Any]]:
    return live.items(lab, "pods", space, f"app.kubernetes.io/component={part}")


def secret(lab: Any, space: str, name: str) -> dict[str, str]:
    found = live.get(lab, "secret", name, space)
    assert found is not None
    return decode(found["data"])


class Call:
    """A call of two people through a deployment's media servers, as a program inside the lab."""

    def __init__(self, lab: Any, space: str, room: str, log: Path, stay_s: float = 0) -> None:
        generated = secret(lab, space, "visio-keys")
        keys = {"LIVEKIT_API_KEY": generated["livekitApiKey"], "LIVEKIT_API_SECRET": generated["livekitApiSecret"]}
        url = f"ws://visio-sfu.{space}.svc.cluster.local:7880"
        argv = [sys.executable, str(CALL), url, room, str(stay_s)]
        self.log = log
        self.process = lab.enter(argv, env={**os.environ, **keys}, log=log)

    def steps(self) -> list[str]:
        """The steps that it has gone through so far."""
        return [json.loads(line)["step"] for line in self.log.read_text().splitlines() if line.startswith('{"step"')]

    def reaches(self, step: str, within_s: float = 60) -> None:
        """Wait for a step; the call must not have ended without it."""
        ended = lambda: self.process.poll() is not None  # noqa: E731
        live.eventually(step, lambda: step in self.steps() or ended(), within_s)
        assert step in self.steps(), self.log.read_text()


def test_media_servers_announce_the_addresses_of_their_own_nodes(real_lab: Any, space: str) -> None:
    found = pods(real_lab, space, "sfu")
    hosts = {each["status"]["hostIP"] for each in found}
    assert len(hosts) == 2, "one server per node"
    nodes = {node["metadata"]["name"]: node for node in live.items(real_lab, "nodes", "default")}
    for each in found:
        addresses = {one["address"] for one in nodes[each["spec"]["nodeName"]]["status"]["addresses"]}
        assert each["status"]["hostIP"] in addresses


@pytest.mark.parametrize("number", range(4))
def test_two_people_hear_each_other_whichever_server_has_their_room(
    real_lab: Any, space: str, number: int, tmp_path: Path
) -> None:
    call = Call(real_lab, space, f"room-{number}", tmp_path / "log")
    call.reaches("left")
    assert call.steps() == ["joined", "joined", "heard", "left"]
    call.process.wait(20)


def test_the_database_takes_the_password_of_its_secret_and_no_other(real_lab: Any, space: str) -> None:
    password = secret(real_lab, space, "visio-postgres")["password"]
    address = pods(real_lab, space, "postgres")[0]["status"]["podIP"]
    ask = (
        "import asyncio, asyncpg, os, sys\n"
        "async def main():\n"
        "    db = await asyncpg.connect(host=sys.argv[1], user='meet', database='meet', password=os.environ['P'])\n"
        "    print(await db.fetchval('select current_user'))\n"
        "asyncio.run(main())\n"
    )
    outputs = []
    for given in (password, "wrong"):
        process = real_lab.enter(
            [sys.executable, "-c", ask, address],
            env={**os.environ, "P": given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        outputs.append(process.communicate(timeout=30)[0].decode())
    assert outputs[0].strip() == "meet"
    assert "InvalidPasswordError" in outputs[1]


def test_logs_are_read_by_kubectl(real_lab: Any, space: str) -> None:
    name = pods(real_lab, space, "sfu")[0]["metadata"]["name"]
    assert "starting LiveKit server" in real_lab.kubectl("logs", name, "-n", space)
    assert len(real_lab.kubectl("logs", name, "-n", space, "--tail=1").splitlines()) == 1
    assert "database system is ready" in real_lab.kubectl("logs", "visio-postgres-0", "-n", space)


def test_data_outlives_the_pods_of_database_and_redis(real_lab: Any, space: str) -> None:
    before = {part: pods(real_lab, space, part)[0]["metadata"]["uid"] for part in ("postgres", "redis")}
    real_lab.kubectl("delete", "pod", "visio-postgres-0", "visio-redis-0", "-n", space)
    for part in before:
        real_lab.kubectl("rollout", "status", f"statefulset/visio-{part}", "-n", space, "--timeout=60s")
        assert pods(real_lab, space, part)[0]["metadata"]["uid"] != before[part]
    log = real_lab.kubectl("logs", "visio-postgres-0", "-n", space)
    assert "database system was shut down" in log, "SIGINT is a fast and clean shutdown, and the volume was kept"


def test_a_media_server_told_to_end_stays_until_its_room_is_empty(real_lab: Any, space: str, tmp_path: Path) -> None:
    """The room's server keeps the call through the deletion of its pod, and leaves soon after the last participant."""
    call = Call(real_lab, space, "long", tmp_path / "log", stay_s=15)
    call.reaches("heard")
    names = [each["metadata"]["name"] for each in pods(real_lab, space, "sfu")]
    real_lab.kubectl("delete", "pod", *names, "-n", space, "--wait=false")
    time.sleep(6)
    ending = [each["metadata"]["name"] for each in pods(real_lab, space, "sfu") if each["metadata"]["name"] in names]
    assert len(ending) == 1, "the server without a room has left, the other one has not"
    assert "left" not in call.steps()
    call.reaches("left")
    live.eventually("the server leaves", lambda: live.get(real_lab, "pod", ending[0], space) is None, 30)
    real_lab.kubectl("rollout", "status", "deployment/visio-sfu", "-n", space, "--timeout=60s")
    call.process.wait(20)


STUN_OVER_TLS = """
import os, socket, ssl, sys
tls = ssl.create_default_context(cadata=os.environ["CA"])
request = b"\\x00\\x01\\x00\\x00\\x21\\x12\\xa4\\x42" + b"visio-lab-12"
with socket.create_connection((sys.argv[1], 443), timeout=10) as plain:
    with tls.wrap_socket(plain, server_hostname=sys.argv[2]) as server:
        server.sendall(request)
        answer = server.recv(200)
assert answer[8:20] == request[8:20]
print(answer[:2].hex())
"""


def test_turn_servers_answer_over_tls_with_the_certificate_of_the_public_hosts(real_lab: Any) -> None:
    space, host = f"turn-{time.monotonic_ns()}", "turn.visio.example.gouv.fr"
    make_namespace(real_lab, space)
    certificate_secret(real_lab, space, "visio-tls", [host])
    public_ca_configmap(real_lab, space, "public-ca")
    authority = live.get(real_lab, "configmap", "public-ca", space)["data"]["ca.crt"]
    live.apply(real_lab, manifests(space, a_deployment().with_network("turnTLS"), "turn"))
    real_lab.kubectl("rollout", "status", "deployment/visio-turn", "-n", space, "--timeout=60s")
    argv = [sys.executable, "-c", STUN_OVER_TLS, f"visio-turn.{space}.svc.cluster.local", host]
    asked = real_lab.enter(argv, env={**os.environ, "CA": authority}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert asked.communicate(timeout=30)[0].decode().strip() == "0101", "a success response to a binding request"
    real_lab.kubectl("delete", "namespace", space, "--wait=false")
