"""The environment of the API's image: one set, which its server, its worker and its Jobs share (facts/visio.md 1).

Values are told apart by Django's settings: some names begin with DJANGO_, most do not.
"""

from __future__ import annotations

from visio_operator.api.fields import seconds
from visio_operator.plan.plan import Release

from .backend_features import features_env
from .common import Manifest, Site, env, object_name
from .connections import (
    SecretKey,
    database_env,
    from_secret,
    keys,
    livekit_keys,
    redis_urls,
    storage_env,
)
from .routes import allowed_hosts, media_auth_env

TRUE, FALSE = "True", "False"
SUBTITLES_AGENT = "multi-user-transcriber"
METADATA_AGENT = "metadata-collector"
METADATA_FOLDER = "metadata"


def backend_env(site: Site, release: Release) -> list[Manifest]:
    """Everything that the API needs."""
    return [
        *base_env(site, release),
        *_oidc(site),
        *_livekit(site),
        *_recording(site, release),
        *_summary(site, release),
        *_agents(site),
        *features_env(site),
    ]


def base_env(site: Site, release: Release) -> list[Manifest]:
    """What every command of the image needs: Django itself, the database, Redis and the object store."""
    host = site.spec.host
    core = {
        # Without it Visio starts in its Development configuration, with debugging on.
        "DJANGO_CONFIGURATION": "Production",
        "DJANGO_SETTINGS_MODULE": "meet.settings",
        "DJANGO_ALLOWED_HOSTS": ",".join(allowed_hosts(site)),
        "DJANGO_CSRF_TRUSTED_ORIGINS": f"https://{host}",
    }
    queue = release.settings.get("backendQueue", "meet-backend")
    return [
        *env(core),
        from_secret("DJANGO_SECRET_KEY", keys(site, "djangoSecretKey")),
        *database_env(site),
        *redis_urls(site, "REDIS_URL", celery=False),
        *redis_urls(site, "CELERY_BROKER_URL", celery=True),
        *env({"CELERY_ENABLED": TRUE, "CELERY_TASK_DEFAULT_QUEUE": queue}),
        *media_auth_env(site, release),
        *storage_env(site),
        *_uploads(site),
    ]


def _uploads(site: Site) -> list[Manifest]:
    """What people upload themselves: backgrounds, straight from the browser to the store."""
    spec = site.spec.object_storage
    variables = {"FILE_UPLOAD_ENABLED": TRUE if spec.file_uploads else FALSE}
    if spec.public_host is not None:
        # A URL, whatever the name says: signatures cover the host that browsers use.
        variables["AWS_S3_DOMAIN_REPLACE"] = f"https://{spec.public_host}"
    return env(variables)


def _oidc(site: Site) -> list[Manifest]:
    oidc = site.spec.oidc
    origin = f"https://{site.spec.host}"
    variables = {
        "OIDC_OP_JWKS_ENDPOINT": oidc.jwks_endpoint,
        "OIDC_OP_AUTHORIZATION_ENDPOINT": oidc.authorization_endpoint,
        "OIDC_OP_TOKEN_ENDPOINT": oidc.token_endpoint,
        "OIDC_OP_USER_ENDPOINT": oidc.user_endpoint,
        "OIDC_RP_CLIENT_ID": oidc.client_id,
        "OIDC_RP_SIGN_ALGO": oidc.sign_algorithm,
        "OIDC_RP_SCOPES": oidc.scopes,
        # Host names are what Django compares; the URLs in Visio's samples match nothing.
        "OIDC_REDIRECT_ALLOWED_HOSTS": site.spec.host,
        "LOGIN_REDIRECT_URL": origin,
        "LOGIN_REDIRECT_URL_FAILURE": origin,
        "LOGOUT_REDIRECT_URL": origin,
    }
    if oidc.logout_endpoint is not None:
        variables["OIDC_OP_LOGOUT_ENDPOINT"] = oidc.logout_endpoint
    # eidas1 is ProConnect's lowest level of assurance, and it wants one to be asked for.
    assurance = oidc.acr_values or ("eidas1" if oidc.pro_connect else "")
    if assurance:
        # A Python literal, as the settings parser wants.
        variables["OIDC_AUTH_REQUEST_EXTRA_PARAMS"] = repr({"acr_values": assurance})
    if oidc.pkce:
        variables["OIDC_USE_PKCE"] = TRUE
    if oidc.name_claims:
        variables["OIDC_USERINFO_FULLNAME_FIELDS"] = ",".join(oidc.name_claims)
    if oidc.short_name_claim is not None:
        variables["OIDC_USERINFO_SHORTNAME_FIELD"] = oidc.short_name_claim
    if oidc.identify_by_email:
        variables["OIDC_FALLBACK_TO_EMAIL_FOR_IDENTIFICATION"] = TRUE
    variables["FRONTEND_USE_PROCONNECT_BUTTON"] = TRUE if oidc.pro_connect else FALSE
    variables["FRONTEND_IS_SILENT_LOGIN_ENABLED"] = TRUE if oidc.silent_login else FALSE
    secret = SecretKey(oidc.secret_ref.name, oidc.secret_ref.key or "clientSecret")
    return [*env(variables), from_secret("OIDC_RP_CLIENT_SECRET", secret)]


def _livekit(site: Site) -> list[Manifest]:
    # One URL for browsers and for the API's own calls, so it has to be the public one.
    return [*livekit_keys(site), *env({"LIVEKIT_API_URL": f"https://{site.spec.livekit_public_host}"})]


def _recording(site: Site, release: Release) -> list[Manifest]:
    media = {"MEDIA_BASE_URL": f"https://{site.spec.host}"}
    recording = site.spec.recording
    if not recording.enabled:
        return env({"RECORDING_ENABLE": FALSE, **(media if site.spec.object_storage.file_uploads else {})})
    hook_is_gone = release.settings.get("recordingStorageEvents") == "gone"
    variables = {
        "RECORDING_ENABLE": TRUE,
        "RECORDING_OUTPUT_FOLDER": "recordings",
        "RECORDING_DOWNLOAD_BASE_URL": f"https://{site.spec.host}/recording",
        # Recordings end by LiveKit's egress_ended webhook, which needs no events of the bucket.
        **({} if hook_is_gone else {"RECORDING_STORAGE_EVENT_ENABLE": FALSE}),
        **media,
    }
    if recording.max_duration is not None:
        # Milliseconds; the recorders have the same limit in their own configuration, and enforce it.
        variables["RECORDING_MAX_DURATION"] = str(seconds(recording.max_duration) * 1000)
    if recording.expiration_days is not None:
        variables["RECORDING_EXPIRATION_DAYS"] = str(recording.expiration_days)
    encoding = recording.encoding
    if encoding is not None:
        variables |= {
            "RECORDING_ENCODING_ENABLED": TRUE,
            "RECORDING_ENCODING_WIDTH": str(encoding.width),
            "RECORDING_ENCODING_HEIGHT": str(encoding.height),
            "RECORDING_ENCODING_FRAMERATE": str(encoding.framerate),
            "RECORDING_ENCODING_VIDEO_BITRATE_KBPS": str(encoding.video_kbps),
            "RECORDING_ENCODING_AUDIO_BITRATE_KBPS": str(encoding.audio_kbps),
        }
    return env(variables)


def _summary(site: Site, release: Release) -> list[Manifest]:
    if not site.spec.transcription.enabled:
        return []
    service = f"http://{object_name(site, 'summary')}"
    version = release.settings.get("summaryVersion", "2")
    variables = {
        # Without a slash at the end, which would cost a redirect.
        "SUMMARY_SERVICE_ENDPOINT": f"{service}/api/v2/async-jobs/transcribe",
        "SUMMARY_SERVICE_VERSION": version,
    }
    if site.spec.docs is not None:
        variables["FRONTEND_TRANSCRIPTION_DESTINATION"] = site.spec.docs.url
    return [
        *env(variables),
        from_secret("SUMMARY_SERVICE_API_TOKEN", keys(site, "summaryApiToken")),
        from_secret("SUMMARY_SERVICE_WEBHOOK_API_TOKEN", keys(site, "summaryWebhookToken")),
    ]


def _agents(site: Site) -> list[Manifest]:
    captions, transcription = site.spec.captions.enabled, site.spec.transcription.enabled
    variables = {
        "ROOM_SUBTITLE_ENABLED": TRUE if captions else FALSE,
        "METADATA_COLLECTOR_ENABLED": TRUE if transcription else FALSE,
    }
    if captions:
        variables["ROOM_SUBTITLE_AGENT_NAME"] = SUBTITLES_AGENT
    if transcription:
        variables["METADATA_COLLECTOR_AGENT_NAME"] = METADATA_AGENT
        variables["METADATA_COLLECTOR_OUTPUT_FOLDER"] = METADATA_FOLDER
    return env(variables)
