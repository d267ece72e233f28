"""Rules that every pod keeps: hardening, probes, grace periods, sizes, placement."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import ADMITTED, ALL, container, containers, named, templates

from builders import a_deployment, release
from visio_operator.plan.order import part_set
from visio_operator.workloads.common import SERVING_LABEL
from visio_operator.workloads.quantities import canonical

PODS = [
    pytest.param(case, part, template, id=f"{case}-{part}")
    for case, built in ALL.items()
    for part, template in templates(built.manifests())
]
ADMITTED_PODS = [pod for pod in PODS if pod.values[0] in ADMITTED]
every_pod = pytest.mark.parametrize(("case", "part", "template"), PODS)

GRACE = {
    "backend": 100, "frontend": 30, "summary": 30, "transcription": 1500, "summarize": 600, "call-webhook": 60,
    "subtitles": 3630, "metadata": 3630, "sfu": 18_000, "egress": 18_000,
}  # fmt: skip
"""Seconds, from the digest of facts/visio.md 0."""
WITHOUT_PROBES = {"celery-backend", "transcribe", "summarize", "call-webhook", "address"}
"""Celery workers with the solo pool answer nothing while they work; a media server's `address` only waits."""
ENDING = {"preflight", "migrate", "superuser", "clean-pending-files", "purge-deleted-files"}


@pytest.mark.parametrize(("case", "part", "template"), ADMITTED_PODS)
def test_pod_is_admitted_by_pod_security_restricted(case: str, part: str, template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    kinds = {"emptyDir", "configMap", "secret", "projected", "downwardAPI", "persistentVolumeClaim", "ephemeral"}
    assert all({*volume} - {"name"} <= kinds for volume in spec.get("volumes", []))
    for one in containers(template):
        context = one["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert set(context["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        assert not {"privileged", "procMount"} & context.keys()
        assert all("hostPort" not in port for port in one.get("ports", []))


def test_only_the_server_on_the_nodes_network_is_not() -> None:
    outside = {
        part
        for part, template in templates(ALL["hostNetwork"].manifests())
        if template["spec"].get("hostNetwork") or template["spec"].get("dnsPolicy")
    }
    assert outside == {"sfu"}


@every_pod
def test_pod_is_hardened_beyond_that(case: str, part: str, template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["serviceAccountName"] == f"{ALL[case].name}-{part}"
    assert spec["securityContext"]["runAsUser"] > 0
    assert "runAsGroup" in spec["securityContext"]
    assert all(one["securityContext"]["readOnlyRootFilesystem"] is True for one in containers(template))
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec.get("volumes", []) if "emptyDir" in volume)


@every_pod
def test_every_image_is_one_of_the_release(case: str, part: str, template: dict[str, Any]) -> None:
    images = set(release(ALL[case].spec()).images.values())
    assert {one["image"] for one in containers(template)} <= images


@every_pod
def test_servers_have_all_three_probes(case: str, part: str, template: dict[str, Any]) -> None:
    if part in ENDING:
        return
    for one in containers(template):
        present = {"startupProbe", "livenessProbe", "readinessProbe"} & one.keys()
        assert len(present) == (0 if one["name"] in WITHOUT_PROBES else 3), one["name"]


@every_pod
def test_liveness_asks_no_dependency(case: str, part: str, template: dict[str, Any]) -> None:
    for one in containers(template):
        probe = one.get("livenessProbe", {})
        assert "exec" not in probe
        path = probe.get("httpGet", {}).get("path", "/")
        assert path in ("/", "/__lbheartbeat__", "/api/build_info", "/healthz")


@every_pod
def test_grace_period_is_that_of_the_facts(case: str, part: str, template: dict[str, Any]) -> None:
    assert template["spec"]["terminationGracePeriodSeconds"] == GRACE.get(
        part, template["spec"]["terminationGracePeriodSeconds"]
    )


@every_pod
def test_every_container_asks_for_cpu_and_memory_and_has_a_memory_limit(
    case: str, part: str, template: dict[str, Any]
) -> None:
    for one in containers(template):
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
        assert "memory" in one["resources"]["limits"]


@every_pod
def test_amounts_are_spelled_as_the_api_server_would(case: str, part: str, template: dict[str, Any]) -> None:
    sizes = [volume["emptyDir"]["sizeLimit"] for volume in template["spec"].get("volumes", []) if "emptyDir" in volume]
    for one in containers(template):
        sizes += [*one["resources"]["requests"].values(), *one["resources"]["limits"].values()]
    assert sizes == [canonical(size) for size in sizes]


@every_pod
def test_mounts_are_of_volumes_that_exist(case: str, part: str, template: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
    for one in containers(template):
        assert {mount["name"] for mount in one.get("volumeMounts", [])} <= volumes | {"data"}


@every_pod
def test_ports_and_variables_are_named_once(case: str, part: str, template: dict[str, Any]) -> None:
    for one in containers(template):
        ports = [(port["containerPort"], port["protocol"]) for port in one.get("ports", [])]
        names = [variable["name"] for variable in one.get("env", [])]
        assert len(set(ports)) == len(ports)
        assert len(set(names)) == len(names)


@every_pod
def test_probes_ask_ports_that_exist(case: str, part: str, template: dict[str, Any]) -> None:
    for one in containers(template):
        names = {port["name"] for port in one.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            check = one.get(probe, {}).get("httpGet") or one.get(probe, {}).get("tcpSocket")
            assert check is None or check["port"] in names


@pytest.mark.parametrize("case", ALL)
def test_every_part_has_a_workload(case: str) -> None:
    assert {part for part, _ in templates(ALL[case].manifests())} == set(part_set(ALL[case].spec()))


@pytest.mark.parametrize("case", ALL)
def test_selectors_match_their_pods_and_no_others(case: str) -> None:
    manifests = ALL[case].manifests()
    for manifest in manifests:
        if manifest["kind"] not in ("Deployment", "StatefulSet"):
            continue
        selected = manifest["spec"]["selector"]["matchLabels"].items()
        matching = [
            part for part, template in templates(manifests) if selected <= template["metadata"]["labels"].items()
        ]
        assert matching == [manifest["metadata"]["labels"]["app.kubernetes.io/component"]]


def test_captions_pods_serve_by_a_label_that_their_deployment_does_not_select() -> None:
    manifests = a_deployment().with_captions().manifests()
    deployment = named(manifests, "Deployment", "visio-captions")
    service = named(manifests, "Service", "visio-captions")
    assert deployment["spec"]["template"]["metadata"]["labels"][SERVING_LABEL] == "true"
    assert SERVING_LABEL not in deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"][SERVING_LABEL] == "true"
    assert service["spec"]["clusterIP"] == "None"
    assert "publishNotReadyAddresses" not in service["spec"]


@pytest.mark.parametrize(("part", "name"), [("captions", "captions"), ("transcription", "whisperx")])
def test_gpu_pods_take_one_gpu_on_the_nodes_of_their_pool(part: str, name: str) -> None:
    manifests = ALL["complete"].manifests()
    spec = dict(templates(manifests))[part]["spec"]
    limits = [
        one["resources"]["limits"].get("nvidia.com/gpu")
        for one in [*spec["containers"], *spec.get("initContainers", [])]
    ]
    assert [limit for limit in limits if limit] == ["1"]
    assert container(manifests, name)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"visio-operator.dev/pool": part}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


@pytest.mark.parametrize("name", ["whisperx", "captions-proxy"])
def test_sidecars_are_native_so_that_they_outlive_the_main_container(name: str) -> None:
    template = next(
        template
        for _, template in templates(ALL["complete"].manifests())
        if name in str(template["spec"].get("initContainers"))
    )
    [sidecar] = template["spec"]["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == (name, "Always")
    assert "startupProbe" in sidecar


def test_replicas_are_those_of_the_plan() -> None:
    built = a_deployment().with_captions(servers=3).having(api={"min": 4, "max": 4})
    manifests = built.manifests()
    assert named(manifests, "Deployment", "visio-captions")["spec"]["replicas"] == 3
    assert named(manifests, "Deployment", "visio-backend")["spec"]["replicas"] == 4


def test_replicas_that_an_autoscaler_decides_are_left_to_it() -> None:
    manifests = a_deployment().having(api={"min": 4, "max": 9}, frontend={"min": 2, "max": 2}).manifests()
    assert "replicas" not in named(manifests, "Deployment", "visio-backend")["spec"]
    assert named(manifests, "Deployment", "visio-frontend")["spec"]["replicas"] == 2
    autoscalers = [one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"]
    assert [one["metadata"]["name"] for one in autoscalers] == ["visio-backend"]
    spec = autoscalers[0]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (4, 9)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "visio-backend"}
    # Utilization is relative to the request, so there has to be one.
    pod = named(manifests, "Deployment", "visio-backend")["spec"]["template"]["spec"]
    assert all("cpu" in container["resources"]["requests"] for container in pod["containers"])


def test_pods_of_a_deployment_spread_over_zones_and_nodes() -> None:
    template = named(a_deployment().manifests(), "Deployment", "visio-backend")["spec"]["template"]
    keys = [constraint["topologyKey"] for constraint in template["spec"]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_overrides_change_the_main_container_and_its_placement_only() -> None:
    manifests = ALL["overridden"].manifests()
    spec = dict(templates(manifests))["backend"]["spec"]
    resources = spec["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "256Mi"}
    assert resources["limits"] == {"memory": "2Gi", "ephemeral-storage": "1280Mi"}
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "visio", "effect": "NoSchedule"}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert container(manifests, "frontend")["resources"]["requests"]["cpu"] == "50m"


@pytest.mark.parametrize(
    ("drain", "grace"),
    [({}, 18_000), ({"policy": "Warn"}, 18_000), ({"policy": "Force", "deadline": "2h"}, 7200)],
)
def test_a_forced_end_is_the_grace_period_of_media_servers_and_of_nothing_else(
    drain: dict[str, str], grace: int
) -> None:
    found = dict(templates(a_deployment().having(drain=drain).manifests()))
    graces = {part: found[part]["spec"]["terminationGracePeriodSeconds"] for part in ("sfu", "egress")}
    assert graces == {"sfu": grace, "egress": 18_000}


def test_drain_deadline_bounds_the_wait_of_media_servers() -> None:
    built = a_deployment().having(sfu={"drainDeadline": "1h30m"})
    assert dict(templates(built.manifests()))["sfu"]["spec"]["terminationGracePeriodSeconds"] == 5400


def test_a_rollout_counts_as_stuck_only_after_the_longest_drain() -> None:
    for manifest in ALL["complete"].manifests():
        if manifest["kind"] == "Deployment":
            spec = manifest["spec"]
            assert spec["progressDeadlineSeconds"] > spec["template"]["spec"]["terminationGracePeriodSeconds"]
