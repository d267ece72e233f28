"""What the checks of a call know about a deployment: the very variables that its parts have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Livekit:
    """LiveKit as browsers and the API reach it."""

    url: str
    """The public URL, with scheme https."""
    key: str
    secret: str
    relay_only: bool
    """Media may pass the TURN server alone, as they do for people behind a strict firewall."""
    metrics: tuple[str, ...]
    """`host:port` of each server's metrics; empty while they are unknown."""


@dataclass(frozen=True)
class SignIn:
    """The OpenID Connect provider."""

    authorization: str
    token: str
    jwks: str
    client_id: str
    client_secret: str


@dataclass(frozen=True)
class Storage:
    """The bucket for recordings."""

    url: str
    region: str
    bucket: str
    access_key: str
    secret_key: str
    folder: str


@dataclass(frozen=True)
class Service:
    """Something behind a URL and a key; `name` is the model for a language model."""

    url: str
    key: str
    name: str = ""


@dataclass(frozen=True)
class Mail:
    """The SMTP relay."""

    host: str
    port: int
    start_tls: bool
    tls: bool
    user: str
    password: str


@dataclass(frozen=True)
class Settings:
    """One deployment; a part that is None is not enabled, and not checked."""

    host: str
    origin: str
    """The public URL of the web page."""
    livekit: Livekit
    sign_in: SignIn
    storage: Storage | None
    recording: bool
    captions_agent: str
    """Name under which the subtitles agent takes rooms; empty without captions."""
    captions_servers: str
    """Name that resolves to the captions servers which take streams."""
    summary: Service | None
    mail: Mail | None
    docs: Service | None
    llm: Service | None


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in an environment; raises ValueError that names a variable which is missing."""

    def need(name: str) -> str:
        if value := environ.get(name):
            return value
        raise ValueError(f"the variable {name} is not set; `visio-operator smoke` sets it in the Job that it makes")

    def on(name: str) -> bool:
        return environ.get(name, "").lower() in ("true", "1", "yes", "on")

    recording, transcription = on("RECORDING_ENABLE"), bool(environ.get("SUMMARY_SERVICE_ENDPOINT"))
    return Settings(
        host=need("CHECKS_HOST"),
        origin=f"https://{need('CHECKS_HOST')}",
        livekit=Livekit(
            url=need("LIVEKIT_API_URL").rstrip("/"),
            key=need("LIVEKIT_API_KEY"),
            secret=need("LIVEKIT_API_SECRET"),
            relay_only=environ.get("CHECKS_MEDIA") == "relay",
            metrics=tuple(environ.get("CHECKS_SFU_METRICS", "").split()),
        ),
        sign_in=SignIn(
            authorization=need("OIDC_OP_AUTHORIZATION_ENDPOINT"),
            token=need("OIDC_OP_TOKEN_ENDPOINT"),
            jwks=need("OIDC_OP_JWKS_ENDPOINT"),
            client_id=need("OIDC_RP_CLIENT_ID"),
            client_secret=need("OIDC_RP_CLIENT_SECRET"),
        ),
        storage=_storage(environ, need) if recording or transcription else None,
        recording=recording,
        captions_agent=need("ROOM_SUBTITLE_AGENT_NAME") if on("ROOM_SUBTITLE_ENABLED") else "",
        captions_servers=need("CHECKS_CAPTIONS_SERVERS") if on("ROOM_SUBTITLE_ENABLED") else "",
        summary=Service(need("SUMMARY_SERVICE_ENDPOINT"), need("SUMMARY_SERVICE_API_TOKEN")) if transcription else None,
        mail=_mail(environ, on) if environ.get("DJANGO_EMAIL_HOST") else None,
        docs=Service(need("LASUITE_DOCS_BASE_URL"), need("LASUITE_DOCS_SERVER_TO_SERVER_API_KEY"))
        if on("IS_LASUITE_DOCS_INTEGRATION_ENABLED")
        else None,
        llm=Service(need("LLM_BASE_URL"), need("LLM_API_KEY"), need("LLM_MODEL")) if on("IS_SUMMARY_ENABLED") else None,
    )


def _storage(environ: Mapping[str, str], need: Callable[[str], str]) -> Storage:
    return Storage(
        url=need("AWS_S3_ENDPOINT_URL"),
        region=environ.get("AWS_S3_REGION_NAME", ""),
        bucket=need("AWS_STORAGE_BUCKET_NAME"),
        access_key=need("AWS_S3_ACCESS_KEY_ID"),
        secret_key=need("AWS_S3_SECRET_ACCESS_KEY"),
        folder=environ.get("RECORDING_OUTPUT_FOLDER") or "recordings",
    )


def _mail(environ: Mapping[str, str], on: Callable[[str], bool]) -> Mail:
    return Mail(
        host=environ["DJANGO_EMAIL_HOST"],
        port=int(environ.get("DJANGO_EMAIL_PORT") or 25),
        start_tls=on("DJANGO_EMAIL_USE_TLS"),
        tls=on("DJANGO_EMAIL_USE_SSL"),
        user=environ.get("DJANGO_EMAIL_HOST_USER", ""),
        password=environ.get("DJANGO_EMAIL_HOST_PASSWORD", ""),
    )
