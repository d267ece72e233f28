"""The environment of the API's image: one set, which its server, its worker and its Jobs share (facts/visio.md 1)."""

from __future__ import annotations

from visio_operator.plan.plan import Release

from .common import Manifest, Site, env, object_name
from .connections import (
    SecretKey,
    database_env,
    from_secret,
    keys,
    livekit_keys,
    redis_password,
    redis_urls,
    storage_env,
)

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
        *_recording(site),
        *_summary(site, release),
        *_agents(site),
        *_mail(site),
        *_frontend(site),
    ]


def base_env(site: Site, release: Release) -> list[Manifest]:
    """What every command of the image needs: Django itself, the database, Redis and the object store."""
    host = site.spec.host
    core = {
        # Without it Visio starts in its Development configuration, with debugging on.
        "DJANGO_CONFIGURATION": "Production",
        "DJANGO_SETTINGS_MODULE": "meet.settings",
        "DJANGO_ALLOWED_HOSTS": host,
        "DJANGO_CSRF_TRUSTED_ORIGINS": f"https://{host}",
    }
    queue = release.settings.get("backendQueue", "meet-backend")
    return [
        *env(core),
        from_secret("DJANGO_SECRET_KEY", keys(site, "djangoSecretKey")),
        *database_env(site),
        *redis_password(site),
        *redis_urls(site, "REDIS_URL", celery=False),
        *redis_urls(site, "CELERY_BROKER_URL", celery=True),
        *env({"CELERY_ENABLED": TRUE, "CELERY_TASK_DEFAULT_QUEUE": queue}),
        *storage_env(site),
    ]


def _oidc(site: Site) -> list[Manifest]:
    oidc = site.spec.oidc
    origin = f"https://{site.spec.host}"
    variables = {
        "OIDC_OP_JWKS_ENDPOINT": oidc.jwks_endpoint,
        "OIDC_OP_AUTHORIZATION_ENDPOINT": oidc.authorization_endpoint,
        "OIDC_OP_TOKEN_ENDPOINT": oidc.token_endpoint,
        "OIDC_OP_USER_ENDPOINT": oidc.user_endpoint,
        "OIDC_RP_CLIENT_ID": oidc.client_id,
        "OIDC_RP_SIGN_ALGO": "RS256",
        "OIDC_RP_SCOPES": oidc.scopes,
        # Host names are what Django compares; the URLs in Visio's samples match nothing.
        "OIDC_REDIRECT_ALLOWED_HOSTS": site.spec.host,
        "LOGIN_REDIRECT_URL": origin,
        "LOGIN_REDIRECT_URL_FAILURE": origin,
        "LOGOUT_REDIRECT_URL": origin,
    }
    if oidc.logout_endpoint is not None:
        variables["OIDC_OP_LOGOUT_ENDPOINT"] = oidc.logout_endpoint
    if oidc.pro_connect:
        # A Python literal, as the settings parser wants; eidas1 is ProConnect's lowest level of assurance.
        variables["OIDC_AUTH_REQUEST_EXTRA_PARAMS"] = "{'acr_values': 'eidas1'}"
    secret = SecretKey(oidc.secret_ref.name, oidc.secret_ref.key or "clientSecret")
    return [*env(variables), from_secret("OIDC_RP_CLIENT_SECRET", secret)]


def _livekit(site: Site) -> list[Manifest]:
    # One URL for browsers and for the API's own calls, so it has to be the public one.
    return [*livekit_keys(site), *env({"LIVEKIT_API_URL": f"https://{site.spec.livekit_public_host}"})]


def _recording(site: Site) -> list[Manifest]:
    if not site.spec.recording.enabled:
        return env({"RECORDING_ENABLE": FALSE})
    return env(
        {
            "RECORDING_ENABLE": TRUE,
            "RECORDING_OUTPUT_FOLDER": "recordings",
            "RECORDING_DOWNLOAD_BASE_URL": f"https://{site.spec.host}/recording",
            # Recordings end by LiveKit's egress_ended webhook, which needs no events of the bucket.
            "RECORDING_STORAGE_EVENT_ENABLE": FALSE,
            "MEDIA_BASE_URL": f"https://{site.spec.host}",
        }
    )


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


def _mail(site: Site) -> list[Manifest]:
    mail = site.spec.mail
    if mail is None:
        return []
    variables = {
        "DJANGO_EMAIL_HOST": mail.host,
        "DJANGO_EMAIL_PORT": str(mail.port),
        "DJANGO_EMAIL_FROM": mail.sender,
        "DJANGO_EMAIL_USE_TLS": TRUE if mail.security == "startTLS" else FALSE,
        "DJANGO_EMAIL_USE_SSL": TRUE if mail.security == "TLS" else FALSE,
        "DJANGO_EMAIL_DOMAIN": site.spec.host,
        "DJANGO_EMAIL_APP_BASE_URL": f"https://{site.spec.host}",
        # The text of the mails prints these three as they are: an unset one reads "None".
        "DJANGO_EMAIL_BRAND_NAME": "Visio",
        "DJANGO_EMAIL_SUPPORT_EMAIL": mail.sender,
        "DJANGO_EMAIL_LOGO_IMG": f"https://{site.spec.host}/assets/logo-suite-numerique.png",
    }
    if mail.user is not None:
        variables["DJANGO_EMAIL_HOST_USER"] = mail.user
    if mail.secret_ref is None:
        return env(variables)
    password = SecretKey(mail.secret_ref.name, mail.secret_ref.key or "password")
    return [*env(variables), from_secret("DJANGO_EMAIL_HOST_PASSWORD", password)]


def _frontend(site: Site) -> list[Manifest]:
    """Settings that the API hands to browsers."""
    return env({"FRONTEND_USE_PROCONNECT_BUTTON": TRUE if site.spec.oidc.pro_connect else FALSE})
