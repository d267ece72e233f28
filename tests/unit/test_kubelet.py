"""Environment, volumes, programs and status of process pods follow the kubelet's rules."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from visio_lab.cloud_nodes import capacity, gpus, lead_factor, pool_node, zone_of
from visio_lab.container_env import ConfigError, environment, expand, references, resource
from visio_lab.container_init import to_mirror
from visio_lab.container_process import Container, kept_paths, play
from visio_lab.context import LabContext
from visio_lab.pod_status import phase, pod_status
from visio_lab.programs import has_program, is_process_pod, program
from visio_lab.stages import PROCESS_POD, stage_manifests
from visio_lab.volumes import make_volumes, mounts

CTX = LabContext(
    directory=Path("/lab"),
    bin=Path("/lab/bin"),
    inner_kubeconfig=Path("/lab/kubeconfig.inner"),
    logs=Path("/lab/logs"),
    python="python",
    visio_operator_command=("visio",),
)


def a_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "redis"}},
        "spec": {"containers": list(containers), **spec},
        "status": {"podIP": "10.244.128.1", "hostIP": "192.168.250.1"},
    }


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("x-$(A)-$(B)", "x-1-2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$$", "$"),
        ("$(A", "$(A"),
    ],
)
def test_variables_expand_as_in_kubernetes(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


def test_later_variables_win_and_see_earlier_ones() -> None:
    container = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "URL", "value": "redis://:$(password)@redis"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x", "optional": True}}},
            {"name": "EMPTY"},
        ],
    }
    objects = {("ConfigMap", "cm"): {"a": b"1"}, ("Secret", "s"): {"password": b"geheim"}}
    found = environment(container, a_pod(container), objects)
    assert found["URL"] == "redis://:geheim@redis"
    assert (found["KEY"], found["IP"], found["APP"], found["EMPTY"]) == ("geheim", "10.244.128.1", "redis", "")
    assert found["P_a"] == "1"
    assert "GONE" not in found
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


def test_a_missing_key_is_named() -> None:
    container = {"name": "c", "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}}]}
    with pytest.raises(ConfigError, match="Secret s has no key x"):
        environment(container, a_pod(container), {("Secret", "s"): {}})


def test_a_limit_reaches_the_environment_in_whole_units() -> None:
    container = {"resources": {"limits": {"cpu": "1500m", "memory": "2Gi"}}}
    assert resource(container, {"resource": "limits.cpu"}) == "2"
    assert resource(container, {"resource": "limits.memory", "divisor": "1Mi"}) == "2048"


def test_every_object_that_a_pod_reads_is_found_once() -> None:
    container = {
        "name": "c",
        "envFrom": [{"secretRef": {"name": "s", "optional": True}}],
        "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x", "optional": True}}}],
    }
    volumes = [
        {"name": "v", "secret": {"secretName": "s"}},
        {"name": "w", "projected": {"sources": [{"configMap": {"name": "cm", "optional": True}}]}},
        {"name": "e", "emptyDir": {}},
    ]
    found = references(a_pod(container, volumes=volumes))
    assert found == {("Secret", "s"): False, ("ConfigMap", "cm"): True}


def test_volumes_become_directories_with_the_chosen_files(tmp_path: Path) -> None:
    pod = a_pod(
        {"name": "c"},
        volumes=[
            {"name": "all", "secret": {"secretName": "s", "defaultMode": 0o400}},
            {"name": "one", "configMap": {"name": "cm", "items": [{"key": "a", "path": "sub/b.conf"}]}},
            {
                "name": "token",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                    ]
                },
            },
            {"name": "scratch", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}},
        ],
    )
    objects = {("Secret", "s"): {"k": b"v"}, ("ConfigMap", "cm"): {"a": b"1", "b": b"2"}}
    found = make_volumes(pod, tmp_path / "pod", tmp_path / "claims", objects, {"": "jwt"})
    assert (found["all"] / "k").read_bytes() == b"v"
    assert (found["all"] / "k").stat().st_mode & 0o777 == 0o400
    assert [str(each.relative_to(found["one"])) for each in found["one"].rglob("*.conf")] == ["sub/b.conf"]
    assert (found["token"] / "token").read_text() == "jwt"
    assert (found["token"] / "ns").read_text() == "n"
    assert list(found["scratch"].iterdir()) == []
    assert found["data"] == tmp_path / "claims" / "n_data-0"


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        ({"name": "v", "configMap": {"name": "cm", "items": [{"key": "x", "path": "x"}]}}, "ConfigMap cm has no key x"),
        ({"name": "v", "csi": {"driver": "d"}}, "volume v: the lab has no volumes of this kind"),
    ],
)
def test_a_volume_that_cannot_be_made_is_named(tmp_path: Path, volume: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        make_volumes(a_pod({"name": "c"}, volumes=[volume]), tmp_path, tmp_path, {("ConfigMap", "cm"): {}}, {})


def test_a_sub_path_is_mounted_alone_and_cannot_leave_its_volume(tmp_path: Path) -> None:
    (tmp_path / "redis.conf").write_text("")
    mount = {"name": "v", "mountPath": "/etc/redis/redis.conf", "subPath": "redis.conf", "readOnly": True}
    (found,) = mounts({"volumeMounts": [mount]}, {"v": tmp_path}, {})
    assert (found.source, found.target, found.read_only) == (str(tmp_path / "redis.conf"), mount["mountPath"], True)
    with pytest.raises(ConfigError, match="leads out"):
        mounts({"volumeMounts": [{**mount, "subPath": "../x"}]}, {"v": tmp_path}, {})


def test_only_directories_that_lack_a_mount_path_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    targets = [str(tmp_path / "here"), str(tmp_path / "missing" / "deeper"), "/nowhere-at-all/x"]
    assert to_mirror(targets) == ["/etc", str(tmp_path.resolve())]


@pytest.mark.parametrize(
    ("image", "process"),
    [
        ("redis:8.2", True),
        ("docker.io/library/redis@sha256:0", True),
        ("registry.example:5000/visio/moshi-server:0.6.4", True),
        ("docker.io/lasuite/whisper-api:v1.2.0", True),
        ("registry.example/visio-operator", True),
        ("docker.io/lasuite/meet-backend:v1.27.0", False),
        ("livekit/livekit-server:v1.13.5", False),
        ("bitnami/redis-exporter:1", False),
        ("redis-stack/other:1", False),
    ],
)
def test_a_pod_is_real_by_the_image_of_any_container(image: str, process: bool) -> None:
    assert is_process_pod(a_pod({"name": "c", "image": image})) is process
    assert is_process_pod(a_pod({"name": "c", "image": "x"}, initContainers=[{"name": "i", "image": image}])) is process


def test_kwok_leaves_process_pods_to_the_kubelet() -> None:
    pod_stages = [each for each in stage_manifests() if each["spec"]["resourceRef"]["kind"] == "Pod"]
    for stage in pod_stages:
        expressions = stage["spec"]["selector"]["matchExpressions"]
        assert {"key": PROCESS_POD, "operator": "DoesNotExist"} in expressions


@pytest.mark.parametrize(
    ("image", "command", "args", "argv"),
    [
        ("redis:8.2", [], [], ["redis-server"]),
        ("redis:8.2", [], ["--appendonly", "yes"], ["redis-server", "--appendonly", "yes"]),
        ("redis:8.2", ["sh", "-c", "exec redis-server"], [], ["sh", "-c", "exec redis-server"]),
        ("r/visio-operator:1", [], ["captions-proxy", "--listen", "x"], ["visio", "captions-proxy", "--listen", "x"]),
        ("r/visio-operator:1", ["visio-operator", "run"], [], ["visio", "run"]),
        (
            "r/moshi-server:0.6.4",
            ["moshi-server"],
            ["worker", "--port", "8080"],
            ["python", "-m", "visio_lab.standins.kyutai", "worker", "--port", "8080"],
        ),
        (
            "lasuite/whisper-api:v1.2.0",
            ["python3", "main.py", "--model", "large-v3"],
            [],
            ["python", "-m", "visio_lab.standins.whisperx", "--model", "large-v3"],
        ),
        ("lasuite/whisper-api:main", [], [], ["python", "-m", "visio_lab.standins.whisperx"]),
        (
            "lasuite/meet-summary:v1.27.0",
            ["celery"],
            ["worker", "--pool=solo", "-Q", "transcribe-queue-v2"],
            ["python", "-m", "visio_lab.standins.transcribe_worker", "-Q", "transcribe-queue-v2"],
        ),
        (
            "lasuite/meet-agents:v1.27.0",
            [],
            ["python", "multi_user_transcriber.py", "start"],
            ["python", "-m", "visio_lab.standins.agent"],
        ),
    ],
)
def test_each_image_has_its_program(image: str, command: list[str], args: list[str], argv: list[str]) -> None:
    assert has_program({"image": image, "command": command, "args": args})
    assert program(image, command, args, CTX) == argv


@pytest.mark.parametrize(
    "container",
    [
        {"image": "lasuite/meet-agents:v1", "args": ["python", "metadata_collector.py", "start"]},
        {"image": "lasuite/meet-summary:v1", "command": ["celery", "-Q", "summarize-queue-v2"]},
        {"image": "lasuite/meet-backend:v1"},
    ],
)
def test_other_containers_have_none(container: dict[str, Any]) -> None:
    assert not has_program(container)


def a_container(name: str, **spec: Any) -> Container:
    return Container({"name": name, "image": "x", **spec}, lambda: None)


def test_a_pod_is_ready_once_its_sidecar_and_containers_are() -> None:
    prepare, sidecar, main = a_container("i"), a_container("s", restartPolicy="Always"), a_container("c")

    def ready(pod: dict[str, Any]) -> tuple[str, str]:
        status = pod_status(
            pod, [prepare, sidecar], [main], started_at="t", node_ip="192.168.250.1", pod_ip="10.244.128.1"
        )
        conditions = {each["type"]: each["status"] for each in status["conditions"]}
        return status["phase"], conditions["Ready"]

    pod = a_pod({"name": "c"})
    assert ready(pod) == ("Pending", "False")
    play(prepare, ends=True)
    play(main, ends=False)
    assert ready(pod) == ("Running", "False")
    play(sidecar, ends=False)
    assert ready(pod) == ("Running", "True")
    pod["spec"]["readinessGates"] = [{"conditionType": "example.org/gate"}]
    assert ready(pod) == ("Running", "False")
    pod["status"]["conditions"] = [{"type": "example.org/gate", "status": "True"}]
    assert ready(pod) == ("Running", "True")


@pytest.mark.parametrize(
    ("policy", "code", "result"),
    [("Never", 0, "Succeeded"), ("OnFailure", 0, "Succeeded"), ("Never", 1, "Failed"), ("Always", 0, "Running")],
)
def test_the_phase_follows_the_restart_policy(policy: str, code: int, result: str) -> None:
    main = a_container("c")
    main.exit_code = code
    main.set_state("terminated", exitCode=code)
    assert phase(policy, [], [main]) == result


def a_pool(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "gpu"}, "spec": {"nodeType": "tinav7.c8r64p1", **spec}}


def test_a_sold_node_carries_what_its_pool_asks_for() -> None:
    pool = a_pool(nodeLabels={"visio-operator.dev/pool": "captions"}, taint=True, fgpu={"model": "nvidia-l40"})
    node = pool_node(pool, "gpu-0", "cloudgouv-eu-west-1b")
    labels = node["metadata"]["labels"]
    assert labels["visio-operator.dev/pool"] == "captions"
    assert labels["topology.kubernetes.io/zone"] == "cloudgouv-eu-west-1b"
    assert labels["topology.kubernetes.io/region"] == "cloudgouv-eu-west-1"
    assert node["spec"]["taints"][0]["key"] == "nvidia.com/gpu"
    assert node["status"]["allocatable"]["memory"] == "64Gi"
    assert "nvidia.com/gpu" not in node["status"]["allocatable"]


def test_gpus_zones_and_lead_times_come_from_the_pool_alone() -> None:
    assert gpus(a_pool()) == 0
    assert gpus(a_pool(fgpu={"model": "nvidia-l40"})) == 1
    assert gpus(a_pool(nodeType="inference7-h100.large")) == 1
    assert capacity("inference7-l40.medium")["cpu"] == "16"
    assert [zone_of(a_pool(zones=["z-1a", "z-1b"]), index) for index in range(3)] == ["z-1a", "z-1b", "z-1a"]
    assert lead_factor("gpu", 1) == lead_factor("gpu", 1) != lead_factor("gpu", 2)
    assert 0.9 <= lead_factor("gpu", 1) <= 1.1


def test_secret_values_are_bytes() -> None:
    from visio_lab.container_env import data_of

    secret = {"kind": "Secret", "data": {"k": base64.b64encode(b"\xff").decode()}}
    assert data_of(secret) == {"k": b"\xff"}
    assert data_of({"kind": "ConfigMap", "data": {"k": "v"}, "binaryData": None}) == {"k": b"v"}
    assert json.loads(json.dumps(stage_manifests())) == stage_manifests()


def test_unpacked_programs_stay_visible_where_a_volume_covers_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout or a cache below /tmp must work, although most pods mount an empty /tmp."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wrapper = tmp_path / "visio-operator" / "debian" / "redis-server" / "bin" / "redis-server"
    library = wrapper.parents[1] / "usr" / "lib"
    for folder in (wrapper.parent, library, tmp_path / "lab" / "bin"):
        folder.mkdir(parents=True)
    wrapper.touch()
    (tmp_path / "lab" / "bin" / "redis-server").symlink_to(wrapper)
    context = LabContext(tmp_path / "lab", tmp_path / "lab" / "bin", tmp_path / "kubeconfig", tmp_path / "logs")
    assert any(library.is_relative_to(path) for path in kept_paths(context))
