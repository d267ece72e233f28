"""Checks of what holds data: PostgreSQL, Redis, object storage."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from xml.etree.ElementTree import ParseError

import asyncpg
import redis.asyncio
import redis.exceptions
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from visio_checks.fault import Fault, unreachable

Environ = Mapping[str, str]
ANSWER_S = 6.0
LIBPQ_ONLY = frozenset(
    {
        "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "channel_binding", "gssencmode", "sslcompression", "sslsni", "sslnegotiation",
        "load_balance_hosts", "require_auth",
    }
)  # fmt: skip
"""Parameters of libpq that managed services put into their URLs, and that are no settings of servers."""
WRONG_REGION = (
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
)
"""What S3 servers answer to a signature for another region."""


async def database(environ: Environ) -> str:
    """Log in to PostgreSQL and ask whether the role may make tables, as migrations do."""
    connection = await _connect(environ)
    try:
        if not await connection.fetchval("SELECT has_schema_privilege('public', 'CREATE')"):
            raise Fault(
                "spec.database.user",
                "the role may not create tables in the schema public",
                "make it the owner of the database, or GRANT CREATE ON SCHEMA public",
            )
        return f"PostgreSQL {connection.get_server_version().major}"
    finally:
        await connection.close(timeout=1)


async def users(environ: Environ) -> str:
    """See that no two accounts without a subject share an address, which 1.18's migration does not survive.

    Source: facts/visio.md 9, the migration that makes lower(email) unique where sub is null.
    """
    connection = await _connect(environ)
    try:
        found = await connection.fetchval(
            "SELECT count(*) FROM (SELECT lower(email) FROM meet_user WHERE sub IS NULL AND email IS NOT NULL"
            " GROUP BY lower(email) HAVING count(*) > 1) AS shared"
        )
    finally:
        await connection.close(timeout=1)
    if found:
        # Only how many: the addresses are personal data.
        raise Fault(
            "spec.version",
            f"{found} e-mail addresses belong to several accounts without a subject, which the migration refuses",
            "run `python manage.py merge_duplicate_users` in a pod of the API",
        )
    return "no two accounts share an address"


async def _connect(environ: Environ) -> asyncpg.Connection[asyncpg.Record]:
    url = environ.get("DATABASE_URL")
    where = f"{environ['DATABASE_HOST']}:{environ['DATABASE_PORT']}" if url is None else "the server of the URL"
    field = "spec.database.host" if url is None else "spec.database.urlSecretRef"
    secret = "spec.database.secretRef" if url is None else field
    try:
        return await (
            asyncpg.connect(without_libpq_options(url), timeout=ANSWER_S)
            if url is not None
            else asyncpg.connect(
                host=environ["DATABASE_HOST"],
                port=int(environ["DATABASE_PORT"]),
                database=environ["DATABASE_NAME"],
                user=environ["DATABASE_USER"],
                password=environ["DATABASE_PASSWORD"],
                timeout=ANSWER_S,
            )
        )
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        raise Fault(secret, f"{where} does not accept the role with this password", "correct user or Secret") from None
    except asyncpg.InvalidCatalogNameError:
        problem = f"{where} has no database {environ.get('DATABASE_NAME', 'of this name')}"
        raise Fault("spec.database.name", problem, "create it, owned by the role, or correct the name") from None
    except asyncpg.TooManyConnectionsError:
        raise Fault(field, f"{where} has no connection left", "raise max_connections") from None
    except ValueError:
        raise Fault(field, "the URL is none of PostgreSQL", "use postgres://user:password@host:5432/name") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise unreachable(field, where, error) from None


def without_libpq_options(url: str) -> str:
    """A PostgreSQL URL without what concerns libpq alone, which asyncpg would take for settings of the server."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in LIBPQ_ONLY]
    return urlunsplit(parts._replace(query=urlencode(kept)))


async def redis_server(environ: Environ) -> str:
    """Log in to Redis, and see that it will not throw queued jobs away when its memory is full."""
    host, port, tls = environ["REDIS_HOST"], int(environ["REDIS_PORT"]), environ.get("REDIS_TLS") == "true"
    where = f"{host}:{port}"
    client = redis.asyncio.Redis(
        host=host,
        port=port,
        username=environ.get("REDIS_USER") or None,
        password=environ.get("REDIS_PASSWORD") or None,
        ssl=tls,
        socket_connect_timeout=ANSWER_S,
        socket_timeout=ANSWER_S,
        # The whole check is tried again, with its own pause.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        await client.ping()
        info = await _memory(client)
    except redis.exceptions.AuthenticationError:
        problem = f"{where} does not accept this user and password, or wants one"
        raise Fault("spec.redis.secretRef", problem, "put the password into the Secret") from None
    except redis.exceptions.RedisError as error:
        if "wrong version number" in str(error).lower() or "record layer" in str(error).lower():
            raise Fault("spec.redis.tls", f"{where} does not speak TLS", "set tls to false, or its TLS port") from None
        if "closed by server" in str(error) and not tls:
            raise Fault("spec.redis.tls", f"{where} hangs up on plain text", "set tls to true") from None
        raise unreachable("spec.redis.host", where, error) from None
    except OSError as error:
        raise unreachable("spec.redis.host", where, error) from None
    finally:
        await client.aclose()
    policy = str(info.get("maxmemory_policy", "and does not tell this user what it evicts"))
    if int(info.get("maxmemory", 0)) > 0 and policy.startswith("allkeys"):
        problem = f"{where} evicts any key when its memory is full ({policy}), queued jobs among them"
        raise Fault("spec.redis.host", problem, "set its maxmemory-policy to noeviction or a volatile one")
    return f"Redis answers, {policy}"


async def _memory(client: redis.asyncio.Redis) -> dict[str, Any]:
    """What the server tells of its memory; nothing to users whose access list keeps such commands from them."""
    try:
        return dict(await client.info("memory"))
    except redis.exceptions.NoPermissionError:
        return {}


async def object_storage(environ: Environ) -> str:
    """See the bucket with the keys, under the scheme and region that are configured."""
    return await asyncio.to_thread(_bucket, environ)


def _bucket(environ: Environ) -> str:
    url, bucket = environ["S3_ENDPOINT"], environ["S3_BUCKET"]
    parts = urlsplit(url)
    client = Minio(
        parts.netloc,
        access_key=environ["S3_ACCESS_KEY_ID"],
        secret_key=environ["S3_SECRET_ACCESS_KEY"],
        region=environ["S3_REGION"],
        secure=parts.scheme == "https",
        http_client=urllib3.PoolManager(
            timeout=ANSWER_S, retries=False, ssl_context=ssl.create_default_context(), cert_reqs="CERT_REQUIRED"
        ),
    )
    try:
        # HEAD answers have no body to tell why; an empty listing has.
        next(iter(client.list_objects(bucket, prefix="preflight/")), None)
    except S3Error as error:
        raise _refused(error, environ, parts.netloc) from None
    except (MinioException, ParseError, ValueError) as error:
        _spoke_otherwise(parts.scheme, url, error)
    except urllib3.exceptions.SSLError as error:
        if (
            "wrong_version" in str(error).lower()
            or "record layer" in str(error).lower()
            or "http request" in str(error)
        ):
            problem = f"{parts.netloc} speaks plain HTTP, and the endpoint says https"
            raise Fault("spec.objectStorage.endpoint", problem, f"use http://{parts.netloc}") from None
        raise unreachable("spec.objectStorage.endpoint", parts.netloc, error) from None
    except urllib3.exceptions.ProtocolError as error:
        _spoke_otherwise(parts.scheme, url, error)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise unreachable("spec.objectStorage.endpoint", parts.netloc, error) from None
    return f"bucket {bucket} answers"


def _spoke_otherwise(scheme: str, url: str, error: BaseException) -> NoReturn:
    """What answers is no S3 server in this scheme; servers of TLS refuse plain text or hang up on it."""
    where = urlsplit(url).netloc
    if scheme == "http":
        problem = f"{where} does not answer plain HTTP as S3 does ({str(error)[:80]})"
        raise Fault("spec.objectStorage.endpoint", problem, f"use https://{where}") from None
    raise Fault("spec.objectStorage.endpoint", f"{where} is no S3 server", "correct the URL") from None


def _refused(error: S3Error, environ: Environ, where: str) -> Fault:
    code = error.code or ""
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "InvalidToken"):
        problem = f"{where} does not accept the keys for bucket {environ['S3_BUCKET']} ({code})"
        return Fault("spec.objectStorage.secretRef", problem, "put valid keys with rights on the bucket in the Secret")
    if code == "NoSuchBucket":
        problem = f"there is no bucket {environ['S3_BUCKET']} at {where}"
        return Fault("spec.objectStorage.bucket", problem, "create it, or correct the name")
    if code in (
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "AuthorizationQueryParametersError",
    ):
        problem = f"{where} refuses the region {environ['S3_REGION']}: {error.message}"
        return Fault("spec.objectStorage.region", problem, "use the region that the server names")
    return Fault("spec.objectStorage.endpoint", f"{where} answers {code}: {error.message}", "correct the endpoint")
