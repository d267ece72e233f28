"""What public names lead to inside a lab: a real Traefik behind one Service address, and a sign-in provider behind it.

Traefik plays three controllers at once: ingress-nginx for IngressClass `nginx` (its provider understands those
annotations), itself for IngressClass `traefik`, and the Gateway API for GatewayClass `traefik`. Every name outside the
cluster's domain resolves to its address, except those that ConfigMap lab-system/dns-hosts lists in hosts-file form.
"""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from visio_lab.api import Api, ApiError, open_api
from visio_lab.context import LabContext
from visio_lab.front_door_objects import (
    DNS_HOSTS,
    NAMESPACE,
    classes,
    oidc_objects,
    traefik_objects,
)
from visio_lab.public_ca import certificate_secret, public_ca_configmap

__all__ = ["certificate_secret", "hosts_file", "install", "outside_names", "public_ca_configmap"]

Json = dict[str, Any]

ADDRESS = "10.96.0.80"
_EVERYTHING_PORT = 5353
READY_S = 60.0
POLL_S = 0.1
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOSTS_CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"

_running: set[asyncio.Task[None]] = set()


class FrontDoorError(Exception):
    """The front door did not come up; the text names its log."""


async def install(ctx: LabContext, api: Api) -> None:
    """Make everything in namespace `lab-system` and return once Traefik is ready. Raises FrontDoorError."""
    crds = crd_folder(ctx)
    await asyncio.gather(*(api.create(CRD_PATH, document) for document in read_crds(crds)))
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    # Traefik gives up for a while on kinds that are not served yet.
    for path, body in classes():
        await _until_served(api, path, body)
    for path, body in (*traefik_objects(ctx, ADDRESS), *oidc_objects(ctx)):
        await api.create(path, body)
    keep_hosts(ctx)
    deadline = asyncio.get_running_loop().time() + READY_S
    while not await _ready(api):
        if asyncio.get_running_loop().time() > deadline:
            log = ctx.logs / "pods"
            raise FrontDoorError(f"Traefik was not ready within {READY_S:.0f} s: see {log}/{NAMESPACE}_traefik-*.log")
        await asyncio.sleep(POLL_S)


def crd_folder(ctx: LabContext) -> Path:
    """Where the CRDs are that came with the front door's program."""
    return (ctx.bin / "traefik").resolve().parent / "crds"


def read_crds(folder: Path) -> list[Json]:
    """The definitions in a folder."""
    documents = (each for file in sorted(folder.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text()))
    return [each for each in documents if each and each["kind"] == "CustomResourceDefinition"]


def hosts_file(ctx: LabContext) -> Path:
    """The hosts file that cluster DNS reads before it answers with the front door's address."""
    return ctx.directory / "config" / "dns-hosts"


def outside_names(ctx: LabContext) -> str:
    """CoreDNS's server blocks for every name outside the cluster's domain.

    Two, because CoreDNS asks its templates before hosts files in whatever order a block has them.
    """
    hosts = hosts_file(ctx)
    hosts.touch()
    return f"""\
.:53 {{
    bind {ctx.node_ip}
    errors
    hosts {hosts} {{
        ttl 1
        reload 500ms
        fallthrough
    }}
    forward . {ctx.node_ip}:{_EVERYTHING_PORT}
}}
.:{_EVERYTHING_PORT} {{
    bind {ctx.node_ip}
    template IN A {{
        answer "{{{{ .Name }}}} 1 IN A {ADDRESS}"
    }}
    template ANY ANY {{
        rcode NOERROR
    }}
}}
"""


def keep_hosts(ctx: LabContext) -> None:
    """Write the ConfigMap `dns-hosts` into the hosts file whenever it changes, in the background."""
    task = asyncio.create_task(_follow_hosts(ctx), name="dns-hosts")
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _follow_hosts(ctx: LabContext) -> None:
    async with open_api(ctx) as api:
        async for event in api.watch(HOSTS_CONFIG_MAPS, fieldSelector=f"metadata.name={DNS_HOSTS}"):
            if event.kind != "SYNCED":
                data = {} if event.kind == "DELETED" else event.object.get("data") or {}
                hosts_file(ctx).write_text("".join(f"{text}\n" for text in data.values()))


async def _until_served(api: Api, path: str, body: Json) -> None:
    """Create an object of a kind whose definition the API server may not serve yet."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while True:
        try:
            await api.create(path, body)
        except ApiError as error:
            if error.status != 404 or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


async def _ready(api: Api) -> bool:
    try:
        found = await api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/traefik")
    except ApiError:
        return False
    return int(found.get("status", {}).get("readyReplicas", 0)) > 0
