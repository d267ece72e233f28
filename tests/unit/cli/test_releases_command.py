"""`visio-operator releases`: what it prints, how it ends, and what it says of what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from visio_operator.api.releases import RELEASED_TOGETHER, load_releases
from visio_operator.cli import main


def a_release(version: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "visio-operator.dev/v1alpha1",
        "kind": "VisioRelease",
        "metadata": {"name": version},
        "spec": {"version": version, **fields},
    }


def a_new_release(version: str, previous: str, **fields: Any) -> dict[str, Any]:
    images = {key: f"registry.example.fr/lasuite/meet-{key}:v{version}" for key in RELEASED_TOGETHER}
    return a_release(version, previous=previous, images=images, **fields)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(*documents: Any) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["releases", *arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_has_every_release_once_and_says_how_well_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "list"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()

    assert heading.split()[:2] == ["VERSION", "DATE"]
    assert [line.split()[0] for line in lines] == [entry.version for entry in load_releases()]
    [line] = [line for line in lines if line.startswith("1.18.0")]
    assert line.split() == ["1.18.0", "2026-06-03", "source", "0019,", "0020", "v1.11.0", "v1.12.0", "duplicateUsers"]
    assert "release notes  none known" in next(line for line in lines if line.startswith("1.28.0"))


def test_a_release_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "show", "1.23.0"]) == 0
    text = capsys.readouterr().out
    for part in (
        "1.23.0, released 2026-07-08",
        "after 1.22.0",
        "migrations: 0021",
        "precondition summaryV2",
        "note: Jobs",
    ):
        assert part in text
    assert "livekit: docker.io/livekit/livekit-server:v1.11.0" in text

    facts = data(capsys, "show", "1.23.0")
    assert facts["migrations"] == ["0021"]
    assert facts["changesSchema"] is True
    assert facts["preconditions"][0]["checkedBy"] == "operator"


def test_a_way_names_what_each_rung_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "path", "1.24.0", "1.26.0"]) == 0
    text = capsys.readouterr().out

    assert text.startswith("2 rungs from 1.24.0 to 1.26.0\n")
    first, second = text.split("\n\n")[1:]
    assert first.startswith("1.24.0 -> 1.25.2")
    for part in ("migrations: 0022", "livekit: v1.11.0 -> v1.13.5", "setting roomKits: false -> true", "note: LiveKit"):
        assert part in first
    assert second.strip() == "1.25.2 -> 1.26.0, known from source\n  migrations: none"


def test_a_way_as_data_has_all_images_and_settings_that_change(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "path", "1.24.0", "1.26.0")

    assert [(rung["from"], rung["version"]) for rung in found["rungs"]] == [("1.24.0", "1.25.2"), ("1.25.2", "1.26.0")]
    assert set(found["rungs"][0]["images"]) == {*RELEASED_TOGETHER, "livekit", "egress"}
    assert found["rungs"][0]["settings"]["roomKits"] == {"from": "false", "to": "true"}
    assert found["rungs"][1]["settings"] == {}


def test_where_it_runs_already_there_is_nothing_to_climb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["releases", "path", "1.27.0", "1.27.0"]) == 0
    assert "nothing to climb" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (("path", "1.27.0", "1.24.0"), 1, "going back to 1.24.0 is not possible"),
        (("path", "1.27.0", "1.99.0"), 2, "the nearest known release is 1.33.0"),
        (("path", "1.2.0", "1.27.0"), 2, "the running version 1.2.0 is not in the release ladder"),
        (("path", "1.27", "1.28.0"), 2, "use three numbers such as 1.27.0"),
        (("path", "v1.27.0", "1.28.0"), 2, "without a v"),
        (("show", "1.13.0"), 2, "the nearest known release is 1.14.0"),
        (("show", "newest"), 2, "newest is no release"),
        (("list", "-f", "/nowhere.yaml"), 2, "name a file that can be read"),
    ],
)
def test_what_cannot_be_is_said_with_the_remedy(
    arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["releases", *arguments]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("visio-operator releases: ")
    assert said in output.err


def test_objects_of_a_file_are_laid_over_the_ladder(file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    new = file(
        a_new_release("1.34.0", "1.33.0", migrations=["0024"], notes=["Ours."]),
        a_release("1.33.0", images={"livekit": "docker.io/livekit/livekit-server:v1.13.6"}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-no-concern"}},
    )

    [rung] = data(capsys, "path", "1.33.0", "1.34.0", "-f", new)["rungs"]
    assert (rung["migrations"], rung["notes"], rung["provenance"]) == (["0024"], ["Ours."], "read")
    assert set(rung["images"]) == set(RELEASED_TOGETHER), "the server of the release below is kept"
    [below] = data(capsys, "path", "1.32.1", "1.33.0", "-f", new)["rungs"]
    assert below["images"]["livekit"]["to"].endswith(":v1.13.6")


def test_a_gap_names_the_missing_minor(file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    beyond = file(a_new_release("1.35.0", "1.33.0"))

    assert main(["releases", "path", "1.32.1", "1.35.0", "-f", beyond]) == 1
    assert "the release ladder lacks 1.34.x" in capsys.readouterr().err

    bridge = file(a_new_release("1.34.0", "1.33.0"))
    found = data(capsys, "path", "1.32.1", "1.35.0", "-f", beyond, "-f", bridge)
    assert [rung["version"] for rung in found["rungs"]] == ["1.33.0", "1.34.0", "1.35.0"]


@pytest.mark.parametrize(
    "documents, said",
    [
        ([a_release("1.34.0")], "1.34.0: spec.previous is missing"),
        ([a_release("1.27.0", migrations=["soon"])], "spec.migrations[0]"),
        ([a_release("1.27.0", preconditions=["luck"])], "spec.preconditions[0]"),
        ([a_release("1.27.0", colour="blue")], "spec.colour"),
        ([a_release("1.27.0", notes=["One."]), a_release("1.27.0", notes=["Two."])], "this release is there twice"),
        ([{"apiVersion": "v1", "kind": "ConfigMap"}], "there is no VisioRelease in it"),
    ],
    ids=["no-previous", "migration", "precondition", "unknown-field", "twice", "nothing"],
)
def test_a_file_that_does_not_fit_is_bad_input(
    documents: list[Any], said: str, file: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["releases", "list", "-f", file(*documents)]) == 2
    assert said in capsys.readouterr().err
