"""Process pods in the lab are real: addresses, Services, cluster DNS, volumes, probes, restarts, graceful ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

WITHIN_S = 60.0


@pytest.fixture
def space(lab: Any) -> Iterator[str]:
    name = f"pods-{time.monotonic_ns()}"
    lab.kubectl("create", "namespace", name)
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=false", check=False)


def until(question: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s"
        time.sleep(0.2)
    return answer


def create(lab: Any, space: str, *objects: dict[str, Any]) -> None:
    lab.kubectl(
        "create", "-n", space, "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


def change(lab: Any, space: str, wanted: dict[str, Any]) -> None:
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-n", space, "-f", "-", input=json.dumps(wanted))


def get(lab: Any, space: str, *what: str) -> dict[str, Any]:
    return json.loads(lab.kubectl("get", "-n", space, "-o", "json", *what))


def pod(name: str, container: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": [{"name": "c", **container}], **spec},
    }


def redis_pod(name: str) -> dict[str, Any]:
    probe = {"tcpSocket": {"port": 6379}}
    container = {"image": "redis:8.2", "args": ["--save", "", "--requirepass", "$(PASSWORD)"], "readinessProbe": probe}
    container["env"] = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}]
    return pod(name, container, {"app": "redis"})


def script(text: str, **more: Any) -> dict[str, Any]:
    """A container that is a process because of its image, and runs a script."""
    return {"image": "example.org/visio-operator:1", "command": ["python3", "-c", text], **more}


def is_ready(found: dict[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def phase(lab: Any, space: str, name: str) -> str:
    return str(get(lab, space, "pod", name)["status"]["phase"])


def log(lab: Any, space: str, name: str) -> str:
    file = lab.directory / "logs" / "pods" / f"{space}_{name}_c.log"
    return file.read_text() if file.exists() else ""


ASK = """
import socket, sys
names = ["redis", "redis.{space}", "redis.{space}.svc", "redis.{space}.svc.cluster.local"]
peers = set()
for name in names * 8:
    with socket.create_connection((name, 6379), timeout=5) as server:
        server.sendall(b"AUTH geheim\\r\\nCLIENT INFO\\r\\n")
        text = b""
        while b"laddr=" not in text or b" fd=" not in text.split(b"laddr=")[1]:
            text += server.recv(4096)
        fields = dict(each.split("=", 1) for each in text.decode().split() if "=" in each)
        peers.add(fields["laddr"])
        assert fields["addr"].startswith(socket.gethostbyname(socket.gethostname()) + ":"), fields["addr"]
print("servers", len(peers))
"""


def test_two_servers_on_the_same_port_answer_behind_one_service_name(lab: Any, space: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"password": "geheim"}}
    ports = [{"port": 6379}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"}}
    create(lab, space, secret, {**service, "spec": {"selector": {"app": "redis"}, "ports": ports}})
    create(lab, space, redis_pod("redis-0"), redis_pod("redis-1"))
    until(lambda: all(is_ready(each) for each in get(lab, space, "pods")["items"]))
    time.sleep(0.5)  # kube-proxy writes its rules in steps
    create(lab, space, pod("client", script(ASK.format(space=space)), restartPolicy="Never"))
    until(lambda: phase(lab, space, "client") in ("Succeeded", "Failed"))
    assert log(lab, space, "client").strip() == "servers 2"
    addresses = {each["status"]["podIP"] for each in get(lab, space, "pods", "-l", "app=redis")["items"]}
    assert len(addresses) == 2


def test_a_container_sees_its_volumes_where_the_machine_has_no_such_path(lab: Any, space: str) -> None:
    text = (
        "import pathlib; p = pathlib.Path\n"
        "print(p('/visio-nowhere/conf/a').read_text(), p('/etc/visio/one').read_text(), sorted(p('/tmp').iterdir()))\n"
        "p('/visio-nowhere/data/new').write_text('x'); p('/tmp/new').write_text('x')\n"
        "print(len(p('/var/run/secrets/kubernetes.io/serviceaccount/token').read_text()) > 100)\n"
        "try: p('/usr/new').write_text('x')\n"
        "except OSError as error: print(error.strerror)\n"
    )
    volumes = [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "data", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "conf", "mountPath": "/visio-nowhere/conf"},
        {"name": "conf", "mountPath": "/etc/visio/one", "subPath": "a"},
        {"name": "data", "mountPath": "/visio-nowhere/data"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    container = script(text, volumeMounts=mounts, securityContext={"readOnlyRootFilesystem": True})
    create(lab, space, pod("reader", container, volumes=volumes, restartPolicy="Never"))
    until(lambda: "conf" in json.dumps(get(lab, space, "pod", "reader")["status"].get("containerStatuses", [])))
    conf = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "hello"}}
    create(lab, space, conf)
    until(lambda: phase(lab, space, "reader") in ("Succeeded", "Failed"))
    lines = log(lab, space, "reader").splitlines()
    assert lines[0].startswith("hello hello [")
    assert lines[1:] == ["True", "Read-only file system"]


def test_a_container_that_ends_is_started_again_and_a_deaf_one_is_killed_after_its_grace(lab: Any, space: str) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    create(lab, space, pod("ends", script("print('again')")))
    create(lab, space, pod("deaf", script(deaf), terminationGracePeriodSeconds=3))
    until(lambda: get(lab, space, "pod", "ends")["status"]["containerStatuses"][0]["restartCount"] >= 2)
    until(lambda: phase(lab, space, "deaf") == "Running")
    time.sleep(1)
    began = time.monotonic()
    lab.kubectl("delete", "pod", "deaf", "-n", space)
    assert 2.5 < time.monotonic() - began < 10


def test_a_failing_liveness_probe_restarts_a_container(lab: Any, space: str) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /tmp/healthy"]}, "periodSeconds": 1, "failureThreshold": 2}
    create(
        lab,
        space,
        pod("sick", script("import time; time.sleep(1000)", livenessProbe=probe), terminationGracePeriodSeconds=1),
    )
    until(
        lambda: get(lab, space, "pod", "sick")["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1
    )


def test_a_pod_in_its_nodes_network_is_reached_under_the_address_that_it_takes_for_its_nodes(
    lab: Any, space: str
) -> None:
    """Several nodes share one machine here, so the address of such a pod stands for that of its node."""
    address = {"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
    text = "import os, socket; print(os.environ['NODE_IP'], flush=True); socket.create_server(('', 7880)).accept()"
    create(lab, space, pod("server", script(text, env=[address]), hostNetwork=True, restartPolicy="Never"))
    found = until(lambda: log(lab, space, "server").strip())
    status = get(lab, space, "pod", "server")["status"]
    assert found == status["hostIP"] == status["podIP"]
    client = lab.enter(["python3", "-c", f"import socket; socket.create_connection(('{found}', 7880), timeout=5)"])
    assert client.wait(20) == 0
    until(lambda: phase(lab, space, "server") == "Succeeded")


def a_secret(value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"word": value}}


def test_a_mounted_secret_follows_its_object_and_a_variable_follows_with_the_next_start(lab: Any, space: str) -> None:
    """The volume changes under the running program; its environment is that of its own start."""
    text = (
        "import os, pathlib, time\n"
        "while (word := pathlib.Path('/word/word').read_text()) != 'three':\n"
        "    print(os.environ['WORD'], word, flush=True); time.sleep(0.2)\n"
    )
    variable = {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "word", "key": "word"}}}
    container = script(text, env=[variable], volumeMounts=[{"name": "word", "mountPath": "/word"}])
    volumes = [{"name": "word", "secret": {"secretName": "word"}}]
    create(lab, space, a_secret("one"), pod("reader", container, volumes=volumes))
    until(lambda: "one one" in log(lab, space, "reader"))
    change(lab, space, a_secret("two"))
    until(lambda: "one two" in log(lab, space, "reader"), within_s=20)
    change(lab, space, a_secret("three"))
    until(lambda: get(lab, space, "pod", "reader")["status"]["containerStatuses"][0]["restartCount"])
    change(lab, space, a_secret("four"))
    until(lambda: "four four" in log(lab, space, "reader"), within_s=30)


def test_logs_of_this_life_of_the_one_before_and_of_what_comes(lab: Any, space: str) -> None:
    text = (
        "import pathlib, time, uuid; print('life', uuid.uuid4(), flush=True); time.sleep(4); print('end', flush=True)"
    )
    create(lab, space, pod("speaker", script(text)))
    until(
        lambda: get(lab, space, "pod", "speaker")["status"].get("containerStatuses", [{}])[0].get("restartCount") == 1
    )
    until(lambda: log(lab, space, "speaker").count("life") == 2)
    first, end, second = log(lab, space, "speaker").splitlines()[:3]
    assert lab.kubectl("logs", "speaker", "-n", space).splitlines()[0] == second
    assert lab.kubectl("logs", "speaker", "-n", space, "--previous").splitlines() == [first, end]
    assert lab.kubectl("logs", "speaker", "-n", space, "--follow").splitlines() == [second, "end"]
    played = {"image": "example.org/other:1"}
    create(lab, space, pod("played", played))
    until(lambda: phase(lab, space, "played") == "Running")
    with pytest.raises(Exception, match="the lab plays this container"):
        lab.kubectl("logs", "played", "-n", space)


def test_the_last_words_of_a_container_stand_in_its_status(lab: Any, space: str) -> None:
    told = "open('/dev/termination-log', 'w').write('as asked'); raise SystemExit(3)"
    logged = script("print('no such database'); raise SystemExit(4)", terminationMessagePolicy="FallbackToLogsOnError")
    create(lab, space, pod("told", script(told), restartPolicy="Never"), pod("logged", logged, restartPolicy="Never"))
    for name, code, message in (("told", 3, "as asked"), ("logged", 4, "no such database\n")):
        until(lambda name=name: phase(lab, space, name) == "Failed")
        ended = get(lab, space, "pod", name)["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["message"]) == (code, message)


def test_a_container_is_the_user_that_its_pod_names_and_cannot_become_root(lab: Any, space: str) -> None:
    text = (
        "import os, pathlib, pwd, socket\n"
        "print(os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_name, pathlib.Path('/data').stat().st_uid)\n"
        "pathlib.Path('/data/new').write_text('x')\n"
        "socket.create_server(('', 80)).close()\n"
        "print([each.name for each in pathlib.Path('/proc').iterdir() if each.name.isdecimal()], os.getpid())\n"
        "status = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "print([line.split()[1] for line in status if line.startswith(('CapEff', 'NoNewPrivs'))])\n"
        "try: os.setuid(0)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    container = script(text, securityContext=security, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    spec = {"securityContext": {"runAsUser": 1001, "runAsGroup": 127}, "volumes": [{"name": "data", "emptyDir": {}}]}
    create(lab, space, pod("user", container, restartPolicy="Never", **spec))
    until(lambda: phase(lab, space, "user") in ("Succeeded", "Failed"))
    assert log(lab, space, "user").splitlines() == [
        "1001 127 visio 1001",
        "['1'] 1",
        "['0000000000000000', '1']",
        "Invalid argument",
    ]


def test_a_sold_node_has_its_gpu_later_and_takes_its_pods_along_when_returned(lab: Any, space: str) -> None:
    pool = f"gpu-{time.monotonic_ns()}"
    spec = {
        "nodeType": "tinav7.c8r64p1",
        "desiredNodes": 1,
        "fgpu": {"model": "nvidia-l40"},
        "nodeLabels": {"pool": pool},
    }
    create(lab, space, {"apiVersion": "oks.dev/v1beta2", "kind": "NodePool", "metadata": {"name": pool}, "spec": spec})
    try:
        limits = {"limits": {"nvidia.com/gpu": "1"}}
        container = script("import time; time.sleep(1000)", resources=limits)
        create(lab, space, pod("on-gpu", container, nodeSelector={"pool": pool}, terminationGracePeriodSeconds=600))
        node = until(lambda: get(lab, space, "nodes", "-l", f"pool={pool}")["items"])[0]
        assert "nvidia.com/gpu" not in node["status"]["allocatable"]
        until(lambda: phase(lab, space, "on-gpu") == "Running")
        (node,) = get(lab, space, "nodes", "-l", f"pool={pool}")["items"]
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
        until(lambda: get(lab, space, "nodepools.oks.dev", pool)["status"]["progress"]["ready"] == 1)
        lab.kubectl("patch", "nodepools.oks.dev", pool, "--type=merge", "-p", '{"spec": {"desiredNodes": 0}}')
        until(lambda: not get(lab, space, "nodes", "-l", f"pool={pool}")["items"])
        until(lambda: not get(lab, space, "pods")["items"], within_s=5)
    finally:
        lab.kubectl("delete", "nodepools.oks.dev", pool)
    bill = [json.loads(line) for line in (lab.directory / "cloud.jsonl").read_text().splitlines()]
    assert [each["event"] for each in bill if each["pool"] == pool] == ["ordered", "ready", "gpu", "returned"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nodeType": "tinav7.c8r64p1", "minNodes": 2, "desiredNodes": 1}, "minNodes must not be above desiredNodes"),
        (
            {"nodeType": "tinav7.c8r64p1", "maxNodes": 1, "desiredNodes": 2},
            "maxNodes must be 0 or not below desiredNodes",
        ),
        ({"nodeType": "tinav7.c8r64p1", "autoscaling": True}, "autoscaling needs maxNodes"),
        ({"nodeType": "inference7-l40.medium", "fgpu": {"model": "nvidia-l40"}}, "fgpu.model must not be set"),
        ({"desiredNodes": 1}, "nodeType"),
    ],
)
def test_the_cloud_refuses_what_oks_refuses(lab: Any, spec: dict[str, Any], message: str) -> None:
    body = {"apiVersion": "oks.dev/v1beta2", "kind": "NodePool", "metadata": {"name": "refused"}, "spec": spec}
    with pytest.raises(Exception, match=message):
        lab.kubectl("create", "-f", "-", input=json.dumps(body))
