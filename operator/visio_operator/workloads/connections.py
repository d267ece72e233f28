"""Where the services that the parts talk to are, and the environment that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from visio_operator.plan.secrets import (
    CELERY_URL,
    LIVEKIT_API_KEY,
    LIVEKIT_API_SECRET,
    REDIS_DB,
    REDIS_URL,
    composed_secret,
    keys_secret,
    redis_url,
)

from .common import Expanded, Manifest, Site, env, env_secret, object_name
from .trust import BUNDLE_FILE

LIVEKIT_PORT = 7880
GARAGE_PORT = 3900
GARAGE_REGION = "us-east-1"
"""What the summary service and the metadata collector sign for up to 1.32; Garage refuses any region but its own."""
_SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Of Alpine and Debian alike."""
LIVEKIT_REDIS_DB = 0
VISIO_REDIS_DB = REDIS_DB


@dataclass(frozen=True)
class SecretKey:
    """One value: a Secret and a key inside it."""

    secret: str
    key: str


@dataclass(frozen=True)
class Endpoint:
    """A server, ours or somebody else's."""

    host: str
    port: int
    part: str | None = None
    """The part that it is, when it is embedded."""
    tls: bool = False
    password: SecretKey | None = None
    user: str = ""


@dataclass(frozen=True)
class Storage:
    """The object store and the keys for it."""

    endpoint: Endpoint
    url: str
    region: str
    access_key: SecretKey
    secret_key: SecretKey

    @property
    def authority(self) -> str:
        """Host and port as they stand in the URL, which is what request signatures cover."""
        return urlsplit(self.url).netloc


def keys(site: Site, key: str) -> SecretKey:
    """One of the keys that the parts share, from the generated Secret or the user's."""
    return SecretKey(keys_secret(site.name, site.spec), key)


def composed(site: Site, key: str) -> SecretKey:
    """One of the texts that the operator composes, since they contain a secret."""
    return SecretKey(composed_secret(site.name), key)


def from_secret(name: str, source: SecretKey) -> Manifest:
    """An environment variable from a SecretKey."""
    return env_secret(name, source.secret, source.key)


def database(site: Site) -> Endpoint:
    """The PostgreSQL server."""
    spec = site.spec.database
    if spec.embedded is not None or spec.host is None:
        host = object_name(site, "postgres")
        return Endpoint(host, 5432, "postgres", password=SecretKey(host, "password"))
    password = SecretKey(spec.secret_ref.name, spec.secret_ref.key or "password") if spec.secret_ref else None
    return Endpoint(spec.host, spec.port, tls=spec.tls, password=password)


def redis(site: Site) -> Endpoint:
    """The Redis server, which LiveKit, egress, the API and the summary workers share."""
    spec = site.spec.redis
    if spec.embedded is not None or spec.host is None:
        host = object_name(site, "redis")
        return Endpoint(host, 6379, "redis", password=SecretKey(host, "password"))
    password = SecretKey(spec.secret_ref.name, spec.secret_ref.key or "password") if spec.secret_ref else None
    return Endpoint(spec.host, spec.port, tls=spec.tls, password=password, user=spec.user or "")


def storage(site: Site) -> Storage:
    """The S3-compatible object store."""
    spec = site.spec.object_storage
    if spec.embedded is not None or spec.endpoint is None:
        host = object_name(site, "garage")
        endpoint = Endpoint(host, GARAGE_PORT, "garage")
        url, region, secret = f"http://{host}:{GARAGE_PORT}", GARAGE_REGION, host
    else:
        endpoint, url, region = of_url(spec.endpoint), spec.endpoint.rstrip("/"), spec.region
        secret = spec.secret_ref.name if spec.secret_ref else ""
    return Storage(endpoint, url, region, SecretKey(secret, "accessKeyId"), SecretKey(secret, "secretAccessKey"))


def of_url(url: str) -> Endpoint:
    """The server that a URL with scheme http or https names."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Endpoint(parts.hostname or "", parts.port or (443 if tls else 80), tls=tls)


def database_env(site: Site) -> list[Manifest]:
    """`DB_*` of the API, whose values go by name, so that a password may hold any character; or the user's own URL."""
    server, spec = database(site), site.spec.database
    variables = {"DB_HOST": server.host, "DB_PORT": str(server.port), "DB_NAME": spec.name, "DB_USER": spec.user}
    tls = database_tls(site)
    url = spec.url_secret_ref
    if url is not None:
        return [from_secret("DATABASE_URL", SecretKey(url.name, url.key or "uri")), *tls]
    return [*env(variables), *([from_secret("DB_PASSWORD", server.password)] if server.password else []), *tls]


def database_tls(site: Site) -> list[Manifest]:
    """What clients of PostgreSQL read themselves (libpq, asyncpg), under a URL too: a trusted certificate of its name.

    A file, since psycopg brings an OpenSSL of its own that does not know where the image keeps certificates.
    """
    if not site.spec.database.tls:
        return []
    trusted = BUNDLE_FILE if site.spec.ca_bundle is not None else _SYSTEM_CERTIFICATES
    return env({"PGSSLMODE": "verify-full", "PGSSLROOTCERT": trusted})


def redis_password(site: Site) -> list[Manifest]:
    """`REDIS_PASSWORD`, and that of the Sentinels; they stand before what `livekit_redis` is expanded from."""
    password, sentinel = redis(site).password, site.spec.redis.sentinel
    ref = sentinel.secret_ref if sentinel else None
    return [
        *([from_secret("REDIS_PASSWORD", password)] if password else []),
        *([from_secret("REDIS_SENTINEL_PASSWORD", SecretKey(ref.name, ref.key or "password"))] if ref else []),
    ]


def redis_urls(site: Site, *names: str, celery: bool) -> list[Manifest]:
    """URLs of Visio's logical database; one with a password in it is a Secret of its own."""
    if redis(site).password:
        return [from_secret(name, composed(site, CELERY_URL if celery else REDIS_URL)) for name in names]
    url = "".join(str(piece) for piece in redis_url(site.name, site.spec, (), celery=celery))
    return env(dict.fromkeys(names, url))


def storage_env(site: Site, endpoint: str | None = None, *, region: bool = True) -> list[Manifest]:
    """`AWS_*` as all of Visio's programs name them; `endpoint` where one wants it in another spelling, `region` False
    where a release of the program reads none."""
    store = storage(site)
    variables = {
        "AWS_S3_ENDPOINT_URL": endpoint or store.url,
        **({"AWS_S3_REGION_NAME": store.region} if region else {}),
        "AWS_STORAGE_BUCKET_NAME": site.spec.object_storage.bucket,
    }
    return [
        *env(variables),
        from_secret("AWS_S3_ACCESS_KEY_ID", store.access_key),
        from_secret("AWS_S3_SECRET_ACCESS_KEY", store.secret_key),
    ]


def livekit_keys(site: Site) -> list[Manifest]:
    """The key pair with which tokens are signed now; see `plan.rotation`."""
    return [
        from_secret("LIVEKIT_API_KEY", composed(site, LIVEKIT_API_KEY)),
        from_secret("LIVEKIT_API_SECRET", composed(site, LIVEKIT_API_SECRET)),
    ]


def livekit_url(site: Site) -> str:
    """LiveKit inside the cluster, for egress and agents."""
    return f"ws://{object_name(site, 'sfu')}:{LIVEKIT_PORT}"


def livekit_redis(site: Site, password: str | None = None) -> Mapping[str, Any]:
    """The `redis` section of LiveKit's and egress's configuration; `password` where the program takes no variable."""
    server, sentinel = redis(site), site.spec.redis.sentinel
    section: dict[str, Any] = {"db": LIVEKIT_REDIS_DB}
    if sentinel is None:
        section = {"address": f"{server.host}:{server.port}", **section}
    else:
        section |= {"sentinel_master_name": sentinel.master_name, "sentinel_addresses": list(sentinel.addresses)}
        if sentinel.secret_ref is not None:
            section["sentinel_password"] = Expanded("$(REDIS_SENTINEL_PASSWORD)")
    if server.user:
        section["username"] = server.user
    if password is not None and server.password:
        section["password"] = password
    if server.tls:
        section["use_tls"] = True
    return section
