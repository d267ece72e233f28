"""A changed Secret replaces the pods that read it, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import ALL, container, templates, variables

from builders import DeploymentBuilder, a_deployment, healthy_plan
from visio_operator.plan.plan import LivekitKeys
from visio_operator.plan.secrets import secret_needs
from visio_operator.runtime.marks import marks
from visio_operator.runtime.secret_values import encode, fill
from visio_operator.workloads.common import Manifest
from visio_operator.workloads.render import render
from visio_operator.workloads.restarts import KEY_PAIRS, RESTARTED, SECRETS_DIGEST, with_secrets_digest

USER = {
    "oidc": {"clientSecret": "1"}, "db": {"password": "2"}, "redis": {"password": "3"},
    "s3": {"accessKeyId": "4", "secretAccessKey": "5"}, "mail": {"password": "6"}, "docs": {"apiKey": "7"},
    "llm": {"apiKey": "8"}, "admin": {"password": "9"}, "hugging-face": {"token": "10"},
}  # fmt: skip
API = {"backend", "celery-backend"}
SUMMARY = {"summary", "summarize", "call-webhook", "transcription"}


def held(built: DeploymentBuilder, user: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """What all Secrets hold; generated ones hold constant text."""
    given = {**user, "public-tls": {"tls.crt": "c", "tls.key": "k"}}
    changes, problems = fill(secret_needs(built.name, built.spec()), given, draw=lambda length: "a" * length)
    assert problems == ()
    return {name: encode(values) for name, values in {**given, **changes}.items()}


def digests(built: DeploymentBuilder, data: dict[str, dict[str, str]]) -> dict[str, str]:
    """The annotation of each part's pods."""
    marked = marks("key", data)
    found = {}
    for manifest in built.manifests():
        if manifest["kind"] in RESTARTED:
            annotated = with_secrets_digest(manifest, marked, None)
            [(part, template)] = templates((annotated,))
            found[part] = template["metadata"].get("annotations", {}).get(SECRETS_DIGEST, "")
    return found


def restarted(secret: str, key: str) -> set[str]:
    built = a_deployment().complete()
    changed = {**USER, secret: {**USER[secret], key: "other"}}
    before, after = digests(built, held(built, USER)), digests(built, held(built, changed))
    return {part for part in before if before[part] != after[part]}


@pytest.mark.parametrize(
    ("secret", "key", "parts"),
    [
        ("mail", "password", API),
        ("oidc", "clientSecret", API),
        ("db", "password", API),
        ("admin", "password", set()),
        ("hugging-face", "token", {"transcription"}),
        ("docs", "apiKey", SUMMARY),
        ("llm", "apiKey", SUMMARY),
        ("s3", "secretAccessKey", API | SUMMARY | {"metadata"}),
        ("redis", "password", API | SUMMARY | {"sfu", "egress"}),
    ],
)
def test_exactly_the_parts_that_read_a_secret_are_replaced(secret: str, key: str, parts: set[str]) -> None:
    assert restarted(secret, key) == parts


def test_a_key_that_nobody_reads_replaces_nothing() -> None:
    built = a_deployment().complete()
    more = {**USER, "mail": {**USER["mail"], "note": "changed yesterday"}}
    assert digests(built, held(built, USER)) == digests(built, held(built, more))


def test_what_reads_no_secret_has_no_digest() -> None:
    assert digests(a_deployment(), held(a_deployment(), USER))["frontend"] == ""


def _with(annotations: dict[str, str]) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


def test_while_a_secret_cannot_be_seen_the_pods_keep_what_they_have() -> None:
    [backend] = [one for one in a_deployment().manifests() if one["metadata"]["name"] == "visio-backend" and
                 one["kind"] == "Deployment"]  # fmt: skip
    kept = with_secrets_digest(backend, {}, _with({SECRETS_DIGEST: "of before"}))
    assert kept["spec"]["template"]["metadata"]["annotations"][SECRETS_DIGEST] == "of before"
    assert with_secrets_digest(backend, {}, None) == backend


def test_a_renewed_certificate_replaces_the_turn_servers_only() -> None:
    built = a_deployment().with_network("turnTLS")
    data = held(built, USER)
    before = digests(built, {**data, "visio-tls": {"tls.crt": "MQ==", "tls.key": "MQ=="}})
    after = digests(built, {**data, "visio-tls": {"tls.crt": "Mg==", "tls.key": "Mg=="}})
    assert {part for part in before if before[part] != after[part]} == {"turn"}


def test_marks_tell_nothing_without_the_key_and_differ_between_secrets() -> None:
    data = {"a": {"x": "MQ==", "y": "MQ=="}, "b": {"x": "MQ=="}}
    found = marks("key", data)
    assert len({found["a"]["x"], found["a"]["y"], found["b"]["x"]}) == 3
    assert found != marks("another key", data)
    assert found == marks("key", data)


def rotating(built: DeploymentBuilder, keys: LivekitKeys) -> tuple[Manifest, ...]:
    plan = healthy_plan(built.site())
    object.__setattr__(plan, "livekit", keys)
    return render(built.site(), plan)


def pairs(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    kept = tuple(one for one in manifests if one["kind"] in RESTARTED)
    annotated = {part: template["metadata"].get("annotations", {}) for part, template in templates(kept)}
    return {part: found[KEY_PAIRS] for part, found in annotated.items() if KEY_PAIRS in found}


def test_pods_say_which_key_pairs_they_know() -> None:
    both = LivekitKeys(("visio-livekit-2", "visio-keys"), "visio-keys")
    found = pairs(rotating(a_deployment().complete(), both))
    assert found == {
        "sfu": "visio-livekit-2,visio-keys",
        **dict.fromkeys(("backend", "celery-backend", "egress", "subtitles", "metadata"), "visio-keys"),
    }


def test_media_servers_send_webhooks_through_the_relay_only_while_there_are_two_pairs() -> None:
    one, two = LivekitKeys(("visio-keys",), "visio-keys"), LivekitKeys(("visio-livekit-2", "visio-keys"), "visio-keys")
    public = "https://visio.example.gouv.fr/api/v1.0/rooms/webhooks-livekit/"
    assert public in variables(container(rotating(a_deployment(), one), "sfu"))["LIVEKIT_CONFIG"]
    during = rotating(a_deployment(), two)
    relay = container(during, "webhook-relay")
    assert (
        f"http://127.0.0.1:{relay['args'][relay['args'].index('--port') + 1]}/"
        in (variables(container(during, "sfu"))["LIVEKIT_CONFIG"])
    )
    assert variables(relay)["WEBHOOK_URL"] == public
    with pytest.raises(StopIteration):
        container(rotating(a_deployment(), one), "webhook-relay")


def test_moving_to_the_new_pair_leaves_media_servers_alone() -> None:
    """They accept both already: a roll of theirs takes hours, and this one would be for nothing."""
    built = a_deployment().complete()
    spec, both = built.spec(), ("visio-livekit-2", "visio-keys")
    found = []
    for signing in both[::-1]:
        needs = secret_needs("visio", spec, LivekitKeys(both, signing))
        count = iter(range(100))
        changes, _ = fill(needs, USER, draw=lambda length, count=count: f"{next(count)}".ljust(length, "x"))
        data = {name: encode(values) for name, values in {**USER, **changes}.items()}
        found.append(digests(built, data))
    changed = {part for part in found[0] if found[0][part] != found[1][part]}
    assert changed == {"backend", "celery-backend", "egress", "subtitles", "metadata"}


@pytest.mark.parametrize("case", ALL)
def test_jobs_carry_no_digest_since_they_have_run(case: str) -> None:
    for manifest in ALL[case].manifests():
        if manifest["kind"] not in RESTARTED:
            assert with_secrets_digest(manifest, {}, None) is manifest
