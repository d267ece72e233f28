"""Where the services that the parts talk to are, and the environment that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .common import Manifest, Site, env, env_composed, env_secret, object_name

LIVEKIT_PORT = 7880
GARAGE_PORT = 3900
GARAGE_REGION = "us-east-1"
"""What the summary service and the metadata collector sign for up to 1.32; Garage refuses any region but its own."""
LIVEKIT_REDIS_DB = 0
VISIO_REDIS_DB = 1
"""Cache, sessions, queues and task tracker, as in all of Visio's samples; the operator reads the queues there."""


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
    """One of the keys that the parts share, from the generated Secret."""
    return SecretKey(f"{site.name}-keys", key)


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
    return Endpoint(spec.host, spec.port, password=password)


def redis(site: Site) -> Endpoint:
    """The Redis server, which LiveKit, egress, the API and the summary workers share."""
    spec = site.spec.redis
    if spec.embedded is not None or spec.host is None:
        host = object_name(site, "redis")
        return Endpoint(host, 6379, "redis", password=SecretKey(host, "password"))
    password = SecretKey(spec.secret_ref.name, spec.secret_ref.key or "password") if spec.secret_ref else None
    return Endpoint(spec.host, spec.port, tls=spec.tls, password=password)


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
    """`DB_*` of the API; the values go by name, so a password may hold any character."""
    server = database(site)
    spec = site.spec.database
    variables = env({"DB_HOST": server.host, "DB_PORT": str(server.port), "DB_NAME": spec.name, "DB_USER": spec.user})
    return [*variables, *([from_secret("DB_PASSWORD", server.password)] if server.password else [])]


def redis_password(site: Site) -> list[Manifest]:
    """`REDIS_PASSWORD`, where there is one; it stands before the variables that are composed from it."""
    password = redis(site).password
    return [from_secret("REDIS_PASSWORD", password)] if password else []


def redis_urls(site: Site, *names: str, celery: bool) -> list[Manifest]:
    """URLs of Visio's logical database; the kubelet puts the password in, which therefore must be safe in a URL.

    Celery refuses a TLS URL that does not say how certificates are checked; other clients check them by default.
    """
    server = redis(site)
    login = ":$(REDIS_PASSWORD)@" if server.password else ""
    scheme, query = ("rediss", "?ssl_cert_reqs=required") if server.tls else ("redis", "")
    url = f"{scheme}://{login}{server.host}:{server.port}/{VISIO_REDIS_DB}{query if celery else ''}"
    return [env_composed(name, url) for name in names]


def storage_env(site: Site, endpoint: str | None = None) -> list[Manifest]:
    """`AWS_*` as all of Visio's programs name them; `endpoint` where one wants it in another spelling."""
    store = storage(site)
    return [
        *env(
            {
                "AWS_S3_ENDPOINT_URL": endpoint or store.url,
                "AWS_S3_REGION_NAME": store.region,
                "AWS_STORAGE_BUCKET_NAME": site.spec.object_storage.bucket,
            }
        ),
        from_secret("AWS_S3_ACCESS_KEY_ID", store.access_key),
        from_secret("AWS_S3_SECRET_ACCESS_KEY", store.secret_key),
    ]


def livekit_keys(site: Site) -> list[Manifest]:
    """The key pair of LiveKit's API."""
    return [
        from_secret("LIVEKIT_API_KEY", keys(site, "livekitApiKey")),
        from_secret("LIVEKIT_API_SECRET", keys(site, "livekitApiSecret")),
    ]


def livekit_url(site: Site) -> str:
    """LiveKit inside the cluster, for egress and agents."""
    return f"ws://{object_name(site, 'sfu')}:{LIVEKIT_PORT}"


def livekit_redis(site: Site, password: str | None = None) -> Mapping[str, str | int | bool]:
    """The `redis` section of LiveKit's and egress's configuration; `password` where the program takes no variable."""
    server = redis(site)
    section: dict[str, str | int | bool] = {"address": f"{server.host}:{server.port}", "db": LIVEKIT_REDIS_DB}
    if password is not None and server.password:
        section["password"] = password
    if server.tls:
        section["use_tls"] = True
    return section
