"""What cannot be: refusals that name the field, the problem and the next step.

Rules that concern the object alone are checked before (`api.check`); here are those that need the cluster or the
ladder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from visio_operator.api.controllers import unroutable
from visio_operator.api.fields import SecretRef
from visio_operator.api.releases import ReleaseEntry, order
from visio_operator.api.spec import VisioDeploymentSpec

from .images import is_inside
from .observed import Observed
from .order import IMAGE_KEYS, part_set
from .plan import Release
from .providers import PROVIDERS, why_missing
from .reasons import Reason
from .secrets import shared_keys
from .windows import unknown_zone

SOVEREIGNTY = frozenset({Reason.IMAGE_OUTSIDE_REGISTRIES, Reason.DIGEST_MISSING, Reason.ZONE_OUTSIDE_REGIONS})
"""The reasons that make a deployment not compliant with its own policy."""


@dataclass(frozen=True)
class Refusal:
    """One thing that cannot be."""

    reason: Reason
    field: str
    problem: str
    next_step: str

    def __str__(self) -> str:
        """One line for status and terminals."""
        return f"{self.field}: {self.problem}; {self.next_step}"


@dataclass(frozen=True)
class SecretWanted:
    """A Secret that the spec refers to and the keys it must have."""

    field: str
    name: str
    keys: tuple[str, ...] = ()


def secrets_wanted(spec: VisioDeploymentSpec) -> tuple[SecretWanted, ...]:
    """All Secrets that the user has to provide, with the field that names each of them."""
    return tuple(_secrets(spec))


def _secrets(spec: VisioDeploymentSpec) -> Iterator[SecretWanted]:
    single: list[tuple[str, SecretRef | None, str]] = [
        ("oidc", spec.oidc.secret_ref, "clientSecret"),
        ("database", spec.database.secret_ref, "password"),
        ("redis", spec.redis.secret_ref, "password"),
        ("mail", spec.mail.secret_ref if spec.mail else None, "password"),
        ("docs", spec.docs.secret_ref if spec.docs else None, "apiKey"),
        ("llm", spec.llm.secret_ref if spec.llm else None, "apiKey"),
        ("superuser", spec.superuser.secret_ref if spec.superuser else None, "password"),
        ("redis.sentinel", spec.redis.sentinel.secret_ref if spec.redis.sentinel else None, "password"),
        ("roomKits", spec.room_kits.secret_ref if spec.room_kits else None, "token"),
        ("sentry", spec.sentry.secret_ref if spec.sentry else None, "dsn"),
    ]
    for owner, ref, default in single:
        if ref is not None:
            yield SecretWanted(f"spec.{owner}.secretRef", ref.name, (ref.key or default,))
    url = spec.database.url_secret_ref
    if url is not None:
        yield SecretWanted("spec.database.urlSecretRef", url.name, (url.key or "uri",))
    if spec.secrets.keys_secret_ref is not None:
        yield SecretWanted("spec.secrets.keysSecretRef", spec.secrets.keys_secret_ref.name, shared_keys(spec))
    if spec.livekit.keys_secret_ref is not None:
        yield SecretWanted("spec.livekit.keysSecretRef", spec.livekit.keys_secret_ref.name, ("apiKey", "apiSecret"))
    if spec.object_storage.secret_ref is not None:
        name = spec.object_storage.secret_ref.name
        yield SecretWanted("spec.objectStorage.secretRef", name, ("accessKeyId", "secretAccessKey"))
    if spec.gateway.tls.secret_ref is not None:
        yield SecretWanted("spec.gateway.tls.secretRef", spec.gateway.tls.secret_ref.name, ("tls.crt", "tls.key"))
    if spec.transcription.enabled and spec.transcription.hugging_face_secret is not None:
        yield SecretWanted("spec.transcription.huggingFaceSecret", spec.transcription.hugging_face_secret, ("token",))
    for index, name in enumerate(spec.image_pull_secrets):
        yield SecretWanted(f"spec.imagePullSecrets[{index}]", name, (".dockerconfigjson",))


def refusals(spec: VisioDeploymentSpec, observed: Observed, release: Release | None) -> tuple[Refusal, ...]:
    """Everything that cannot be; `release` is the one that runs or shall be installed, None when it is not known."""
    found: list[Refusal] = [
        *_missing_secrets(spec, observed),
        *_missing_bundle(spec, observed),
        *_pools(spec, observed),
        *_windows(spec),
    ]
    if release is not None:
        found.extend(_of_release(spec, release))
    return tuple(found)


def _of_release(spec: VisioDeploymentSpec, release: Release) -> Iterator[Refusal]:
    yield from _images(spec, release)
    yield from missing_features(spec, release)
    for wish in unroutable(spec, release.settings):
        yield Refusal(Reason.ROUTE_NOT_POSSIBLE, f"spec.{wish.field}", wish.problem, wish.next_step)


def impossible(spec: VisioDeploymentSpec, release: Release) -> tuple[Reason, str] | None:
    """Why a release cannot take the place of the one that runs, with field, problem and next step; None if it can."""
    found = next((refusal for refusal in _of_release(spec, release)), None)
    return (found.reason, str(found)) if found is not None else None


def unknown_version(version: str, ladder: tuple[ReleaseEntry, ...]) -> Refusal:
    """The refusal of a version that the ladder lacks, naming the nearest one that it has."""
    if not ladder:
        next_step = "the release ladder is empty; add a VisioRelease"
    else:
        nearest = min((entry.version for entry in ladder), key=lambda known: _distance(known, version))
        next_step = f"the nearest known release is {nearest}; use it or add a VisioRelease named for {version}"
    problem = f"{version} is not in the release ladder"
    return Refusal(Reason.UNKNOWN_VERSION, "spec.version", problem, next_step)


def _distance(known: str, version: str) -> tuple[int, ...]:
    """How far apart two versions are, the larger components first; among equals the newer one is nearer."""
    ours, theirs = order(known), order(version)
    return (*(abs(a - b) for a, b in zip(ours, theirs, strict=True)), *(-number for number in ours))


def _missing_secrets(spec: VisioDeploymentSpec, observed: Observed) -> Iterator[Refusal]:
    for wanted in secrets_wanted(spec):
        keys = observed.secret_keys.get(wanted.name)
        if keys is None:
            problem = f"Secret {wanted.name} does not exist in namespace {observed.namespace}"
            next_step = f"create it with {_listed(wanted.keys)}"
            yield Refusal(Reason.SECRET_MISSING, f"{wanted.field}.name", problem, next_step)
            continue
        absent = [key for key in wanted.keys if key not in keys]
        if absent:
            problem = f"Secret {wanted.name} lacks {_listed(absent)}"
            yield Refusal(Reason.SECRET_MISSING, f"{wanted.field}.key", problem, "add it or name another key")


def _missing_bundle(spec: VisioDeploymentSpec, observed: Observed) -> Iterator[Refusal]:
    bundle = spec.ca_bundle
    if bundle is None or (observed.bundle_keys is not None and bundle.key in observed.bundle_keys):
        return
    what = f"ConfigMap {bundle.config_map}"
    if observed.bundle_keys is None:
        problem = f"{what} does not exist in namespace {observed.namespace}"
        field, next_step = "configMap", f"create it with certificates in PEM under the key {bundle.key}"
    else:
        problem = f"{what} lacks the key {bundle.key}"
        field, next_step = "key", "add it or name another key"
    yield Refusal(Reason.CONFIG_MAP_MISSING, f"spec.caBundle.{field}", problem, next_step)


def _listed(keys: Iterable[str]) -> str:
    return "the key " + " and the key ".join(keys)


def _pools(spec: VisioDeploymentSpec, observed: Observed) -> Iterator[Refusal]:
    for index, pool in enumerate(spec.gpu_pools):
        where = f"spec.gpuPools[{index}]"
        found = observed.pools.get(pool.name)
        if pool.provider in PROVIDERS and not (found and found.found):
            yield Refusal(Reason.POOL_MISSING, f"{where}.name", *why_missing(pool, found))
        regions = spec.sovereignty.regions
        if regions and pool.zone is not None and not any(pool.zone.startswith(region) for region in regions):
            problem = f"zone {pool.zone} is outside {', '.join(regions)}"
            next_step = "move the pool or extend spec.sovereignty.regions"
            yield Refusal(Reason.ZONE_OUTSIDE_REGIONS, f"{where}.zone", problem, next_step)


def _windows(spec: VisioDeploymentSpec) -> Iterator[Refusal]:
    unknown = unknown_zone(spec.upgrade.windows)
    if unknown is not None:
        index, name = unknown
        next_step = "use an IANA name such as Europe/Paris, which the operator's image has to know"
        field = f"spec.upgrade.windows[{index}].timeZone"
        yield Refusal(Reason.TIME_ZONE_UNKNOWN, field, f"{name} is not a known time zone", next_step)


def missing_features(spec: VisioDeploymentSpec, release: Release) -> Iterator[Refusal]:
    """What is asked for and the release does not have, or wants in a form that this operator does not write."""
    asked = [
        ("spec.roomKits", "roomKits", spec.room_kits),
        ("spec.branding.documentationUrl", "documentationUrl", spec.branding.documentation_url),
    ]
    for field, setting, value in asked:
        if value is not None and release.settings.get(setting) == "false":
            problem = f"release {release.version} does not know it"
            yield Refusal(Reason.NOT_IN_RELEASE, field, problem, "remove it, or go to a newer release")
    if spec.recording.enabled and release.settings.get("recordingStorageEvents") == "required":
        problem = (
            f"release {release.version} saves a recording only when events of the bucket reach it, and has none here"
        )
        yield Refusal(
            Reason.NOT_IN_RELEASE, "spec.recording.enabled", problem, "set it to false, or go to 1.22.0 or newer"
        )
    if spec.transcription.enabled and release.settings.get("summaryVersion") == "1":
        problem = f"release {release.version} hands transcripts over in a form that this operator does not arrange"
        next_step = "set it to false, or go to 1.23.0 or newer"
        yield Refusal(Reason.NOT_IN_RELEASE, "spec.transcription.enabled", problem, next_step)
    access = spec.external_api.default_access if spec.external_api is not None else "trusted"
    if access != "trusted" and release.settings.get("externalApiAccess") == "false":
        problem = f"release {release.version} makes rooms of applications trusted, whatever is asked for"
        next_step = "set it to trusted, or go to 1.17.0 or newer"
        yield Refusal(Reason.NOT_IN_RELEASE, "spec.externalApi.defaultAccess", problem, next_step)
    form = release.settings.get("recordingEncoding", "flat")
    if spec.recording.encoding is not None and form != "flat":
        unknown, other = "does not know it", "takes the encoding in a form that this operator does not write"
        problem = f"release {release.version} {unknown if form == 'none' else other}"
        yield Refusal(Reason.NOT_IN_RELEASE, "spec.recording.encoding", problem, "remove it; the release's own is used")


def _images(spec: VisioDeploymentSpec, release: Release) -> Iterator[Refusal]:
    keys = sorted({key for part in part_set(spec) for key in IMAGE_KEYS[part]})
    outside = [release.images[key] for key in keys if not is_inside(release.images[key], spec.sovereignty.registries)]
    if outside:
        problem = f"{', '.join(outside)} come from none of them"
        next_step = "mirror them and name the copies in a VisioRelease, or extend the list"
        yield Refusal(Reason.IMAGE_OUTSIDE_REGISTRIES, "spec.sovereignty.registries", problem, next_step)
    loose = [release.images[key] for key in keys if "@sha256:" not in release.images[key]]
    if spec.sovereignty.require_digests and loose:
        problem = f"release {release.version} has no digest for {', '.join(loose)}"
        next_step = "add a VisioRelease with the digests, or set requireDigests to false"
        yield Refusal(Reason.DIGEST_MISSING, "spec.sovereignty.requireDigests", problem, next_step)
