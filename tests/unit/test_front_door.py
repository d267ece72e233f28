"""The lab's front door: changed copies of Go modules, definitions that come with them, names, certificates."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509

from visio_lab import front_door, go_modules, public_ca
from visio_lab.context import CONTROL_IMAGES, REAL_IMAGES, LabContext
from visio_lab.errors import LabError
from visio_lab.pod_network import corefile_text
from visio_lab.tools import TOOLS, key

TRAEFIK = next(tool for tool in TOOLS if tool.name == "traefik")


def a_tool(folder: Path, after: str) -> Path:
    tool = folder / "tool"
    (tool / "own").mkdir(parents=True)
    (tool / "own" / "new.go").write_text("package own\n")
    patch = {
        "module": "example.org/m",
        "version": "v1.0.0",
        "folder": "m",
        "reason": "a test",
        "leave_out": ["docs", "a/unwanted.go"],
        "add": {"b/new.go": "own/new.go"},
        "insert": [{"file": "a/a.go", "after": after, "line": "var inserted = 1"}],
    }
    (tool / "patches.json").write_text(json.dumps([patch]))
    return tool


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = tmp_path / "cache" / "m@v1.0.0"
    (source / "a").mkdir(parents=True)
    (source / "docs").mkdir()
    (source / "a" / "a.go").write_text("package a\n\nvar first = 0\n")
    (source / "a" / "unwanted.go").write_text("package a\n")
    monkeypatch.setattr(go_modules, "module_folder", lambda *_: source)
    return source


def test_a_module_is_built_from_a_changed_copy(module: Path, tmp_path: Path) -> None:
    built = go_modules.patched(Path("go"), a_tool(tmp_path, "var first = 0"), tmp_path / "scratch", {})
    assert (built / "m" / "a" / "a.go").read_text() == "package a\n\nvar first = 0\nvar inserted = 1\n"
    assert (built / "m" / "b" / "new.go").read_text() == "package own\n"
    assert not (built / "m" / "docs").exists()
    assert not (built / "m" / "a" / "unwanted.go").exists()
    assert (module / "a" / "a.go").read_text() == "package a\n\nvar first = 0\n"


def test_a_change_that_fits_no_more_is_told(module: Path, tmp_path: Path) -> None:
    assert module.exists()
    with pytest.raises(LabError, match=r"a\.go of a patched module has 0 times the line 'var other'"):
        go_modules.patched(Path("go"), a_tool(tmp_path, "var other"), tmp_path / "scratch", {})


def test_a_tool_without_patches_is_built_where_it_is(tmp_path: Path) -> None:
    assert go_modules.patched(Path("go"), tmp_path, tmp_path / "scratch", {}) == tmp_path


def test_patches_agree_with_the_modules_that_are_required_and_have_reasons() -> None:
    required = (TRAEFIK.module / "go.mod").read_text()
    for patch in go_modules.patches(TRAEFIK.module):
        assert f"{patch.module} {patch.version}" in required
        assert f"{patch.module} => ./{patch.folder}" in required
        assert patch.reason
        assert all((TRAEFIK.module / own).exists() for own in patch.add.values())
    assert len(key(TRAEFIK)) == 12


def test_definitions_lose_the_conditions_of_their_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, tool, target = tmp_path / "source", tmp_path / "tool", tmp_path / "target"
    for folder in (source / "crds", tool, target):
        folder.mkdir(parents=True)
    (source / "crds" / "a.yaml").write_text("{{- if .x }}\n---\nkind: CustomResourceDefinition\n{{- end }}\n")
    (source / "crds" / "b.yaml").write_text("kind: ValidatingAdmissionPolicy\n")
    wanted = {"module": "m", "version": "v1", "folder": "crds", "files": ["*.yaml"]}
    elsewhere = {**wanted, "files": ["b.yaml"], "into": "policies"}
    (tool / "crds.json").write_text(json.dumps([wanted, elsewhere]))
    monkeypatch.setattr(go_modules, "module_folder", lambda *_: source)
    go_modules.copy_crds(Path("go"), tool, target, {})
    assert front_door.read_crds(target / "crds") == [{"kind": "CustomResourceDefinition"}]
    assert [file.name for file in (target / "policies").iterdir()] == ["b.yaml"]


def context(directory: Path, images: frozenset[str]) -> LabContext:
    (directory / "config").mkdir()
    places = (directory / "bin", directory / "kubeconfig", directory / "logs")
    return LabContext(directory, *places, real_images=images)


def test_outside_names_lead_to_the_front_door_where_all_pods_are_real(tmp_path: Path) -> None:
    ctx = context(tmp_path, REAL_IMAGES)
    text = corefile_text(ctx)
    assert text.startswith("cluster.local:53 in-addr.arpa:53 {")
    assert "IN A 10.96.0.80" in text
    assert f"hosts {front_door.hosts_file(ctx)} {{" in text


def test_otherwise_no_outside_name_exists(tmp_path: Path) -> None:
    text = corefile_text(context(tmp_path, CONTROL_IMAGES))
    assert text.startswith(".:53 {")
    assert "10.96.0.80" not in text


def test_certificates_are_by_one_authority_for_the_life_of_the_lab(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    secret = public_ca.tls_secret(tmp_path, "visio", "tls", ["visio.example.fr", "livekit.visio.example.fr"])
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["visio.example.fr", "livekit.visio.example.fr"]
    certificate.verify_directly_issued_by(public_ca.public_authority(tmp_path).certificate)
    bundle = public_ca.ca_configmap(tmp_path, "visio", "authorities")["data"]["ca.crt"]
    assert bundle == public_ca.certificate_file(tmp_path).read_text()
    assert (tmp_path / "pki" / "public-ca.key").stat().st_mode & 0o077 == 0
