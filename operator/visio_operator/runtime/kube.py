"""The Kubernetes API as the few verbs that the operator needs; the only module that knows the client.

Objects are plain dicts in and out. Every call has a deadline and is tried again after 429, 500, 502, 503, 504 and lost
connections; what remains is a `KubeError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)

from .kinds import BY_NAME, KINDS, Kind

__all__ = ["FIELD_MANAGER", "KINDS", "Connection", "Kind", "Kube", "KubeError", "context_namespace"]

FIELD_MANAGER = "visio-operator"
REQUEST_SECONDS = 15.0
"""Deadline of one attempt."""
ATTEMPTS = 5
PAGE = 500
"""Objects in one page of a list."""
ASK_AGAIN = 60.0
_USUAL_PLACE = "~/.kube/config"
_RETRIED = frozenset({429, 500, 502, 503, 504})
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"

Body = dict[str, Any]


class KubeError(Exception):
    """The API server refused, or could not be reached (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def missing(self) -> bool:
        """The object, or its whole kind, is not there."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody else was first, or owns the field."""
        return self.status == 409


@dataclass(frozen=True)
class Connection:
    """How the API server is reached; for kopf, which keeps its own sessions."""

    server: str
    ca_path: str | None
    insecure: bool
    certificate_path: str | None
    key_path: str | None
    token: str | None
    username: str | None
    password: str | None
    proxy: str | None


def _count_nothing(verb: str, kind: str) -> None:
    del verb, kind


class Kube:
    """One connection to one cluster."""

    def __init__(self, configuration: Configuration, count_write: Callable[[str, str], None] = _count_nothing) -> None:
        configuration.connection_pool_maxsize = 24
        # Else aiohttp asks for the environment's proxy, and reads ~/.netrc, in a thread before every request.
        configuration.proxy = configuration.proxy or _proxy(configuration.host)
        configuration.client_session_kwargs = {"trust_env": False}
        self._client = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        self._configuration = configuration
        self._count_write = count_write
        self._served: dict[str, bool] = {}
        self._asked: dict[str, float] = {}
        self._fence = ""

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, count_write: Callable[[str, str], None] = _count_nothing
    ) -> Kube:
        """Connect with a kubeconfig, with `KUBECONFIG`, as a pod, or with the user's default kubeconfig, in this order.

        Raises KubeError when none of them is usable.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None and not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                file = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG")
                if not any(Path(part).expanduser().is_file() for part in (file or _USUAL_PLACE).split(os.pathsep)):
                    raise FileNotFoundError(f"there is no file {file or _USUAL_PLACE}")
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=file, client_configuration=configuration
                )
            return cls(configuration, count_write)
        except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            raise KubeError(0, "NoCluster", f"no usable kubeconfig: {error}; give --kubeconfig FILE") from None

    async def connection(self) -> Connection:
        """The address and the credentials, with a token that is current."""
        conf = self._configuration
        header = await conf.get_api_key_with_prefix("BearerToken")
        return Connection(
            server=conf.host,
            ca_path=conf.ssl_ca_cert,
            insecure=not conf.verify_ssl,
            certificate_path=conf.cert_file,
            key_path=conf.key_file,
            token=header.split(" ", 1)[-1].strip() if header else None,
            username=conf.username or None,
            password=conf.password or None,
            proxy=conf.proxy,
        )

    def fence(self, why: str) -> None:
        """Refuse every later request, so that an operator which lost its lease cannot write."""
        self._fence = why

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def serves(self, kind: str, *, refresh: bool = False) -> bool:
        """Whether the kind is installed. That it is not is believed for a minute, or until `refresh`."""
        entry = BY_NAME[kind]
        if not entry.optional:
            return True
        now = time.monotonic()
        if refresh or kind not in self._served or (not self._served[kind] and now - self._asked[kind] > ASK_AGAIN):
            self._asked[kind] = now
            try:
                found = await self._request("GET", entry.root)
                names = {resource.get("name") for resource in found.get("resources") or ()}
                self._served[kind] = entry.plural in names
            except KubeError as error:
                if not error.missing:
                    raise
                self._served[kind] = False
        return self._served[kind]

    async def list(
        self, kind: str, *, namespace: str | None = None, selector: str = "", limit: int | None = None
    ) -> list[Body]:
        """All objects of a kind that match a label selector; `limit` ends after one page of that size."""
        found: list[Body] = []
        token = ""
        while True:
            query: dict[str, str] = {"limit": str(limit or PAGE)}
            if selector:
                query["labelSelector"] = selector
            if token:
                query["continue"] = token
            page = await self._request("GET", BY_NAME[kind].path(namespace), query)
            found += page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token or limit:
                return found

    async def get(self, kind: str, name: str, namespace: str | None = None) -> Body | None:
        """One object, or None when there is none of that name."""
        try:
            return await self._request("GET", BY_NAME[kind].path(namespace, name))
        except KubeError as error:
            if error.missing:
                return None
            raise

    async def logs(self, namespace: str, pod: str, container: str) -> str:
        """What a container has said so far. Raises KubeError at once while that cannot be read."""
        path = f"{BY_NAME['Pod'].path(namespace, pod)}/log"
        try:
            status, _, text = await self._send("GET", path, {"container": container}, None, "application/json")
        except (aiohttp.ClientError, TimeoutError, OSError) as lost:
            raise KubeError(0, "Unreachable", f"the log could not be read: {lost or type(lost).__name__}") from None
        if status != 200:
            raise _error(status, text)
        return text.decode(errors="replace")

    async def apply(self, manifest: Body, *, force: bool = True, manager: str = FIELD_MANAGER) -> Body:
        """Server-side apply of the full intent; without `force` a field of another manager is a conflict."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._write("apply", "PATCH", manifest, query, _APPLY)

    async def preview(self, manifest: Body) -> Body:
        """What `apply` would make of an object, defaults and admission included; nothing is written."""
        kind, meta = BY_NAME[manifest["kind"]], manifest["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "dryRun": "All"}
        return await self._request("PATCH", kind.path(meta.get("namespace"), meta["name"]), query, manifest, _APPLY)

    async def create(self, manifest: Body) -> Body:
        """Create an object; one that exists is a conflict."""
        return await self._write("create", "POST", manifest, {"fieldManager": FIELD_MANAGER})

    async def replace(self, manifest: Body) -> Body:
        """Replace an object at the resourceVersion it carries; a newer one is a conflict."""
        return await self._write("update", "PUT", manifest, {"fieldManager": FIELD_MANAGER})

    async def merge(self, kind: str, name: str, namespace: str | None, patch: Mapping[str, Any]) -> Body:
        """Merge patch of one object."""
        entry = BY_NAME[kind]
        body = await self._request(
            "PATCH", entry.path(namespace, name), {"fieldManager": FIELD_MANAGER}, dict(patch), _MERGE
        )
        self._count_write("patch", kind)
        return body

    async def patch_status(self, kind: str, name: str, namespace: str | None, patch: Mapping[str, Any]) -> Body:
        """Merge patch of the status of one object."""
        path = f"{BY_NAME[kind].path(namespace, name)}/status"
        body = await self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, {"status": dict(patch)}, _MERGE)
        self._count_write("patch_status", kind)
        return body

    async def delete(self, kind: str, live: Mapping[str, Any]) -> None:
        """Delete exactly the object that was seen, in the background; one that changed since is a conflict."""
        meta = live["metadata"]
        body = {
            "preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "propagationPolicy": "Background",
        }
        await self._request("DELETE", BY_NAME[kind].path(meta.get("namespace"), meta["name"]), None, body)
        self._count_write("delete", kind)

    async def evict(self, pod: Mapping[str, Any]) -> None:
        """Evict exactly the pod that was seen, within disruption budgets and with its own grace period; one that has
        changed since is a conflict, so that a pod which is ending is never told twice.
        """
        meta = pod["metadata"]
        seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "deleteOptions": {"preconditions": seen},
        }
        path = f"{BY_NAME['Pod'].path(meta['namespace'], meta['name'])}/eviction"
        try:
            status, _, text = await self._send("POST", path, None, body, "application/json")
        except (aiohttp.ClientError, TimeoutError, OSError) as lost:
            raise KubeError(0, "Unreachable", f"the eviction got no answer: {lost or type(lost).__name__}") from None
        if not 200 <= status < 300:
            raise _error(status, text)
        self._count_write("evict", "Pod")

    async def _write(
        self, verb: str, method: str, manifest: Body, query: dict[str, str], content_type: str = "application/json"
    ) -> Body:
        kind = BY_NAME[manifest["kind"]]
        meta = manifest["metadata"]
        name = None if method == "POST" else meta["name"]
        try:
            body = await self._request(method, kind.path(meta.get("namespace"), name), query, manifest, content_type)
        except KubeError as error:
            if error.missing and kind.optional:
                self._served[kind.name], self._asked[kind.name] = False, time.monotonic()
                message = f"{kind.name} cannot be made: the CRD {kind.resource} is not installed; install it first"
                raise KubeError(404, "KindMissing", message) from None
            raise
        self._count_write(verb, kind.name)
        return body

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Body:
        error = KubeError(0, "Unreachable", "the API server could not be reached")
        for attempt in range(ATTEMPTS):
            if self._fence:
                raise KubeError(0, "Fenced", self._fence)
            pause = min(4.0, 0.2 * 2**attempt)
            try:
                status, after, text = await self._send(method, path, query, body, content_type)
            except (aiohttp.ClientError, TimeoutError, OSError) as lost:
                error = KubeError(
                    0, "Unreachable", f"the API server could not be reached: {lost or type(lost).__name__}"
                )
            else:
                if 200 <= status < 300:
                    return json.loads(text) if text else {}
                error = _error(status, text)
                if status not in _RETRIED:
                    raise error
                pause = max(pause, after)
            if attempt < ATTEMPTS - 1:
                # Spread over half the pause, so that several deployments do not come back in one moment.
                await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311
        raise error

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Body | None, content_type: str
    ) -> tuple[int, float, bytes]:
        verb, url, headers, data, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        response = await self._client.call_api(verb, url, headers, data, _request_timeout=timeout)
        async with response.response as answer:
            text = await answer.read()
            try:
                after = min(10.0, float(answer.headers.get("Retry-After", "0")))
            except ValueError:
                after = 0.0
            return answer.status, after, text


def _proxy(server: str) -> str | None:
    """The proxy that the environment names for a server: HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY lists it."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


def _error(status: int, text: bytes) -> KubeError:
    try:
        answer = json.loads(text)
        return KubeError(status, answer.get("reason") or str(status), answer.get("message") or f"HTTP {status}")
    except (ValueError, AttributeError):
        return KubeError(status, str(status), text.decode(errors="replace")[:300] or f"HTTP {status}")


def context_namespace(kubeconfig: Path | None = None) -> str:
    """The namespace of the kubeconfig's current context; `default` where none is named."""
    file = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG")
    try:
        _, active = list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
        return str(active["context"].get("namespace") or "default")
    except (ConfigException, OSError, KeyError, TypeError):
        return "default"
