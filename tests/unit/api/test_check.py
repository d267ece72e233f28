"""`check` tells everything that is wrong at once: where, what, and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import a_deployment
from visio_operator.api.check import Problem, check_document, check_object
from visio_operator.api.releases import load_releases

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: oidc}\n"
RELEASE = {"apiVersion": "visio-operator.dev/v1alpha1", "kind": "VisioRelease"}


def text_of(**fields: Any) -> str:
    return json.dumps(a_deployment().having(**fields).cr())


def the_problem(text: str) -> Problem:
    [problem] = check_document(text)
    return problem


def fields_of(problems: list[Problem]) -> list[str]:
    return [problem.field for problem in problems]


@pytest.mark.parametrize(
    "spec, field, next_step",
    [
        ({"captoins": {}}, "spec.captoins", "did you mean captions?"),
        ({"object_storage": {}}, "spec.object_storage", "did you mean objectStorage?"),
        ({"livekithost": "a.example.fr"}, "spec.livekithost", "did you mean livekitHost?"),
        ({"captions": {"slots-per-gpu": 64}}, "spec.captions.slots-per-gpu", "did you mean slotsPerGpu?"),
        ({"gpuPools": [{"name": "a", "maximum": 3}]}, "spec.gpuPools[0].maximum", "did you mean max?"),
        ({"mail": {"host": "a.fr", "sender": "a@b.fr", "zzz": 1}}, "spec.mail.zzz", "use one of host, port,"),
        ({"upgrade": {"mode": "auto"}}, "spec.upgrade.mode", "did you mean Auto?"),
        ({"gpuPools": [{"name": "a", "provider": "aws"}]}, "spec.gpuPools[0].provider", "use one of oks, clusterAPI,"),
    ],
)
def test_a_name_that_does_not_exist_gets_the_nearest_that_does(
    spec: dict[str, Any], field: str, next_step: str
) -> None:
    problem = the_problem(text_of(**spec))

    assert problem.field == field
    assert problem.next_step.startswith(next_step)


def test_reconcile_passes_over_unknown_fields_of_a_newer_definition() -> None:
    newer = {**a_deployment().having(novelty=1, captions={"novelty": 1}).cr(), "extra": 1}

    assert fields_of(check_object(newer)) == ["extra", "spec.captions.novelty", "spec.novelty"]
    assert check_object(newer, unknown_fields=False) == []


@pytest.mark.parametrize(
    "text, place",
    [
        ("spec:\n  host: [unclosed\n", "line 3, column 1"),
        ("a: 1\n b: 2\n", "line 2, column 3"),
        ("a: 1\n\tb: 2\n", "line 2, column 1"),
        ("a: &x 1\nb: *y\n", "line 2, column 4"),
        ("a: \x00", ""),
        ("[" * 200 + "]" * 200, "nested deeper than 64"),
        ("a: !!python/name:os.system x", "line 1, column 4"),
    ],
    ids=["flow", "indentation", "tab", "alias", "control-character", "deep", "tag"],
)
def test_text_that_is_no_yaml_is_one_problem_with_its_place(text: str, place: str) -> None:
    problem = the_problem(text)

    assert problem.field == "(text)"
    assert problem.problem.startswith("this is not readable YAML: ")
    assert place in problem.problem
    assert problem.next_step


def test_every_document_of_a_stream_is_checked_and_named() -> None:
    good, bad = text_of(), text_of(users={"regular": 0})
    problems = check_document(f"{good}\n---\n{SECRET}---\n# a comment\n{bad}\n---\n{bad}\n")

    assert fields_of(problems) == ["spec.users.regular"] * 2
    assert [problem.document for problem in problems] == ["document 3 (line 8)", "document 4 (line 10)"]
    assert str(problems[0]) == "document 3 (line 8): spec.users.regular: 0 is below 1; use 1 or more"


def test_other_kinds_beside_ours_are_passed_over() -> None:
    assert check_document(f"{SECRET}---\n{text_of()}") == []


def test_a_text_without_our_kind_says_what_is_there() -> None:
    problem = the_problem(SECRET)

    assert problem.field == "kind"
    assert problem.problem == "there is no VisioDeployment here, only Secret"
    assert problem.next_step == "add an object of kind VisioDeployment"


@pytest.mark.parametrize("text", ["", "---\n", "# nothing but a comment\n"])
def test_an_empty_text_says_so(text: str) -> None:
    assert the_problem(text).problem == "there is no VisioDeployment here, only nothing"


@pytest.mark.parametrize("text", ["just words", "- a\n- list\n", "host: visio.example.fr\n", "kind: 3\n"])
def test_what_is_no_object_gets_told_to_name_its_kind(text: str) -> None:
    assert (the_problem(text).field, the_problem(text).next_step) == ("kind", "write kind: VisioDeployment")


def test_a_wrong_group_or_kind_is_told_before_anything_else() -> None:
    good = a_deployment().cr()

    [version] = check_document(json.dumps({**good, "apiVersion": "visio-operator.dev/v1", "spec": {}}))
    [kind] = check_document(json.dumps({**good, "kind": "VisioDeploymnet", "spec": {}}))

    assert (version.field, version.next_step) == ("apiVersion", "write visio-operator.dev/v1alpha1")
    assert (kind.field, kind.next_step) == ("kind", "use one of VisioDeployment, VisioRelease")


@pytest.mark.parametrize(
    "version, nearest", [("1.27.3", "1.27.0"), ("1.99.0", "1.27.0"), ("0.9.0", "1.24.0"), ("2.0.0", "1.24.0")]
)
def test_an_unknown_version_names_the_nearest(version: str, nearest: str) -> None:
    ladder = [entry for entry in load_releases() if "1.24.0" <= entry.version <= "1.27.0"]
    [problem] = check_document(text_of(version=version), ladder)

    assert problem.field == "spec.version"
    assert f"{version} is not in the release ladder (1.24.0 to 1.27.0)" in problem.problem
    assert f"the nearest is {nearest};" in problem.next_step


def test_a_version_of_a_given_ladder_is_known() -> None:
    ladder = [load_releases()[0]]

    assert check_document(text_of(version=ladder[0].version), ladder) == []
    assert fields_of(check_document(text_of(), ladder)) == ["spec.version"]


def test_a_version_that_is_none_is_not_looked_up() -> None:
    assert the_problem(text_of(version="latest")).next_step == "use three numbers such as 1.27.0, without a v"


@pytest.mark.parametrize("spec", [None, [], "x", 3])
def test_a_spec_that_is_no_group_of_fields_is_one_problem(spec: Any) -> None:
    assert fields_of(check_object({**a_deployment().cr(), "spec": spec})) == ["spec"]


def test_a_key_that_is_there_twice_is_named_with_its_line() -> None:
    """The API server cannot see it: kubectl sends the last one."""
    problem = the_problem(text_of().replace('"host":', '"host": "meet.example.fr",\n"host":', 1))

    assert problem.field == "host"
    assert problem.problem == "this key is there twice, the second time in line 2"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = check_document(
        text_of(
            host="visio",
            users={"regular": "many"},
            sfu={"min": 5, "max": 4},
            captions={"enabled": True},
            redis={"embedded": {}, "tls": True},
        )
    )

    assert fields_of(problems) == [
        "spec.captions", "spec.host", "spec.redis.tls", "spec.sfu.min", "spec.users.regular",
    ]  # fmt: skip
    assert all(problem.next_step for problem in problems)


def test_a_rule_about_a_field_that_is_wrong_itself_says_nothing() -> None:
    assert fields_of(check_document(text_of(sfu={"min": "5", "max": 4}))) == ["spec.sfu.min"]


def test_a_value_of_the_environment_is_never_repeated() -> None:
    env = [{"name": "DB_PASSWORD", "value": "hunter2" * 1000}]
    problems = check_document(text_of(overrides=[{"part": "backend", "extraEnv": env}]))

    assert len(problems) == 2
    assert "hunter2" not in "".join(map(str, problems))


def test_long_values_are_cut() -> None:
    assert len(the_problem(text_of(host="x" * 3000)).problem) < 120


def test_times_and_numbers_are_read_as_kubectl_reads_them() -> None:
    """PyYAML alone would make dates, and minutes of `22:30`, out of plain text."""
    text = "\n".join(
        [
            json.dumps(a_deployment().cr())[:-2] + ",",
            "users: {waves: [{date: 2026-03-31, add: 1e3}]},",
            "upgrade: {windows: [{days: [Mon], start: 22:30, duration: 2h}]}}}",
        ]
    )
    assert check_document(text) == []


@pytest.mark.parametrize(
    "metadata, spec, fields",
    [
        ({"name": "1.28.0"}, {"version": "1.28.0"}, []),
        ({"name": "next"}, {"version": "1.28.0"}, ["metadata.name"]),
        ({"name": "1.28.0"}, {"version": "1.28.0", "image": {}}, ["spec.image"]),
        ({"name": "1.28.0"}, {"version": "1.28.0", "images": {"web": "docker.io/a/b:1"}}, ["spec.images.web"]),
    ],
    ids=["good", "name", "unknown-field", "image-key"],
)
def test_releases_are_checked_too(metadata: dict[str, str], spec: dict[str, Any], fields: list[str]) -> None:
    assert fields_of(check_document(json.dumps({**RELEASE, "metadata": metadata, "spec": spec}))) == fields
