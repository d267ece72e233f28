"""The release ladder: the built-in one, VisioReleases laid over it, and images in a registry of one's own."""

from __future__ import annotations

from typing import Any

import pytest

from visio_operator.api.releases import (
    IMAGE_KEYS,
    RELEASED_TOGETHER,
    ReleaseEntry,
    VisioRelease,
    find_release,
    load_releases,
    merge_releases,
    mirror,
    order,
    parse_releases,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


def a_release(version: str, name: str = "", **fields: Any) -> VisioRelease:
    return VisioRelease.model_validate({"metadata": {"name": name or version}, "spec": {"version": version, **fields}})


def new_images(version: str) -> dict[str, str]:
    return {key: f"docker.io/lasuite/meet-{key}:v{version}" for key in RELEASED_TOGETHER}


def rung(ladder: tuple[ReleaseEntry, ...], version: str) -> ReleaseEntry:
    found = find_release(ladder, version)
    assert found is not None
    return found


def test_the_built_in_ladder_is_climbed_rung_by_rung() -> None:
    ladder = load_releases()
    versions = [entry.version for entry in ladder]

    assert {"1.25.0", "1.26.0", "1.27.0"} <= set(versions)
    assert versions == sorted(versions, key=order)
    assert [entry.previous for entry in ladder] == [None, *versions[:-1]]


@pytest.mark.parametrize("entry", load_releases(), ids=lambda entry: entry.version)
def test_every_rung_names_every_image_with_its_own_tag(entry: ReleaseEntry) -> None:
    assert set(entry.images) == set(IMAGE_KEYS)
    assert all(entry.images[key].endswith(f":v{entry.version}") for key in RELEASED_TOGETHER)


def test_versions_are_ordered_by_number() -> None:
    assert sorted(["1.10.0", "1.9.0", "1.9.10", "1.9.2"], key=order) == ["1.9.0", "1.9.2", "1.9.10", "1.10.0"]


def test_a_version_that_is_not_there_is_none() -> None:
    assert find_release(load_releases(), "0.0.1") is None


def test_a_rung_without_an_image_is_an_error() -> None:
    text = "shared: {images: {backend: a/b}, settings: {}}\nreleases: [{version: 1.0.0, provenance: read}]"
    with pytest.raises(ValueError, match=r"release 1\.0\.0 names no image for agents, coturn"):
        parse_releases(text)


IMAGES = ", ".join(f"{key}: 'r.io/{key}:v{{version}}'" for key in IMAGE_KEYS)


def a_ladder(rungs: str, settings: str = "") -> tuple[ReleaseEntry, ...]:
    return parse_releases(f"shared: {{images: {{{IMAGES}}}, settings: {{{settings}}}}}\nreleases: [{rungs}]")


def test_digests_of_the_data_are_appended() -> None:
    [entry] = a_ladder("{version: 1.0.0, provenance: read, digests: {moshi: x}}")

    assert entry.images["moshi"] == "r.io/moshi:v1.0.0@x"
    assert entry.images["backend"] == "r.io/backend:v1.0.0"


def test_images_and_settings_hold_until_a_rung_above_changes_them() -> None:
    low, middle, high = a_ladder(
        """{version: 1.0.0, provenance: read, migrations: ["0001"], notes: [Read this.]},
        {version: 1.1.0, provenance: read, settings: {a: changed}, images: {livekit: r.io/l:v2}},
        {version: 1.2.0, provenance: releaseNotes, date: 2026-01-05}""",
        settings="a: first, b: kept",
    )

    assert (low.settings, low.images["livekit"]) == ({"a": "first", "b": "kept"}, "r.io/livekit:v1.0.0")
    assert (middle.settings, middle.images["livekit"]) == ({"a": "changed", "b": "kept"}, "r.io/l:v2")
    assert (high.settings, high.images["livekit"]) == (middle.settings, "r.io/l:v2")
    assert high.images["backend"] == "r.io/backend:v1.2.0"
    assert (low.migrations, low.notes) == (("0001",), ("Read this.",))
    assert (middle.migrations, middle.notes, middle.date) == ((), (), "")
    assert high.date == "2026-01-05"


def test_a_patch_is_climbed_in_place_of_its_minor_and_has_what_that_brings() -> None:
    minor, patch, above = a_ladder(
        """{version: 1.1.0, provenance: read, migrations: ["0007"], preconditions: [summaryV2], notes: [One.]},
        {version: 1.1.1, provenance: read, notes: [Two.]}, {version: 1.2.0, provenance: read}"""
    )
    added, _ = merge_releases(
        (minor,), [a_release("1.1.4", previous="1.1.0", images=new_images("1.1.4"), preconditions=["summaryRegion"])]
    )

    assert (patch.migrations, patch.preconditions, patch.notes) == (("0007",), ("summaryV2",), ("Two.",))
    assert (above.migrations, above.preconditions, above.notes) == ((), (), ())
    assert (added[-1].migrations, added[-1].preconditions, added[-1].notes) == (
        ("0007",),
        ("summaryRegion",),
        ("One.",),
    )


def test_a_release_that_nobody_read_counts_as_one_that_changes_the_database() -> None:
    migrating, plain, told = a_ladder(
        "{version: 1.0.0, provenance: read, migrations: ['0001']}, {version: 1.1.0, provenance: read},"
        "{version: 1.2.0, provenance: releaseNotes}"
    )

    assert [migrating.changes_schema, plain.changes_schema, told.changes_schema] == [True, False, True]


@pytest.mark.parametrize(
    "rungs, message",
    [
        ("{version: 1.0.0, provenance: read}, {version: 1.0.0, provenance: read}", "release 1.0.0 is there twice"),
        ("{version: 1.0.0}", "release 1.0.0 needs provenance: one of read, releaseNotes"),
        ("{version: 1.0.0, provenance: rumour}", "release 1.0.0 needs provenance"),
        ("{version: 1.0.0, provenance: read, migration: []}", "release 1.0.0 has unknown keys: migration"),
        ("{version: 1.0.0, provenance: read, migrations: [0017]}", "has migrations that are no names such as '0019'"),
        ("{version: 1.0.0, provenance: read, preconditions: [luck]}", "release 1.0.0 has unknown preconditions: luck"),
    ],
    ids=["twice", "no-provenance", "unknown-provenance", "unknown-key", "octal-migration", "unknown-precondition"],
)
def test_data_that_is_not_sound_is_an_error(rungs: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        a_ladder(rungs)


def test_a_new_rung_takes_the_rest_from_the_previous_one() -> None:
    new = a_release("1.40.0", previous="1.27.0", images=new_images("1.40.0"), settings={"roomKits": "false"})

    ladder, refused = merge_releases(load_releases(), [new])

    base, added = rung(ladder, "1.27.0"), rung(ladder, "1.40.0")
    assert refused == ()
    assert ladder[-1] == added
    assert added.previous == "1.27.0"
    assert added.images == {**base.images, **new_images("1.40.0")}
    assert added.settings == {**base.settings, "roomKits": "false"}


def test_a_new_rung_has_migrations_preconditions_and_notes_of_its_own() -> None:
    silent = a_release("1.40.0", previous="1.27.0", images=new_images("1.40.0"))
    stated = {"migrations": ["0023"], "preconditions": ["summaryRegion"], "notes": ["Set the region."]}
    telling = a_release("1.41.0", previous="1.40.0", images=new_images("1.41.0"), **stated)
    harmless = a_release("1.42.0", previous="1.41.0", images=new_images("1.42.0"), migrations=[])

    ladder, refused = merge_releases(load_releases(), [silent, telling, harmless])

    low, middle, high = (rung(ladder, version) for version in ("1.40.0", "1.41.0", "1.42.0"))
    assert refused == ()
    assert (low.migrations, low.changes_schema, low.date) == ((), True, "")
    assert (middle.migrations, middle.preconditions, middle.notes) == tuple(map(tuple, stated.values()))
    assert (high.migrations, high.preconditions, high.notes, high.changes_schema) == ((), (), (), False)


def test_a_known_rung_keeps_what_is_not_given() -> None:
    plain = rung(load_releases(), "1.25.0")
    ladder, _ = merge_releases(load_releases(), [a_release("1.25.0", notes=["Ours."])])

    changed = rung(ladder, "1.25.0")
    assert changed.notes == ("Ours.",)
    assert (changed.migrations, changed.date, changed.provenance) == (plain.migrations, plain.date, plain.provenance)


@pytest.mark.parametrize(
    "fields",
    [{"migrations": [19]}, {"migrations": ["nineteen"]}, {"preconditions": ["luck"]}, {"notes": ["two\nlines"]}],
    ids=["number", "word", "unknown-precondition", "lines"],
)
def test_what_a_release_says_of_itself_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        a_release("1.27.0", **fields)


def test_new_rungs_may_lean_on_each_other_in_any_order() -> None:
    one = a_release("1.40.0", previous="1.27.0", images=new_images("1.40.0"))
    two = a_release("1.41.0", previous="1.40.0", images=new_images("1.41.0"))

    assert merge_releases(load_releases(), [two, one]) == merge_releases(load_releases(), [one, two])
    ladder, refused = merge_releases(load_releases(), [two, one])
    assert refused == ()
    assert [entry.version for entry in ladder[-2:]] == ["1.40.0", "1.41.0"]


def test_a_known_rung_gets_digests_and_keeps_the_rest() -> None:
    ladder, refused = merge_releases(load_releases(), [a_release("1.27.0", digests={"backend": DIGEST})])

    before, after = rung(load_releases(), "1.27.0"), rung(ladder, "1.27.0")
    assert refused == ()
    assert after.images == {**before.images, "backend": f"{before.images['backend']}@{DIGEST}"}
    assert (after.previous, after.settings) == (before.previous, before.settings)


def test_a_new_digest_replaces_the_old_one() -> None:
    once, _ = merge_releases(load_releases(), [a_release("1.27.0", digests={"backend": DIGEST})])
    other = DIGEST.replace("0", "f")
    twice, _ = merge_releases(once, [a_release("1.27.0", digests={"backend": other})])

    assert rung(twice, "1.27.0").images["backend"].endswith(f":v1.27.0@{other}")


@pytest.mark.parametrize(
    "release, problem, next_step",
    [
        (a_release("1.40.0"), "spec.previous is missing", "name the release before it"),
        (a_release("1.40.0", previous="1.2.0"), "spec.previous: 1.2.0 is not in the release ladder", "1.27.0"),
        (a_release("1.26.1", previous="1.27.0"), "spec.previous: 1.27.0 is not below 1.26.1", "name a lower release"),
        (a_release("1.27.0", previous="1.27.0"), "spec.previous: 1.27.0 is not below 1.27.0", "name a lower release"),
        (a_release("1.40.0", previous="1.27.0"), "spec.images lacks backend, frontend, summary, agents", "name"),
    ],
    ids=["no-previous", "unknown-previous", "previous-above", "previous-is-itself", "no-images"],
)
def test_a_release_that_does_not_fit_is_refused_alone(release: VisioRelease, problem: str, next_step: str) -> None:
    fits = a_release("1.25.0", digests={"backend": DIGEST})

    ladder, [refused] = merge_releases(load_releases(), [release, fits])

    assert refused.name == release.metadata.name
    assert problem in refused.problem
    assert next_step in refused.next_step
    assert ladder == merge_releases(load_releases(), [fits])[0]


@pytest.mark.parametrize(
    "image, mirrored",
    [
        ("docker.io/lasuite/meet-backend:v1.27.0", "r.fr/visio/lasuite/meet-backend:v1.27.0"),
        (f"docker.io/lasuite/meet-backend:v1@{DIGEST}", f"r.fr/visio/lasuite/meet-backend:v1@{DIGEST}"),
        ("registry.local:5000/a/b:1", "r.fr/visio/a/b:1"),
        ("localhost/a:1", "r.fr/visio/a:1"),
        ("dxflrs/garage:v2.4.1", "r.fr/visio/dxflrs/garage:v2.4.1"),
        ("redis:8.2", "r.fr/visio/library/redis:8.2"),
        ("r.fr/visio/lasuite/meet-backend:v1.27.0", "r.fr/visio/lasuite/meet-backend:v1.27.0"),
    ],
)
def test_an_image_keeps_its_path_in_a_registry_of_ones_own(image: str, mirrored: str) -> None:
    assert mirror(image, "r.fr/visio") == mirrored
    assert mirror(mirrored, "r.fr/visio") == mirrored


@pytest.mark.parametrize("registry", [None, ""])
def test_without_a_registry_an_image_stays(registry: str | None) -> None:
    assert mirror("docker.io/coturn/coturn:4.6.3", registry) == "docker.io/coturn/coturn:4.6.3"
