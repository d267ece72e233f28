"""The release ladder: which Visio releases exist, in which order they are climbed, and what differs between them.

The built-in ladder is data (`releases.yaml`); VisioRelease objects add rungs or override images, with digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints

from .fields import Model, Rule, Text, pattern
from .spec import ObjectMeta, ReleaseVersion

IMAGE = pattern(
    r"^[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9]+([-._]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?$",
    "use an image with its registry and tag, such as docker.io/lasuite/meet-backend:v1.27.0",
)
DIGEST = pattern(r"^sha256:[0-9a-f]{64}$", "use sha256: and 64 hexadecimal digits")
SETTING = pattern(r"^[a-z][A-Za-z0-9]*$", "use a camelCase name")

ImageKey = Literal[
    "backend", "frontend", "summary", "agents", "whisper", "livekit", "egress", "moshi", "operator", "postgres",
    "redis", "garage", "coturn",
]  # fmt: skip
IMAGE_KEYS: tuple[str, ...] = ImageKey.__args__  # type: ignore[attr-defined]
RELEASED_TOGETHER = ("backend", "frontend", "summary", "agents")
"""Images that carry the release's own tag; a new rung must name all of them."""
_KEY_PATTERN = pattern(f"^({'|'.join(IMAGE_KEYS)})$", f"use one of {', '.join(IMAGE_KEYS)}")

Key = Annotated[str, StringConstraints(pattern=_KEY_PATTERN)]
Image = Annotated[str, StringConstraints(pattern=IMAGE, max_length=512)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST, max_length=71)]
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
    """A ladder from YAML text as in releases.yaml; every rung names every image. ValueError when one does not."""
    data: dict[str, Any] = yaml.safe_load(text)
    shared = data["shared"]
    ladder: list[ReleaseEntry] = []
    for rung in sorted(data["releases"], key=lambda rung: order(rung["version"])):
        version = rung["version"]
        images = {
            key: image.format(version=version) for key, image in {**shared["images"], **rung.get("images", {})}.items()
        }
        missing = set(IMAGE_KEYS) - set(images)
        if missing:
            raise ValueError(f"release {version} names no image for {', '.join(sorted(missing))}")
        settings = {**shared["settings"], **rung.get("settings", {})}
        previous = ladder[-1].version if ladder else None
        ladder.append(ReleaseEntry(version, previous, _with_digests(images, rung.get("digests", {})), settings))
    return tuple(ladder)


def find_release(ladder: Iterable[ReleaseEntry], version: str) -> ReleaseEntry | None:
    """The rung of a version, or None."""
    return next((entry for entry in ladder if entry.version == version), None)


def merge_releases(
    ladder: tuple[ReleaseEntry, ...], releases: Iterable[VisioRelease]
) -> tuple[tuple[ReleaseEntry, ...], tuple[Refusal, ...]]:
    """The ladder with VisioRelease objects laid over it, lowest rung first, and those that do not fit.

    A known release gets the images, digests and settings that are given. A new one must name its previous release and
    the images that are released together; everything else is taken from the previous one.
    """
    rungs = {entry.version: entry for entry in ladder}
    refused = []
    for release in sorted(releases, key=lambda release: order(release.spec.version)):
        spec = release.spec
        problem = _does_not_fit(spec, rungs)
        if problem:
            refused.append(Refusal(release.metadata.name, *problem))
            continue
        base = rungs.get(spec.version) or rungs[spec.previous or ""]
        rungs[spec.version] = replace(
            base,
            version=spec.version,
            previous=spec.previous or base.previous,
            images=_with_digests({**base.images, **spec.images}, spec.digests),
            settings={**base.settings, **spec.settings},
        )
    return tuple(sorted(rungs.values(), key=lambda entry: order(entry.version))), tuple(refused)


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
