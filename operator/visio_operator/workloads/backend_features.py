"""What an administration chooses about its platform, as the API's settings name it (facts/visio.md 1).

Most of it is handed on to browsers by the API, so the front end itself needs no environment.
"""

from __future__ import annotations

from .common import Manifest, Site, env
from .connections import SecretKey, from_secret, keys

TRUE, FALSE = "True", "False"
_LOGO = "/assets/logo-suite-numerique.png"
"""La Suite's logo, which every front end serves."""


def features_env(site: Site) -> list[Manifest]:
    """Mail, looks, rooms, and what others may connect."""
    return [
        *_mail(site),
        *_branding(site),
        *_rooms(site),
        *_telephony(site),
        *_room_kits(site),
        *_external_api(site),
        *_sentry(site),
    ]


def _mail(site: Site) -> list[Manifest]:
    mail, branding = site.spec.mail, site.spec.branding
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
        "DJANGO_EMAIL_BRAND_NAME": branding.name,
        "DJANGO_EMAIL_SUPPORT_EMAIL": branding.support_email or mail.sender,
        "DJANGO_EMAIL_LOGO_IMG": branding.mail_logo_url or f"https://{site.spec.host}{_LOGO}",
    }
    if mail.user is not None:
        variables["DJANGO_EMAIL_HOST_USER"] = mail.user
    if mail.secret_ref is None:
        return env(variables)
    password = SecretKey(mail.secret_ref.name, mail.secret_ref.key or "password")
    return [*env(variables), from_secret("DJANGO_EMAIL_HOST_PASSWORD", password)]


def _branding(site: Site) -> list[Manifest]:
    branding = site.spec.branding
    chosen = {
        "FRONTEND_CUSTOM_CSS_URL": branding.custom_css_url,
        "FRONTEND_EXTERNAL_HOME_URL": branding.home_url,
        "FRONTEND_DOCUMENTATION_URL": branding.documentation_url,
        # A Python literal, as the settings parser wants.
        "FRONTEND_FEEDBACK": repr({"url": branding.feedback_url}) if branding.feedback_url else None,
    }
    return env(
        {
            "DJANGO_LANGUAGE_CODE": branding.language,
            "FRONTEND_USE_FRENCH_GOV_FOOTER": TRUE if branding.french_government_footer else FALSE,
            **{name: value for name, value in chosen.items() if value is not None},
        }
    )


def _rooms(site: Site) -> list[Manifest]:
    rooms = site.spec.rooms
    return env(
        {
            "ALLOW_UNREGISTERED_ROOMS": TRUE if rooms.allow_unregistered else FALSE,
            "RESOURCE_DEFAULT_ACCESS_LEVEL": rooms.default_access,
        }
    )


def _telephony(site: Site) -> list[Manifest]:
    telephony = site.spec.telephony
    if telephony is None:
        return env({"ROOM_TELEPHONY_ENABLED": FALSE})
    return env(
        {
            "ROOM_TELEPHONY_ENABLED": TRUE,
            "ROOM_TELEPHONY_PHONE_NUMBER": telephony.phone_number,
            "ROOM_TELEPHONY_DEFAULT_COUNTRY": telephony.country,
            "ROOM_TELEPHONY_PIN_LENGTH": str(telephony.pin_length),
        }
    )


def _room_kits(site: Site) -> list[Manifest]:
    kits = site.spec.room_kits
    if kits is None:
        return env({"ROOMKIT_ENABLED": FALSE})
    token = SecretKey(kits.secret_ref.name, kits.secret_ref.key or "token")
    return [*env({"ROOMKIT_ENABLED": TRUE}), from_secret("ROOMKIT_SERVER_TO_SERVER_API_TOKEN", token)]


def _external_api(site: Site) -> list[Manifest]:
    api = site.spec.external_api
    if api is None:
        return env({"EXTERNAL_API_ENABLED": FALSE, "APPLICATION_ENABLED": FALSE})
    origin = f"https://{site.spec.host}"
    variables = {
        "EXTERNAL_API_ENABLED": TRUE,
        "EXTERNAL_API_DEFAULT_ACCESS_LEVEL": api.default_access,
        "APPLICATION_ENABLED": TRUE,
        "APPLICATION_BASE_URL": origin,
        "APPLICATION_JWT_AUDIENCE": api.audience or origin,
        "APPLICATION_ALLOW_USER_CREATION": TRUE if api.create_users else FALSE,
    }
    return [*env(variables), from_secret("APPLICATION_JWT_SECRET_KEY", keys(site, "applicationJwtKey"))]


def _sentry(site: Site) -> list[Manifest]:
    return sentry_env(site, "DJANGO_SENTRY_DSN")


def sentry_env(site: Site, name: str) -> list[Manifest]:
    """Where errors are reported, under the name that the program gives it; nothing unless the user asked for it."""
    sentry = site.spec.sentry
    if sentry is None:
        return []
    return [from_secret(name, SecretKey(sentry.secret_ref.name, sentry.secret_ref.key or "dsn"))]
