"""One process acts at a time: leader election by a Lease, as Kubernetes' own controllers do it.

A lease lasts 15 s unless set otherwise, is renewed every 2 s at least and given up by its holder after two thirds of
its length without success; so the holder stops before another one may start. Clocks are compared only with themselves:
a lease is taken when it has not changed for its length by our own clock.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from . import log
from .kube import Kube, KubeError

LEASE = "visio-operator"
LONGEST_RETRY = 2.0

Body = dict[str, Any]


class Leader:
    """The candidacy of one process for one Lease."""

    def __init__(self, kube: Kube, namespace: str, identity: str, seconds: float = 15.0) -> None:
        self._kube = kube
        self._seconds = seconds
        self._deadline = seconds * 2 / 3
        self._retry = min(LONGEST_RETRY, seconds / 5)
        self._namespace = namespace
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        told = ""
        while True:
            try:
                holder = await self._try()
            except KubeError as error:
                holder = f"nobody ({error.message})"
            if holder == self._identity:
                log.info("holds the lease", lease=f"{self._namespace}/{LEASE}")
                return
            if holder != told:
                log.info("waits for the lease", lease=f"{self._namespace}/{LEASE}", holder=holder)
                told = holder
            await asyncio.sleep(self._retry)

    async def hold(self) -> str:
        """Renew until the lease is lost; returns why."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._retry)
            left = self._deadline - (time.monotonic() - renewed)
            try:
                async with asyncio.timeout(max(left, 0.1)):
                    holder = await self._try()
                if holder != self._identity:
                    return f"{holder} took the lease"
                renewed = time.monotonic()
            except (KubeError, TimeoutError) as error:
                if time.monotonic() - renewed >= self._deadline:
                    return f"the lease could not be renewed for {self._deadline:g} s: {str(error) or 'no answer'}"

    async def release(self) -> None:
        """Give the lease back, so that the next process need not wait."""
        try:
            async with asyncio.timeout(3):
                lease = await self._kube.get("Lease", LEASE, self._namespace)
                if lease is None or lease.get("spec", {}).get("holderIdentity") != self._identity:
                    return
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                await self._kube.replace(_typed(lease))
        except (KubeError, TimeoutError) as error:
            if isinstance(error, KubeError) and error.reason == "Fenced":
                return
            log.info("could not give the lease back", error=str(error))

    async def _try(self) -> str:
        """Take or renew the lease if that is allowed; returns who holds it."""
        lease = await self._kube.get("Lease", LEASE, self._namespace)
        if lease is None:
            meta = {"name": LEASE, "namespace": self._namespace}
            spec = self._claim() | {"acquireTime": _now(), "leaseTransitions": 0}
            return await self._put(self._kube.create(_typed({"metadata": meta, "spec": spec})))
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder == self._identity:
            lease["spec"] = spec | self._claim()
            return await self._put(self._kube.replace(_typed(lease)))
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        duration = float(spec.get("leaseDurationSeconds") or self._seconds)
        if holder and time.monotonic() - self._seen[1] < duration:
            return str(holder)
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        lease["spec"] = spec | self._claim() | {"acquireTime": _now(), "leaseTransitions": transitions}
        return await self._put(self._kube.replace(_typed(lease)))

    async def _put(self, write: Any) -> str:
        try:
            await write
            return self._identity
        except KubeError as error:
            if error.conflict:
                return "another process"
            raise

    def _claim(self) -> Body:
        return {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._seconds), "renewTime": _now()}


def _typed(lease: Body) -> Body:
    return {**lease, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
