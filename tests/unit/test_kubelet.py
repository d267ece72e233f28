"""Environment, volumes, programs and status of process pods follow the kubelet's rules."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from visio_lab.cloud_nodes import capacity, gpus, lead_factor, pool_node, zone_of
from visio_lab.container_env import ConfigError, environment, expand, references, resource
from visio_lab.container_init import to_mirror
from visio_lab.container_process import Container, kept_paths, play
from visio_lab.context import NODE_ADDRESSES, REAL_IMAGES, LabContext
from visio_lab.node_ports import ruleset
from visio_lab.pod_status import phase, pod_status
from visio_lab.programs import has_program
from visio_lab.stages import stage_manifests
from visio_lab.volumes import make_volumes, mounts, publish

CTX = LabContext(
    directory=Path("/lab"),
    bin=Path("/lab/bin"),
    inner_kubeconfig=Path("/lab/kubeconfig.inner"),
    logs=Path("/lab/logs"),
    python="python",
    visio_operator_command=("visio",),
)
REAL = replace(CTX, real_images=REAL_IMAGES)


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
    assert (found["one"] / "sub" / "b.conf").read_bytes() == b"1"
    assert [each.name for each in found["one"].iterdir() if not each.name.startswith("..")] == ["sub"]
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


def test_a_volume_changes_in_one_moment_and_only_when_it_says_something_else(tmp_path: Path) -> None:
    publish(tmp_path, {"a": b"1", "sub/b": b"2"}, 0o444)
    first = (tmp_path / "..data").readlink()
    publish(tmp_path, {"a": b"1", "sub/b": b"2"}, 0o444)
    assert (tmp_path / "..data").readlink() == first
    publish(tmp_path, {"a": b"3", "c": b"4"}, 0o444)
    assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith("..")) == ["a", "c"]
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not (tmp_path / first).exists(), "what nobody sees any more is gone"


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


def media_slice(*endpoints: tuple[str, str, bool, bool]) -> dict[str, Any]:
    """Pods of the Service `media` by address, node, readiness and whether they serve."""
    return {
        "metadata": {"namespace": "n", "name": "media-1", "labels": {"kubernetes.io/service-name": "media"}},
        "ports": [{"name": "udp", "port": 7882}],
        "endpoints": [
            {"addresses": [address], "nodeName": node, "conditions": {"ready": ready, "serving": serving}}
            for address, node, ready, serving in endpoints
        ],
    }


def test_a_node_port_with_the_local_policy_leads_to_the_pods_of_its_node() -> None:
    ports = [{"name": "udp", "protocol": "UDP", "port": 7882, "nodePort": 30400}]
    spec = {"externalTrafficPolicy": "Local", "ports": ports}
    service = {"metadata": {"namespace": "n", "name": "media"}, "spec": spec}
    pods = media_slice(
        ("10.0.0.1", "worker-a", True, True),
        ("10.0.0.2", "worker-a", False, True),
        ("10.0.0.3", "worker-b", False, True),
        ("10.0.0.4", "worker-c", False, False),
    )
    rules = [line.strip() for line in ruleset([service], [pods]).splitlines() if "dport" in line]
    assert [(rule.split()[2], rule.split("{ ")[1]) for rule in rules] == [
        (NODE_ADDRESSES["worker-a"], "0 : 10.0.0.1 . 7882 }"),
        (NODE_ADDRESSES["worker-b"], "0 : 10.0.0.3 . 7882 }"),
    ], "the ready ones, and where there is none those that end"
    shared = {**service, "spec": {**spec, "externalTrafficPolicy": "Cluster"}}
    assert "dport" not in ruleset([shared], [pods]), "kube-proxy itself serves those"


@pytest.mark.parametrize(
    "container",
    [
        {"image": "lasuite/meet-agents:v1", "args": ["python", "metadata_collector.py", "start"]},
        {"image": "lasuite/meet-summary:v1", "command": ["celery", "-Q", "summarize-queue-v2"]},
        {"image": "lasuite/meet-backend:v1"},
    ],
)
def test_other_containers_have_none(container: dict[str, Any]) -> None:
    assert not has_program(container, CTX)


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
    assert json.loads(json.dumps(stage_manifests(CTX))) == stage_manifests(CTX)


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
