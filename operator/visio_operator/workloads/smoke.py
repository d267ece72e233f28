"""The Job of `visio-operator smoke`: a whole call, made with the settings and from the network of the parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from visio_operator.plan.plan import Release

from .backend_env import backend_env
from .common import Manifest, Site, env, object_name
from .containers import PLAIN, TMP, amounts, container, mount, scratch
from .pods import Pod, job
from .sfu import METRICS_PORT
from .summary import summary_env

SMOKE = "smoke"
MANAGED_BY = "visio-operator-smoke"
"""Not the operator's own label, so that it leaves the Job alone: it is the command's, which deletes it."""
KEPT = 600
"""Seconds after its end until the Job is removed, should the command that made it be gone."""
_GRACE = 10
_WORK = 120
"""Seconds that a whole call takes besides the wait for GPU nodes."""
_FROM_API = frozenset(
    {
        "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "LIVEKIT_API_URL",
        "OIDC_OP_AUTHORIZATION_ENDPOINT", "OIDC_OP_TOKEN_ENDPOINT", "OIDC_OP_JWKS_ENDPOINT",
        "OIDC_RP_CLIENT_ID", "OIDC_RP_CLIENT_SECRET",
        "RECORDING_ENABLE", "RECORDING_OUTPUT_FOLDER",
        "AWS_S3_ENDPOINT_URL", "AWS_S3_REGION_NAME", "AWS_STORAGE_BUCKET_NAME",
        "AWS_S3_ACCESS_KEY_ID", "AWS_S3_SECRET_ACCESS_KEY",
        "ROOM_SUBTITLE_ENABLED", "ROOM_SUBTITLE_AGENT_NAME",
        "SUMMARY_SERVICE_ENDPOINT", "SUMMARY_SERVICE_API_TOKEN",
        "DJANGO_EMAIL_HOST", "DJANGO_EMAIL_PORT", "DJANGO_EMAIL_USE_TLS", "DJANGO_EMAIL_USE_SSL",
        "DJANGO_EMAIL_HOST_USER", "DJANGO_EMAIL_HOST_PASSWORD",
    }
)  # fmt: skip
_FROM_SUMMARY = frozenset(
    {
        "IS_LASUITE_DOCS_INTEGRATION_ENABLED", "LASUITE_DOCS_BASE_URL", "LASUITE_DOCS_SERVER_TO_SERVER_API_KEY",
        "IS_SUMMARY_ENABLED", "LLM_BASE_URL", "LLM_MODEL", "LLM_API_KEY",
    }
)  # fmt: skip


def smoke(
    site: Site, release: Release, run: str, *, seconds: int, only: Sequence[str] = (), sfu_addresses: Sequence[str] = ()
) -> Manifest:
    """The Job; `run` makes its name, `sfu_addresses` are those of the media servers' pods.

    `seconds` bounds it, and most of them it may wait for GPU nodes.
    Its variables are the very ones of the API and of the summary service, so it fails where they would.
    """
    main = container(
        SMOKE,
        release.images["operator"],
        args=["checks", "call", *(["--only", *only] if only else [])],
        env=_environment(site, release, seconds, sfu_addresses),
        resources=amounts({"cpu": "250m", "memory": "192Mi"}, {"memory": "512Mi"}),
        volumeMounts=[mount("tmp", TMP)],
    )
    pod = Pod(SMOKE, PLAIN, _GRACE, (main,), volumes=(scratch("tmp", "64Mi"),), overrides_of="backend")
    made = job(site, pod, retries=0)
    made["metadata"]["name"] = object_name(site, f"{SMOKE}-{run}")
    made["spec"] |= {"activeDeadlineSeconds": seconds + _GRACE, "ttlSecondsAfterFinished": KEPT}
    template = made["spec"]["template"]
    # It has no account of its own: a Job that exists for minutes needs no object that stays.
    del template["spec"]["serviceAccountName"]
    for labelled in (made["metadata"], template["metadata"]):
        labelled["labels"]["app.kubernetes.io/managed-by"] = MANAGED_BY
    return made


def _environment(site: Site, release: Release, seconds: int, sfu_addresses: Sequence[str]) -> list[Manifest]:
    own = {
        "CHECKS_HOST": site.spec.host,
        "CHECKS_PATIENCE": str(max(seconds // 2, seconds - _WORK)),
        "CHECKS_SFU_METRICS": " ".join(f"{address}:{METRICS_PORT}" for address in sfu_addresses),
        "CHECKS_CAPTIONS_SERVERS": f"{object_name(site, 'captions')}.{site.namespace}.svc.cluster.local",
        "CHECKS_MEDIA": "relay" if site.spec.sfu.network == "turnTLS" else "direct",
    }
    summary = summary_env(site, release, "http://unset.invalid/v1/") if site.spec.transcription.enabled else []
    return [*env(own), *_named(backend_env(site, release), _FROM_API), *_named(summary, _FROM_SUMMARY)]


def _named(variables: Iterable[Manifest], names: frozenset[str]) -> list[Manifest]:
    return [variable for variable in variables if variable["name"] in names]
