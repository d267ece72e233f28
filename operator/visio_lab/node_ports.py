"""What the kube-proxies of all other nodes would do: the lab has one, which acts for one node, in a network of all.

Node ports with `externalTrafficPolicy: Local`: each node's address leads to the pods of that node alone. The ports of
such Services are translated here, per node, before kube-proxy sees the packets. One thing is kinder than in a real
cluster: there, what a pod sends to a node port of its own node goes to any pod of the Service, wherever that runs.

A pod that reaches itself by a Service: it would refuse packets from its own address, so they get the node's.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Iterator
from typing import Any

from visio_lab.api import Api, open_api
from visio_lab.context import LabContext, node_address

Json = dict[str, Any]
Key = tuple[str, str]

SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
SERVICE_NAME = "kubernetes.io/service-name"
PRIORITY = -150
"""Before kube-proxy's own chains (-110 and -100), after connection tracking (-200)."""
SOURCE_PRIORITY = 99
"""Before kube-proxy's own chain (100), which knows the pods of its node."""
TABLE = "visio-lab-node-ports"
SETTLE_S = 0.05


class NodePorts:
    """The Services and EndpointSlices seen so far; `changed` is set when the rules may have to change."""

    def __init__(self) -> None:
        self.services: dict[Key, Json] = {}
        self.slices: dict[Key, Json] = {}
        self.changed = asyncio.Event()

    async def follow(self, api: Api, path: str, seen: dict[Key, Json]) -> None:
        """Keep `seen` as the API server has it, for ever."""
        async for event in api.watch(path):
            if event.kind == "SYNCED":
                continue
            metadata = event.object["metadata"]
            key = (metadata["namespace"], metadata["name"])
            if event.kind == "DELETED":
                seen.pop(key, None)
            else:
                seen[key] = event.object
            self.changed.set()

    async def write(self, ctx: LabContext) -> None:
        """Write the rules whenever they have changed, for ever."""
        written = ""
        while True:
            await self.changed.wait()
            await asyncio.sleep(SETTLE_S)
            self.changed.clear()
            text = ruleset(self.services.values(), list(self.slices.values()))
            if text != written:
                await _apply(ctx, text)
                written = text


async def run_node_ports(ctx: LabContext) -> None:
    """Keep the rules right for ever."""
    ports = NodePorts()
    async with open_api(ctx) as api, asyncio.TaskGroup() as group:
        group.create_task(ports.follow(api, SERVICES, ports.services))
        group.create_task(ports.follow(api, SLICES, ports.slices))
        group.create_task(ports.write(ctx))


def ruleset(services: Iterable[Json], slices: list[Json]) -> str:
    """The whole table for nft(8), which replaces the one before in one step."""
    rules = "\n".join(f"    {rule}" for service in services for rule in _rules(service, slices))
    pods = {endpoint["addresses"][0] for each in slices for endpoint in each.get("endpoints") or []}
    selves = f"elements = {{ {', '.join(f'{pod} . {pod}' for pod in sorted(pods))} }}" if pods else ""
    return (
        f"add table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n"
        f"  chain ports {{\n{rules}\n  }}\n"
        f"  chain prerouting {{ type nat hook prerouting priority {PRIORITY}; jump ports; }}\n"
        f"  chain output {{ type nat hook output priority {PRIORITY}; jump ports; }}\n"
        f"  set selves {{ type ipv4_addr . ipv4_addr; {selves} }}\n"
        f"  chain postrouting {{ type nat hook postrouting priority {SOURCE_PRIORITY};"
        " ct status dnat ip saddr . ip daddr @selves masquerade; }\n}\n"
    )


def _rules(service: Json, slices: list[Json]) -> Iterator[str]:
    """One rule per node with a pod of the Service, and per port."""
    spec, metadata = service["spec"], service["metadata"]
    if spec.get("externalTrafficPolicy") != "Local":
        return
    own = [
        each
        for each in slices
        if each["metadata"]["namespace"] == metadata["namespace"]
        and (each["metadata"].get("labels") or {}).get(SERVICE_NAME) == metadata["name"]
    ]
    for port in spec.get("ports") or []:
        if "nodePort" not in port:
            continue
        match = f"{port.get('protocol', 'TCP').lower()} dport {port['nodePort']}"
        for node, targets in sorted(_targets(own, port).items()):
            choices = ", ".join(f"{index} : {target}" for index, target in enumerate(targets))
            yield (
                f"ip daddr {node} {match} dnat ip addr . port to numgen random mod {len(targets)} map {{ {choices} }}"
            )


def _targets(slices: list[Json], port: Json) -> dict[str, list[str]]:
    """Address and port of the pods by the address of their node: the ready ones, else those that still serve."""
    ready: dict[str, list[str]] = {}
    ending: dict[str, list[str]] = {}
    for each in slices:
        number = next((one["port"] for one in each["ports"] or [] if one.get("name") == port.get("name")), None)
        for endpoint in each.get("endpoints") or []:
            conditions, node = endpoint.get("conditions") or {}, node_address(endpoint.get("nodeName") or "")
            target = f"{endpoint['addresses'][0]} . {number}"
            if number is None:
                continue
            if conditions.get("ready") is not False:
                ready.setdefault(node, []).append(target)
            elif conditions.get("serving"):
                ending.setdefault(node, []).append(target)
    return {**ending, **ready}


async def _apply(ctx: LabContext, text: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(ctx.bin / "nft"), "-f", "-", stdin=PIPE, stdout=DEVNULL, stderr=PIPE
    )
    _, error = await process.communicate(text.encode())
    if process.returncode:
        raise RuntimeError(f"nft: {error.decode(errors='replace').strip()[:500]}")
