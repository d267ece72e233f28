"""The committed definitions are those of the models, and they are definitions that an API server takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from visio_operator.api.crd import crd_documents, deployment_crd, release_crd, render_crds
from visio_operator.cli.generate import generate

ROOT = Path(__file__).resolve().parents[3]


def test_generated_files_are_current() -> None:
    assert generate(ROOT, check=True) == []


def test_generation_writes_what_differs_and_removes_what_is_not_its_own(tmp_path: Path) -> None:
    first = generate(tmp_path, check=False)
    (tmp_path / "crds" / "visioreleases.yaml").write_text("changed by hand")
    (tmp_path / "crds" / "old.yaml").write_text("of another time")

    assert "crds/visiodeployments.yaml" in first
    assert generate(tmp_path, check=True) == ["crds/old.yaml", "crds/visioreleases.yaml"]
    assert generate(tmp_path, check=False) == ["crds/old.yaml", "crds/visioreleases.yaml"]
    assert generate(tmp_path, check=True) == []


def test_the_stream_holds_the_same_as_the_files() -> None:
    files = {name: yaml.safe_load(text) for name, text in crd_documents().items()}

    assert list(files) == ["visiodeployments.yaml", "visioreleases.yaml"]
    assert list(yaml.safe_load_all(render_crds())) == list(files.values()) == [deployment_crd(), release_crd()]


@pytest.mark.parametrize("crd", [deployment_crd(), release_crd()], ids=["deployment", "release"])
def test_a_definition_is_structural(crd: dict[str, Any]) -> None:
    """What KEP-2335 asks of every node: a type, and no keyword beside it that only validates in other versions."""
    refused = {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "const", "nullable", "uniqueItems"}

    def visit(node: dict[str, Any], place: str) -> None:
        assert "type" in node, place
        assert not refused & set(node), place
        assert not ("properties" in node and "additionalProperties" in node), place
        for name, field in node.get("properties", {}).items():
            visit(field, f"{place}.{name}")
        for key in ("items", "additionalProperties"):
            if key in node:
                visit(node[key], f"{place}.{key}")

    [version] = crd["spec"]["versions"]
    visit(version["schema"]["openAPIV3Schema"], "")


def test_an_etcd_object_holds_the_definition_and_its_managed_fields() -> None:
    """The API server refuses objects above 1.5 MiB; a quarter of it leaves room for growth."""
    assert max(len(text) for text in crd_documents().values()) < 384 * 1024
