"""The Helm chart, rendered by the real Helm."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from visio_lab.operator_process import NAMESPACE, SERVICE_ACCOUNT
from visio_lab.progress import PlainProgress
from visio_lab.tools import ensure_tools
from visio_operator.cli.rbac import rule_files
from visio_operator.runtime.kinds import KINDS, Kind
from visio_operator.runtime.leader import LEASE
from visio_operator.workloads.placeholders import PRIORITY_CLASS

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "visio-operator"
DIGEST = "sha256:" + "0" * 64
KEEP = {"helm.sh/resource-policy": "keep"}

Object = dict[str, Any]
Rule = tuple[str, str, str, tuple[str, ...]]


@pytest.fixture(scope="session")
def helm() -> Path:
    return ensure_tools(PlainProgress(sys.stderr))["helm"]


def run(helm: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def template(helm: Path, *settings: str, release: str = "visio-operator", namespace: str = NAMESPACE) -> list[Object]:
    arguments = [word for setting in settings for word in ("--set-json", setting)]
    result = run(helm, "template", release, str(CHART), "--namespace", namespace, *arguments)
    assert result.returncode == 0, result.stderr
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


def only(manifests: list[Object], kind: str, **metadata: str) -> Object:
    [found] = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and all(manifest["metadata"].get(k) == v for k, v in metadata.items())
    ]
    return found


def granted(role: Object) -> Counter[Rule]:
    """Each (group, resource, verb, names) that a role grants."""
    return Counter(
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def needed(*, namespaced: bool) -> Counter[Rule]:
    """Each right that the operator's own table of kinds asks for, without the Lease and without pools."""
    return rights_of(kind for kind in KINDS if kind.namespaced == namespaced and not kind.provider)


def of_provider(name: str) -> Counter[Rule]:
    """The rights that the pools of one provider need."""
    return rights_of(kind for kind in KINDS if kind.provider == name)


def rights_of(kinds: Iterable[Kind]) -> Counter[Rule]:
    rights: Counter[Rule] = Counter()
    for kind in kinds:
        if kind.name != "Lease":
            rights.update((kind.group, kind.plural, verb, ()) for verb in kind.verbs)
            for subresource, verbs in kind.subresources:
                rights.update((kind.group, f"{kind.plural}/{subresource}", verb, ()) for verb in verbs)
    return rights


def test_helm_finds_nothing_to_complain_about(helm: Path) -> None:
    result = run(helm, "lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_in_the_chart_are_those_of_the_table_of_kinds() -> None:
    for path, text in rule_files().items():
        assert (ROOT / path).read_text() == text, f"{path}: run `python -m visio_operator.cli.generate`"


def test_cluster_wide_rights_are_exactly_what_the_code_uses(helm: Path) -> None:
    manifests = template(helm)
    everything = needed(namespaced=True) + needed(namespaced=False) + of_provider("oks")
    assert granted(only(manifests, "ClusterRole")) == everything
    assert [manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Role"] == [f"{LEASE}-lease"]


def test_named_namespaces_get_roles_and_the_cluster_role_keeps_what_has_no_namespace(helm: Path) -> None:
    manifests = template(helm, 'watchNamespaces=["a","b"]')
    assert granted(only(manifests, "ClusterRole")) == needed(namespaced=False) + of_provider("oks")
    for namespace in ("a", "b"):
        role = only(manifests, "Role", namespace=namespace)
        assert granted(role) == needed(namespaced=True)
        binding = only(manifests, "RoleBinding", namespace=namespace)
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}]
    assert not any("secrets" in rule["resources"] for rule in only(manifests, "ClusterRole")["rules"])
    arguments = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--namespace=a", "--namespace=b"} <= set(arguments)


@pytest.mark.parametrize("providers", [[], ["clusterAPI"], ["ovh", "karpenter"]])
def test_only_pools_of_the_named_providers_may_be_touched(helm: Path, providers: list[str]) -> None:
    manifests = template(helm, f"poolProviders={json.dumps(providers)}")
    rights = needed(namespaced=True) + needed(namespaced=False)
    for name in providers:
        assert of_provider(name)
        rights += of_provider(name)
    assert granted(only(manifests, "ClusterRole")) == rights


def test_an_unknown_provider_is_refused(helm: Path) -> None:
    result = run(helm, "template", "visio-operator", str(CHART), "--set-json", 'poolProviders=["aws"]')
    assert result.returncode != 0
    assert "poolProviders" in result.stderr


def test_placeholders_have_the_lowest_priority_that_still_buys_nodes(helm: Path) -> None:
    found = only(template(helm), "PriorityClass")
    assert (found["metadata"]["name"], found["value"], found["preemptionPolicy"]) == (PRIORITY_CLASS, -10, "Never")


def test_the_lease_is_the_operators_own_in_its_own_namespace(helm: Path) -> None:
    role = only(template(helm), "Role", name=f"{LEASE}-lease")
    assert role["metadata"]["namespace"] == NAMESPACE
    group, plural = "coordination.k8s.io", "leases"
    [kind] = [kind for kind in KINDS if kind.name == "Lease"]
    rest = {(group, plural, verb, (LEASE,)) for verb in kind.verbs if verb != "create"}
    assert set(granted(role)) == {(group, plural, "create", ()), *rest}


@pytest.mark.parametrize("settings", [(), ('watchNamespaces=["a"]',)])
def test_no_rule_has_a_wildcard_or_more_power_than_objects(helm: Path, settings: tuple[str, ...]) -> None:
    roles = [manifest for manifest in template(helm, *settings) if manifest["kind"] in ("Role", "ClusterRole")]
    for group, resource, verb, _ in [right for role in roles for right in granted(role)]:
        assert "*" not in group + resource + verb
        assert verb in {"get", "list", "watch", "create", "update", "patch", "delete"}
        assert group != "rbac.authorization.k8s.io" and resource not in {"pods/exec", "serviceaccounts/token"}


def test_the_crds_in_the_chart_are_the_generated_ones() -> None:
    generated = {path.name: path.read_bytes() for path in (ROOT / "crds").glob("*.yaml")}
    assert len(generated) == 2
    assert generated == {path.name: path.read_bytes() for path in (CHART / "files" / "crds").glob("*.yaml")}


def test_rendered_crds_are_kept_at_uninstall_and_otherwise_unchanged(helm: Path) -> None:
    rendered = [manifest for manifest in template(helm) if manifest["kind"] == "CustomResourceDefinition"]
    for crd in rendered:
        assert crd["metadata"].pop("annotations") == KEEP
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(rendered, key=lambda crd: crd["metadata"]["name"]) == sorted(
        generated, key=lambda crd: crd["metadata"]["name"]
    )


def test_what_a_cluster_has_once_can_be_left_to_somebody_else(helm: Path) -> None:
    kinds = {manifest["kind"] for manifest in template(helm, "crds.install=false")}
    assert not kinds & {"CustomResourceDefinition", "PriorityClass"}


def test_two_replicas_under_the_restricted_profile_with_a_read_only_root(helm: Path) -> None:
    manifests = template(helm)
    deployment = only(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }
    assert only(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is True


def test_selectors_find_the_pods_and_nothing_of_another_release(helm: Path) -> None:
    for release in ("visio-operator", "second"):
        manifests = template(helm, release=release)
        deployment = only(manifests, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [deployment["spec"]["selector"], only(manifests, "PodDisruptionBudget")["spec"]["selector"]]
        spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        for selector in [*selectors, *(constraint["labelSelector"] for constraint in spread)]:
            assert selector["matchLabels"].items() <= labels.items()
            assert selector["matchLabels"]["app.kubernetes.io/instance"] == release


def test_two_installations_share_no_object_but_what_a_cluster_has_once(helm: Path) -> None:
    def names(namespace: str) -> set[tuple[str, str, str]]:
        return {
            (manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])
            for manifest in template(helm, 'watchNamespaces=["shared"]', namespace=namespace)
            if manifest["kind"] not in ("CustomResourceDefinition", "PriorityClass")
        }

    assert not names("one") & names("two")


@pytest.mark.parametrize(
    "settings, image",
    [
        ((), "docker.io/visio-operator/visio-operator:0.1.0"),
        (('image.tag="1.2"',), "docker.io/visio-operator/visio-operator:1.2"),
        ((f'image.digest="{DIGEST}"', 'image.tag="1.2"'), f"docker.io/visio-operator/visio-operator@{DIGEST}"),
        (('image.repository="registry.example:5000/a/b"',), "registry.example:5000/a/b:0.1.0"),
    ],
)
def test_a_digest_goes_before_a_tag(helm: Path, settings: tuple[str, ...], image: str) -> None:
    pod = only(template(helm, *settings), "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == image


def test_pull_secrets_reach_the_pod(helm: Path) -> None:
    pod = only(template(helm, 'image.pullSecrets=["mirror"]'), "Deployment")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "mirror"}]


def test_the_chart_carries_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == chart["version"] == project["version"]


@pytest.mark.parametrize(
    "setting, names",
    [
        ("replicas=3", "replicas"),
        ("replicaCount=-1", "replicaCount"),
        ('replicaCount="two"', "replicaCount"),
        ('image.digest="sha256:12"', "digest"),
        ('image.tag="a b"', "tag"),
        ('image.repository="https://registry.example/a"', "repository"),
        ('image.pullPolicy="Always"', "pullPolicy"),
        ('watchNamespaces=["Upper"]', "watchNamespaces"),
        ('watchNamespaces="a"', "watchNamespaces"),
        ('crds.install="yes"', "install"),
        ('resources.requests.memory="much"', "memory"),
        ('serviceAccount={"create":false}', "serviceAccount"),
    ],
)
def test_values_that_the_schema_does_not_know_are_refused_by_name(helm: Path, setting: str, names: str) -> None:
    result = run(helm, "template", "visio-operator", str(CHART), "--set-json", setting)
    assert result.returncode != 0
    assert names in result.stderr
