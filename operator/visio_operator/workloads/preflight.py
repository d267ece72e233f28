"""The Job that logs in to every server outside, with the same Secrets and from the same network as the parts."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.preflight import PREFLIGHT, outside

from .common import CONNECTIONS, Manifest, Site, env, object_name
from .connections import SecretKey, database, database_tls, from_secret, redis, storage
from .containers import PLAIN, TMP, amounts, container, mount, scratch
from .pods import Pod, job, service_account

_NEVER = 2_147_483_647
"""It tries again, with the kubelet's growing pauses, until the servers answer or the spec changes."""
_GRACE = 5


def preflight(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The Job; its name carries the digest of the connections, so changed ones are checked anew."""
    if plan.part(PREFLIGHT) is None:
        return []
    main = container(
        PREFLIGHT,
        release.images["operator"],
        args=["checks", "connections"],
        env=_environment(site),
        resources=amounts({"cpu": "50m", "memory": "96Mi"}, {"memory": "256Mi"}),
        volumeMounts=[mount("tmp", TMP)],
    )
    pod = Pod(PREFLIGHT, PLAIN, _GRACE, (main,), volumes=(scratch("tmp", "64Mi"),))
    checks = job(site, pod, retries=_NEVER)
    # The kubelet starts it again in the same pod, which keeps the reasons of the last attempt.
    checks["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    del checks["spec"]["activeDeadlineSeconds"]
    checks["metadata"]["name"] = object_name(site, f"{PREFLIGHT}-{plan.connections}")
    checks["metadata"]["annotations"] = {CONNECTIONS: plan.connections}
    return [service_account(site, PREFLIGHT), checks]


def _environment(site: Site) -> list[Manifest]:
    names = outside(site.spec)
    sources = {
        "oidc": _oidc,
        "database": database_env,
        "redis": _redis,
        "objectStorage": _object_storage,
        "mail": _mail,
        "docs": _docs,
        "llm": _llm,
    }
    return [*env({"CHECKS": ",".join(names)}), *(one for name in names for one in sources[name](site))]


def _oidc(site: Site) -> list[Manifest]:
    oidc = site.spec.oidc
    given = {
        "OIDC_JWKS_ENDPOINT": oidc.jwks_endpoint,
        "OIDC_AUTHORIZATION_ENDPOINT": oidc.authorization_endpoint,
        "OIDC_TOKEN_ENDPOINT": oidc.token_endpoint,
        "OIDC_USER_ENDPOINT": oidc.user_endpoint,
        "OIDC_CLIENT_ID": oidc.client_id,
        "OIDC_REDIRECT_URI": f"https://{site.spec.host}/api/v1.0/callback/",
    }
    secret = SecretKey(oidc.secret_ref.name, oidc.secret_ref.key or "clientSecret")
    return [*env(given), from_secret("OIDC_CLIENT_SECRET", secret)]


def database_env(site: Site) -> list[Manifest]:
    """What a check needs to log in to the database."""
    server, spec = database(site), site.spec.database
    given = {
        "DATABASE_HOST": server.host,
        "DATABASE_PORT": str(server.port),
        "DATABASE_NAME": spec.name,
        "DATABASE_USER": spec.user,
    }
    url = spec.url_secret_ref
    if url is not None:
        return [*env(given), *database_tls(site), from_secret("DATABASE_URL", SecretKey(url.name, url.key or "uri"))]
    password = [from_secret("DATABASE_PASSWORD", server.password)] if server.password else []
    return [*env(given), *database_tls(site), *password]


def _redis(site: Site) -> list[Manifest]:
    server = redis(site)
    given = {
        "REDIS_HOST": server.host,
        "REDIS_PORT": str(server.port),
        "REDIS_TLS": "true" if server.tls else "false",
        **({"REDIS_USER": server.user} if server.user else {}),
    }
    return [*env(given), *([from_secret("REDIS_PASSWORD", server.password)] if server.password else [])]


def _object_storage(site: Site) -> list[Manifest]:
    store = storage(site)
    given = {"S3_ENDPOINT": store.url, "S3_REGION": store.region, "S3_BUCKET": site.spec.object_storage.bucket}
    return [
        *env(given),
        from_secret("S3_ACCESS_KEY_ID", store.access_key),
        from_secret("S3_SECRET_ACCESS_KEY", store.secret_key),
    ]


def _mail(site: Site) -> list[Manifest]:
    mail = site.spec.mail
    if mail is None:
        return []
    given = {"MAIL_HOST": mail.host, "MAIL_PORT": str(mail.port), "MAIL_SECURITY": mail.security}
    if mail.user is None or mail.secret_ref is None:
        return env(given)
    password = SecretKey(mail.secret_ref.name, mail.secret_ref.key or "password")
    return [*env({**given, "MAIL_USER": mail.user}), from_secret("MAIL_PASSWORD", password)]


def _docs(site: Site) -> list[Manifest]:
    return env({"DOCS_URL": site.spec.docs.url}) if site.spec.docs else []


def _llm(site: Site) -> list[Manifest]:
    llm = site.spec.llm
    if llm is None:
        return []
    key = SecretKey(llm.secret_ref.name, llm.secret_ref.key or "apiKey")
    return [*env({"LLM_URL": llm.url, "LLM_MODEL": llm.model}), from_secret("LLM_API_KEY", key)]
