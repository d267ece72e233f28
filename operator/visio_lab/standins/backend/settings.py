"""What the image reads from its environment: a common set for every command, and more for the server."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from visio_lab.standins.environment import Environment
from visio_lab.standins.storage import Storage, from_url

REDIS_SCHEMES = ("redis", "rediss")
SIGN_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
SUMMARY_VERSION = 2
"""The one that the summary service has known since 1.23; the API's own default is still 1."""


@dataclass(frozen=True)
class Base:
    """Django, database, Redis and object storage."""

    allowed_hosts: tuple[str, ...]
    trusted_origins: tuple[str, ...]
    database: Mapping[str, Any]
    redis_url: str
    broker_url: str
    celery_enabled: bool
    queue: str
    storage: Storage
    purge_grace_days: int


@dataclass(frozen=True)
class Oidc:
    """The OpenID Connect client."""

    jwks_endpoint: str
    authorization_endpoint: str
    token_endpoint: str
    user_endpoint: str
    logout_endpoint: str
    client_id: str
    client_secret: str
    algorithm: str
    pkce: bool
    shortname_field: str
    scopes: str
    extra: Mapping[str, Any]
    timeout_s: int
    fullname_fields: tuple[str, ...]
    login_redirect: str
    failure_redirect: str
    logout_redirect: str
    redirect_hosts: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """Recordings and what happens to them."""

    enabled: bool
    folder: str
    download_url: str
    expiration_days: int
    max_duration: int
    encoding: Mapping[str, int | float]
    storage_event: bool
    metadata: bool
    metadata_agent: str
    metadata_folder: str
    summary_url: str
    summary_token: str
    webhook_token: str
    link_seconds: int


@dataclass(frozen=True)
class Server:
    """Everything that the server needs beside the common set."""

    base: Base
    oidc: Oidc
    recording: Recording
    livekit_key: str
    livekit_secret: str
    livekit_url: str
    session_seconds: int
    subtitles: bool
    subtitles_agent: str
    file_uploads: bool
    upload_url: str
    original_url_header: str
    unregistered_rooms: bool
    access_level: str
    language: str
    mail: Mapping[str, Any]
    frontend: Mapping[str, Any]


def base(values: Mapping[str, str]) -> Base:
    """The common set. Raises SystemExit (exit code 1) with the variable's name."""
    environment = Environment(values)
    if environment.text("DJANGO_CONFIGURATION") != "Production":
        # The real one starts with any of its configurations, and with debugging on without the variable.
        environment.refuse("DJANGO_CONFIGURATION", "must be Production")
    if environment.text("DJANGO_SETTINGS_MODULE") != "meet.settings":
        environment.refuse("DJANGO_SETTINGS_MODULE", "must be meet.settings")
    environment.secret("DJANGO_SECRET_KEY")
    environment.text("DJANGO_ALLOWED_HOSTS")
    celery = environment.flag("CELERY_ENABLED")
    if environment.optional("FILE_UPLOAD_TMP_PATH", "tmp/files") == environment.optional("FILE_UPLOAD_PATH", "files"):
        environment.refuse("FILE_UPLOAD_TMP_PATH", "must differ from FILE_UPLOAD_PATH")
    return Base(
        allowed_hosts=(*environment.words("DJANGO_ALLOWED_HOSTS"), _own_address(environment)),
        trusted_origins=tuple(environment.words("DJANGO_CSRF_TRUSTED_ORIGINS")),
        database=_database(environment),
        redis_url=environment.url("REDIS_URL", REDIS_SCHEMES),
        broker_url=environment.url("CELERY_BROKER_URL", REDIS_SCHEMES) if celery else "",
        celery_enabled=celery,
        queue=environment.optional("CELERY_TASK_DEFAULT_QUEUE", "meet-backend"),
        storage=from_url(environment),
        purge_grace_days=environment.number("FILE_PURGE_GRACE_DAYS", 7),
    )


def _own_address(environment: Environment) -> str:
    """The pod's address, by which the kubelet asks; a pod that cannot resolve its own name does not start."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        environment.refuse("HOSTNAME", "of this pod cannot be resolved")


def _database(environment: Environment) -> Mapping[str, Any]:
    # The client library's own variables; the real one (libpq) knows `system` as the certificates of OpenSSL.
    system = environment.optional("PGSSLROOTCERT") == "system"
    tls = {"ssl": ssl.create_default_context()} if system else {}
    if environment.optional("DATABASE_URL"):
        return {"dsn": environment.url("DATABASE_URL", ("postgres", "postgresql")), **tls}
    return {
        **tls,
        "host": environment.text("DB_HOST"),
        "port": environment.number("DB_PORT", 5432),
        "database": environment.text("DB_NAME"),
        "user": environment.text("DB_USER"),
        "password": environment.secret("DB_PASSWORD"),
    }


def server(values: Mapping[str, str]) -> Server:
    """The server's set. Raises SystemExit (exit code 1) with the variable's name."""
    environment, common = Environment(values), base(values)
    return Server(
        base=common,
        oidc=_oidc(environment),
        recording=_recording(environment),
        livekit_key=environment.secret("LIVEKIT_API_KEY"),
        livekit_secret=environment.secret("LIVEKIT_API_SECRET"),
        livekit_url=environment.url("LIVEKIT_API_URL", ("https", "http", "wss", "ws")),
        session_seconds=environment.number("SESSION_COOKIE_AGE", 43200),
        subtitles=environment.flag("ROOM_SUBTITLE_ENABLED"),
        subtitles_agent=environment.optional("ROOM_SUBTITLE_AGENT_NAME", "multi-user-transcriber"),
        file_uploads=environment.flag("FILE_UPLOAD_ENABLED"),
        upload_url=environment.url("AWS_S3_DOMAIN_REPLACE") if environment.optional("AWS_S3_DOMAIN_REPLACE") else "",
        original_url_header=_header(environment.optional("MEDIA_AUTH_ORIGINAL_URL_HEADER", "HTTP_X_ORIGINAL_URL")),
        unregistered_rooms=environment.flag("ALLOW_UNREGISTERED_ROOMS", default=True),
        access_level=environment.optional("RESOURCE_DEFAULT_ACCESS_LEVEL", "public"),
        language=environment.optional("DJANGO_LANGUAGE_CODE", "en-us"),
        mail=_mail(environment),
        frontend=_frontend(environment),
    )


def _header(name: str) -> str:
    """A header as the web server's interface spells it, as it is on the wire; the setting exists since 1.31."""
    return name.removeprefix("HTTP_").replace("_", "-").title()


def _oidc(environment: Environment) -> Oidc:
    algorithm = environment.optional("OIDC_RP_SIGN_ALGO", "RS256")
    if algorithm not in SIGN_ALGORITHMS:
        environment.refuse("OIDC_RP_SIGN_ALGO", f"must be one of {', '.join(SIGN_ALGORITHMS)}")
    for name in environment.words("OIDC_REDIRECT_ALLOWED_HOSTS"):
        if urlsplit(name).scheme:
            # The real one starts, and then never returns a user to the page where the login began.
            environment.refuse("OIDC_REDIRECT_ALLOWED_HOSTS", "must be names of hosts, not URLs")
    logout = environment.url("OIDC_OP_LOGOUT_ENDPOINT") if environment.optional("OIDC_OP_LOGOUT_ENDPOINT") else ""
    login = environment.url("LOGIN_REDIRECT_URL")
    return Oidc(
        jwks_endpoint=environment.url("OIDC_OP_JWKS_ENDPOINT"),
        authorization_endpoint=environment.url("OIDC_OP_AUTHORIZATION_ENDPOINT"),
        token_endpoint=environment.url("OIDC_OP_TOKEN_ENDPOINT"),
        user_endpoint=environment.url("OIDC_OP_USER_ENDPOINT"),
        logout_endpoint=logout,
        client_id=environment.text("OIDC_RP_CLIENT_ID"),
        client_secret=environment.secret("OIDC_RP_CLIENT_SECRET"),
        algorithm=algorithm,
        pkce=environment.flag("OIDC_USE_PKCE"),
        shortname_field=environment.optional("OIDC_USERINFO_SHORTNAME_FIELD", "given_name"),
        scopes=environment.optional("OIDC_RP_SCOPES", "openid email"),
        extra=environment.literal("OIDC_AUTH_REQUEST_EXTRA_PARAMS"),
        timeout_s=environment.number("OIDC_TIMEOUT", 5),
        fullname_fields=tuple(environment.words("OIDC_USERINFO_FULLNAME_FIELDS")) or ("given_name", "usual_name"),
        login_redirect=login,
        failure_redirect=environment.optional("LOGIN_REDIRECT_URL_FAILURE") or "/",
        logout_redirect=environment.optional("LOGOUT_REDIRECT_URL") or "/",
        redirect_hosts=tuple(environment.words("OIDC_REDIRECT_ALLOWED_HOSTS")),
    )


def _recording(environment: Environment) -> Recording:
    enabled = environment.flag("RECORDING_ENABLE")
    summary = environment.optional("SUMMARY_SERVICE_ENDPOINT")
    if summary and environment.number("SUMMARY_SERVICE_VERSION", 1) != SUMMARY_VERSION:
        environment.refuse("SUMMARY_SERVICE_VERSION", f"must be {SUMMARY_VERSION}: the summary service knows no other")
    encoding: dict[str, int | float] = {}
    if environment.flag("RECORDING_ENCODING_ENABLED"):
        encoding = {
            "width": environment.number("RECORDING_ENCODING_WIDTH", 1280),
            "height": environment.number("RECORDING_ENCODING_HEIGHT", 720),
            "framerate": environment.number("RECORDING_ENCODING_FRAMERATE", 30),
            "video_bitrate": environment.number("RECORDING_ENCODING_VIDEO_BITRATE_KBPS", 3000),
            "audio_bitrate": environment.number("RECORDING_ENCODING_AUDIO_BITRATE_KBPS", 128),
            "key_frame_interval": float(environment.optional("RECORDING_ENCODING_KEY_FRAME_INTERVAL_S", "4")),
        }
    return Recording(
        enabled=enabled,
        folder=environment.optional("RECORDING_OUTPUT_FOLDER", "recordings"),
        download_url=environment.url("RECORDING_DOWNLOAD_BASE_URL") if enabled else "",
        expiration_days=environment.number("RECORDING_EXPIRATION_DAYS", 0),
        max_duration=environment.number("RECORDING_MAX_DURATION", 0),
        encoding=encoding,
        storage_event=environment.flag("RECORDING_STORAGE_EVENT_ENABLE"),
        metadata=environment.flag("METADATA_COLLECTOR_ENABLED"),
        metadata_agent=environment.optional("METADATA_COLLECTOR_AGENT_NAME", "metadata-collector"),
        metadata_folder=environment.optional("METADATA_COLLECTOR_OUTPUT_FOLDER", "metadata"),
        summary_url=environment.url("SUMMARY_SERVICE_ENDPOINT") if summary else "",
        summary_token=environment.secret("SUMMARY_SERVICE_API_TOKEN") if summary else "",
        webhook_token=environment.secret("SUMMARY_SERVICE_WEBHOOK_API_TOKEN") if summary else "",
        link_seconds=environment.number("SUMMARY_SERVICE_CLOUD_STORAGE_SIGNED_URL_EXPIRY_SECONDS", 86400),
    )


def _mail(environment: Environment) -> Mapping[str, Any]:
    host = environment.optional("DJANGO_EMAIL_HOST")
    tls, ssl = environment.flag("DJANGO_EMAIL_USE_TLS"), environment.flag("DJANGO_EMAIL_USE_SSL")
    if tls and ssl:
        environment.refuse("DJANGO_EMAIL_USE_TLS", "and DJANGO_EMAIL_USE_SSL exclude each other")
    user = environment.optional("DJANGO_EMAIL_HOST_USER")
    return {
        "host": host,
        "port": environment.number("DJANGO_EMAIL_PORT", 25),
        "tls": tls,
        "ssl": ssl,
        "user": user,
        "password": environment.secret("DJANGO_EMAIL_HOST_PASSWORD") if user else "",
        "sender": environment.optional("DJANGO_EMAIL_FROM", "from@example.com"),
        "brand": environment.optional("DJANGO_EMAIL_BRAND_NAME", "None"),
    }


def _frontend(environment: Environment) -> Mapping[str, Any]:
    return {
        "custom_css_url": environment.optional("FRONTEND_CUSTOM_CSS_URL") or None,
        "analytics": environment.literal("FRONTEND_ANALYTICS"),
        "support": environment.literal("FRONTEND_SUPPORT"),
        "is_silent_login_enabled": environment.flag("FRONTEND_IS_SILENT_LOGIN_ENABLED", default=True),
        "feedback": environment.literal("FRONTEND_FEEDBACK"),
        "documentation_url": environment.optional("FRONTEND_DOCUMENTATION_URL") or None,
        "external_home_url": environment.optional("FRONTEND_EXTERNAL_HOME_URL") or None,
        "use_french_gov_footer": environment.flag("FRONTEND_USE_FRENCH_GOV_FOOTER"),
        "use_proconnect_button": environment.flag("FRONTEND_USE_PROCONNECT_BUTTON"),
        "manifest_link": environment.optional("FRONTEND_MANIFEST_LINK") or None,
        "transcription_destination": environment.optional("FRONTEND_TRANSCRIPTION_DESTINATION") or None,
        "max_participants_for_sound": environment.number("FRONTEND_MAX_PARTICIPANTS_FOR_SOUND", 5),
        "auto_mute_on_join_threshold": environment.number("FRONTEND_AUTO_MUTE_ON_JOIN_THRESHOLD", 50),
    }
