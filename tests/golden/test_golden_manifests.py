"""Golden files: what a deployment is rendered to, for review. `pytest --update-goldens` writes them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import UID, DeploymentBuilder, a_deployment, healthy_plan
from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.workloads.common import Manifest, Site
from visio_operator.workloads.render import render

HERE = Path(__file__).parent
CASES: dict[str, DeploymentBuilder] = {
    "minimal": a_deployment(),
    "complete": a_deployment().complete(),
    "gateway": a_deployment().with_captions().on_gateway_api(),
    "turn": a_deployment().with_own_services().with_network("turnTLS"),
}


class _Dumper(yaml.SafeDumper):
    """No anchors, and texts of several lines as blocks: the files are for readers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(documents: list[Manifest]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


def _rendered(cr: dict[str, Any]) -> list[Manifest]:
    meta = cr["metadata"]
    site = Site(meta["name"], meta["namespace"], UID, VisioDeploymentSpec.model_validate(cr["spec"]))
    return list(render(site, healthy_plan(site)))


@pytest.mark.parametrize("case", CASES)
def test_manifests_are_those_of_the_golden_file(case: str, request: pytest.FixtureRequest) -> None:
    folder = HERE / case
    if request.config.getoption("--update-goldens"):
        folder.mkdir(exist_ok=True)
        (folder / "cr.yaml").write_text(_dump([CASES[case].cr()]))
        (folder / "objects.yaml").write_text(_dump(_rendered(CASES[case].cr())))
    found = _rendered(yaml.safe_load((folder / "cr.yaml").read_text()))
    expected = {
        (one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all((folder / "objects.yaml").read_text())
    }
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == list(expected)
    for one in found:
        assert one == expected[one["kind"], one["metadata"]["name"]]
