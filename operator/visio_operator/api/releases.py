"""The release ladder: which Visio releases exist, in which order they are climbed, and what differs between them.

The built-in ladder is data (`releases.yaml`), written as changes: a rung has the images and settings of the one below
it, except where it says otherwise. VisioRelease objects add rungs or override images, with digests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints

from .fields import Model, Rule, Text, Unique, pattern
from .spec import ObjectMeta, ReleaseVersion

IMAGE = pattern(
    r"^[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9]+([-._]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?$",
    "use an image with its registry and tag, such as docker.io/lasuite/meet-backend:v1.27.0",
)
DIGEST = pattern(r"^sha256:[0-9a-f]{64}$", "use sha256: and 64 hexadecimal digits")
SETTING = pattern(r"^[a-z][A-Za-z0-9]*$", "use a camelCase name")
MIGRATION = pattern(r"^[0-9]{4}(_[a-z0-9_]+)?$", "use the number of the migration, such as 0019")

ImageKey = Literal[
    "backend", "frontend", "summary", "agents", "whisper", "livekit", "egress", "moshi", "operator", "postgres",
    "redis", "garage", "coturn",
]  # fmt: skip
IMAGE_KEYS: tuple[str, ...] = ImageKey.__args__  # type: ignore[attr-defined]
RELEASED_TOGETHER = ("backend", "frontend", "summary", "agents")
"""Images that carry the release's own tag; a new rung must name all of them."""
Precondition = Literal["duplicateUsers", "summaryV2", "livekitWebhook", "summaryRegion"]
"""What has to hold before a release is climbed; docs/releases.md says what each one means and who checks it."""
PRECONDITIONS: tuple[str, ...] = Precondition.__args__  # type: ignore[attr-defined]
Provenance = Literal["read", "releaseNotes"]
PROVENANCES: tuple[str, ...] = Provenance.__args__  # type: ignore[attr-defined]
_KEY_PATTERN = pattern(f"^({'|'.join(IMAGE_KEYS)})$", f"use one of {', '.join(IMAGE_KEYS)}")

Key = Annotated[str, StringConstraints(pattern=_KEY_PATTERN)]
Image = Annotated[str, StringConstraints(pattern=IMAGE, max_length=512)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST, max_length=71)]
Migration = Annotated[str, StringConstraints(pattern=MIGRATION, max_length=128)]
SettingName = Annotated[str, StringConstraints(pattern=SETTING, max_length=63)]


@dataclass(frozen=True)
class ReleaseEntry:
    """One rung of the ladder."""

    version: str
    previous: str | None
    """The release from which an upgrade leads here; None for the lowest."""
    images: Mapping[str, str]
    """Image reference by image key, with its digest where one is known."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What differs by version, as text; see releases.yaml."""
    migrations: tuple[str, ...] = ()
    """The database migrations that come with its minor, up to it, such as "0019"."""
    preconditions: tuple[str, ...] = ()
    """What has to hold before an upgrade leads here, by the names of `PRECONDITIONS`."""
    notes: tuple[str, ...] = ()
    """What people have to do or to know, one sentence each."""
    date: str = ""
    """The day of its release, as in 2026-08-14; empty when it is not known."""
    provenance: str = "releaseNotes"
    """`read`: checked in the source at its tag, or stated in a VisioRelease. `releaseNotes`: told by others."""

    @property
    def changes_schema(self) -> bool:
        """Whether its migrations may change the database, so that older images must not follow.

        Release notes do not always name a migration: what was not read counts as a change.
        """
        return bool(self.migrations) or self.provenance == "releaseNotes"


@dataclass(frozen=True)
class Refusal:
    """A VisioRelease that does not fit into the ladder, and what to do about it."""

    name: str
    problem: str
    next_step: str


class VisioReleaseSpec(Model):
    """A rung to add to the ladder, or images to override in one that exists."""

    version: ReleaseVersion = Field(description="Visio release, such as 1.28.0.")
    previous: ReleaseVersion | None = Field(
        None, description="Release from which an upgrade leads here; required for a release that is not built in."
    )
    images: Annotated[dict[Key, Image], Field(max_length=13)] = Field(
        default={},
        description="Images by key. A new release must name backend, frontend, summary and agents; "
        "others are taken from the previous one.",
    )
    digests: Annotated[dict[Key, Digest], Field(max_length=13)] = Field(
        default={}, description="Digests of the images by key, as `sha256:...`."
    )
    settings: Annotated[dict[SettingName, Text], Field(max_length=50)] = Field(
        default={}, description="What differs from the previous release, by the names that releases.yaml uses."
    )
    migrations: Annotated[list[Migration], Field(max_length=50), Unique()] | None = Field(
        None,
        description="Database migrations that come with it, such as 0019; an empty list says that there are none. "
        "Unset, a new release counts as one that changes the database.",
    )
    preconditions: Annotated[list[Precondition], Field(max_length=10), Unique()] | None = Field(
        None, description="What has to hold before the release is climbed; unset keeps what is built in."
    )
    notes: Annotated[list[Text], Field(max_length=20)] | None = Field(
        None, description="What people have to do or to know; unset keeps what is built in."
    )


class VisioRelease(Model):
    """A release of Visio that this cluster may run, beside those that the operator knows."""

    rules = (
        Rule(
            "self.metadata.name == self.spec.version",
            "metadata.name differs from spec.version, and each release may be there once",
            "use the version as the name",
            lambda self: self.metadata.name == self.spec.version,
            "metadata.name",
        ),
    )

    metadata: ObjectMeta = Field(description="Standard object metadata.")
    spec: VisioReleaseSpec = Field(description="The release.")


def order(version: str) -> tuple[int, ...]:
    """The key by which versions are ordered. ValueError when it is no version."""
    return tuple(int(number) for number in version.split("."))


@cache
def load_releases() -> tuple[ReleaseEntry, ...]:
    """The built-in ladder from the package's data, lowest rung first."""
    return parse_releases(files(__package__).joinpath("releases.yaml").read_text("utf-8"))


def parse_releases(text: str) -> tuple[ReleaseEntry, ...]:
    """A ladder from YAML text as in releases.yaml. ValueError, with the release and the key, when it is not sound."""
    data: dict[str, Any] = yaml.safe_load(text)
    shared = data["shared"]
    images, settings = dict(shared["images"]), dict(shared["settings"])
    ladder: list[ReleaseEntry] = []
    for rung in sorted(data["releases"], key=lambda rung: order(rung["version"])):
        below = ladder[-1] if ladder else None
        _sound(rung, below)
        images |= rung.get("images", {})
        settings |= rung.get("settings", {})
        ladder.append(_entry(rung, below, images, settings))
    return tuple(ladder)


_RUNG_KEYS = frozenset(
    {"version", "date", "provenance", "migrations", "preconditions", "notes", "images", "digests", "settings"}
)


def _sound(rung: Mapping[str, Any], below: ReleaseEntry | None) -> None:
    version = rung["version"]
    if below is not None and version == below.version:
        raise ValueError(f"release {version} is there twice")
    unknown = sorted(set(rung) - _RUNG_KEYS)
    if unknown:
        raise ValueError(f"release {version} has unknown keys: {', '.join(unknown)}")
    if rung.get("provenance") not in PROVENANCES:
        raise ValueError(f"release {version} needs provenance: one of {', '.join(PROVENANCES)}")
    wrong = [name for name in rung.get("migrations", ()) if not (isinstance(name, str) and re.match(MIGRATION, name))]
    if wrong:
        raise ValueError(f"release {version} has migrations that are no names such as '0019': {wrong}")
    strange = sorted(set(rung.get("preconditions", ())) - set(PRECONDITIONS))
    if strange:
        raise ValueError(f"release {version} has unknown preconditions: {', '.join(strange)}")


def _entry(
    rung: Mapping[str, Any], below: ReleaseEntry | None, images: Mapping[str, str], settings: Mapping[str, str]
) -> ReleaseEntry:
    version = rung["version"]
    missing = set(IMAGE_KEYS) - set(images)
    if missing:
        raise ValueError(f"release {version} names no image for {', '.join(sorted(missing))}")
    named = {key: image.format(version=version) for key, image in images.items()}
    base = _of_minor(version, below)
    return replace(
        base,
        previous=below.version if below is not None else None,
        images=_with_digests(named, rung.get("digests", {})),
        settings=dict(settings),
        date=str(rung.get("date", "")),
        provenance=rung["provenance"],
        **_own(rung),
    )


def _of_minor(version: str, below: ReleaseEntry | None) -> ReleaseEntry:
    """What a rung has of the one below: nothing but its minor's migrations, preconditions and notes, if it is a patch.

    A patch is climbed in place of the rungs of its minor below it.
    """
    plain = ReleaseEntry(version, None, {})
    if below is None or order(below.version)[:2] != order(version)[:2]:
        return plain
    return replace(plain, migrations=below.migrations, preconditions=below.preconditions, notes=below.notes)


def _own(given: Mapping[str, Any]) -> dict[str, Any]:
    names = ("migrations", "preconditions", "notes")
    return {name: tuple(given[name]) for name in names if given.get(name) is not None}


def find_release(ladder: Iterable[ReleaseEntry], version: str) -> ReleaseEntry | None:
    """The rung of a version, or None."""
    return next((entry for entry in ladder if entry.version == version), None)


def merge_releases(
    ladder: tuple[ReleaseEntry, ...], releases: Iterable[VisioRelease]
) -> tuple[tuple[ReleaseEntry, ...], tuple[Refusal, ...]]:
    """The ladder with VisioRelease objects laid over it, lowest rung first, and those that do not fit.

    A known release gets what is given and keeps the rest. A new one must name its previous release and the images that
    are released together; its other images and its settings are those of the previous one, its migrations,
    preconditions and notes are its own (a patch has its minor's too). Built-in rungs above keep theirs.
    """
    rungs = {entry.version: entry for entry in ladder}
    refused = []
    for release in sorted(releases, key=lambda release: order(release.spec.version)):
        spec = release.spec
        problem = _does_not_fit(spec, rungs)
        if problem:
            refused.append(Refusal(release.metadata.name, *problem))
            continue
        rungs[spec.version] = _laid_over(rungs.get(spec.version), rungs.get(spec.previous or ""), spec)
    return tuple(sorted(rungs.values(), key=lambda entry: order(entry.version))), tuple(refused)


def _laid_over(known: ReleaseEntry | None, previous: ReleaseEntry | None, spec: VisioReleaseSpec) -> ReleaseEntry:
    below = known or previous
    assert below is not None
    base = known or _of_minor(spec.version, previous)
    return replace(
        base,
        previous=spec.previous or base.previous,
        images=_with_digests({**below.images, **spec.images}, spec.digests),
        settings={**below.settings, **spec.settings},
        provenance=base.provenance if spec.migrations is None else "read",
        **_own({"migrations": spec.migrations, "preconditions": spec.preconditions, "notes": spec.notes}),
    )


def _does_not_fit(spec: VisioReleaseSpec, rungs: Mapping[str, ReleaseEntry]) -> tuple[str, str] | None:
    if spec.previous is not None and spec.previous not in rungs:
        return (
            f"spec.previous: {spec.previous} is not in the release ladder",
            f"name one of {', '.join(rungs)}, or add a VisioRelease for it",
        )
    if spec.previous is not None and order(spec.previous) >= order(spec.version):
        return f"spec.previous: {spec.previous} is not below {spec.version}", "name a lower release"
    if spec.version in rungs:
        return None
    if spec.previous is None:
        return "spec.previous is missing, and this release is not built in", "name the release before it"
    missing = [key for key in RELEASED_TOGETHER if key not in spec.images]
    if missing:
        return f"spec.images lacks {', '.join(missing)}", "name the images of this release"
    return None


def _with_digests(images: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    return {
        key: f"{image.partition('@')[0]}@{digests[key]}" if key in digests else image for key, image in images.items()
    }


def mirror(image: str, registry: str | None) -> str:
    """The image as it lies in a registry of one's own: `docker.io/a/x:v1` in `r.fr/visio` is `r.fr/visio/a/x:v1`.

    The source's host is dropped and its path kept. Without a registry, and for an image that is there already, nothing
    changes.
    """
    if not registry or image.startswith(registry + "/"):
        return image
    host, slash, path = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return f"{registry}/{path}"
    return f"{registry}/{image}" if slash else f"{registry}/library/{image}"
