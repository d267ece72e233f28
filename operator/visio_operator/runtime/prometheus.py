"""Ask a server with the HTTP API of Prometheus.

A PrometheusError says what is wrong in words that may be shown: they hold no credential, nothing that the server wrote,
and no time, so that status does not change while the same thing is wrong.
"""

from __future__ import annotations

import json
import re
import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import aiohttp

from visio_operator.api.signals import Prometheus
from visio_operator.workloads.common import Site

from . import trust
from .kube import Kube
from .memory import Memory
from .secret_values import decode

LARGEST = 16 * 2**20
"""Bytes of an answer; what a pass asks for has some 100 kB with a hundred media servers."""
TIMEOUT = aiohttp.ClientTimeout(total=2.0, sock_connect=1.0)
"""What a pass waits; the servers can be asked themselves."""
_ERROR_TYPE = re.compile(r"[a-z_]{1,32}")


class PrometheusError(Exception):
    """The server did not say what it was asked for."""


@dataclass(frozen=True)
class Connection:
    """A server and how to come in."""

    url: str
    matchers: Mapping[str, str]
    """Labels that every series must have: the namespace, and what singles out the cluster."""
    auth: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers with the credentials; never shown."""
    context: ssl.SSLContext | None = field(default=None, repr=False)
    """Whom to trust; None for the authorities of this image."""

    def selector(self, name: str, pods: str) -> str:
        """A selector of series by patterns of their name and pod."""
        equal = "".join(f",{label}={json.dumps(value)}" for label, value in self.matchers.items())
        return f"{{__name__=~{json.dumps(name)},pod=~{json.dumps(pods)}{equal}}}"


@dataclass(frozen=True)
class Series:
    """The samples of one series, the oldest first, each with its own time in unix seconds."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


async def connect(kube: Kube, site: Site, given: Prometheus, memory: Memory) -> Connection:
    """How to reach the server. Raises PrometheusError when something for it is missing, KubeError when the API server
    cannot be asked.
    """
    matchers = {"namespace": site.namespace, **given.labels}
    return Connection(
        given.url.rstrip("/"), matchers, await _auth(kube, site, given), await _context(kube, site, given, memory)
    )


async def _auth(kube: Kube, site: Site, given: Prometheus) -> dict[str, str]:
    ref = given.secret_ref
    if ref is None:
        return {}
    key = ref.key or ("token" if given.user is None else "password")
    secret = decode(((await kube.get("Secret", ref.name, site.namespace)) or {}).get("data")).get(key, "").strip()
    if not secret:
        raise PrometheusError(f"Secret {ref.name} with the key {key} for Prometheus does not exist")
    if any(ord(sign) < 32 or ord(sign) > 126 for sign in secret) and given.user is None:
        raise PrometheusError(f"the key {key} of Secret {ref.name} is no token")
    if given.user is None:
        return {"Authorization": f"Bearer {secret}"}
    return {"Authorization": f"Basic {b64encode(f'{given.user}:{secret}'.encode()).decode()}"}


async def _context(kube: Kube, site: Site, given: Prometheus, memory: Memory) -> ssl.SSLContext | None:
    bundle = site.spec.ca_bundle
    if bundle is None or not given.url.startswith("https://"):
        return None
    found = await kube.get("ConfigMap", bundle.config_map, site.namespace)
    try:
        return trust.only(bundle, (found or {}).get("data") or {}, memory)
    except ValueError as problem:
        raise PrometheusError(f"{problem}, so Prometheus cannot be trusted") from None


async def query(
    session: aiohttp.ClientSession,
    connection: Connection,
    path: str,
    parameters: Mapping[str, str],
    timeout: aiohttp.ClientTimeout | None = None,
) -> list[Series]:
    """The matrix that a query of `query` or `query_range` gives. Raises PrometheusError."""
    where = f"Prometheus at {connection.url}"
    try:
        async with session.get(
            f"{connection.url}/api/v1/{path}",
            params=parameters,
            headers=connection.auth,
            ssl=connection.context or True,
            timeout=timeout or TIMEOUT,
            # Credentials go where the user said and nowhere else.
            allow_redirects=False,
        ) as answer:
            body = await _body(answer)
    except aiohttp.ClientConnectorCertificateError:
        raise PrometheusError(f"the certificate of {where} is not trusted; put its authority into caBundle") from None
    except TimeoutError:
        raise PrometheusError(f"{where} does not answer in time") from None
    except (aiohttp.ClientError, OSError, RuntimeError):
        # A session that is closed meanwhile, as at the end of the process, raises RuntimeError.
        raise PrometheusError(f"{where} cannot be reached") from None
    if body is None:
        raise PrometheusError(f"{where} answers with more than {LARGEST // 2**20} MiB")
    if answer.status != 200:
        raise PrometheusError(f"{where} answers {answer.status}{_error_type(body)}")
    try:
        return parse(body)
    except ValueError as error:
        raise PrometheusError(f"{where} answers {error}") from None


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    parts = bytearray()
    async for part in answer.content.iter_chunked(2**16):
        parts += part
        if len(parts) > LARGEST:
            return None
    return bytes(parts)


def _error_type(body: bytes) -> str:
    """The kind of error, one word of a known alphabet: its text may repeat anything, so it is not shown."""
    try:
        kind = json.loads(body).get("errorType")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return f" ({kind})" if isinstance(kind, str) and _ERROR_TYPE.fullmatch(kind) else ""


def parse(body: bytes) -> list[Series]:
    """The series of an answer. Samples that are no finite numbers, and series without a sample, are left out.

    Raises ValueError with what the answer is instead.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("with something else than JSON") from None
    data = document.get("data") if isinstance(document, dict) and document.get("status") == "success" else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(data.get("result"), list):
        raise ValueError("with something else than a matrix")
    found = []
    for entry in data["result"]:
        labels = entry.get("metric") if isinstance(entry, dict) else None
        if not isinstance(labels, dict):
            continue
        samples = tuple(_samples(entry.get("values")))
        if samples:
            found.append(Series({str(name): str(value) for name, value in labels.items()}, samples))
    return found


def _samples(values: Any) -> Iterable[tuple[float, float]]:
    for pair in values if isinstance(values, list) else ():
        try:
            at, value = pair
            sample = float(at), float(value)
        except (TypeError, ValueError):
            continue
        if all(map(isfinite, sample)):
            yield sample
