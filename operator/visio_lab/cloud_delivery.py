"""What the lab's sellers of nodes share: a machine becomes a node, then a node with GPUs, and goes again; the bill."""

import asyncio
import json
import time
from pathlib import Path

from visio_lab.api import Api, Json
from visio_lab.cloud_nodes import GPU, lead_factor
from visio_lab.context import LeadTime

NODES = "/api/v1/nodes"
POLL_S = 0.05


class Due:
    """When an order that is made now becomes a node, and when its GPUs appear, in monotonic seconds."""

    def __init__(self, pool: str, index: int, lead: LeadTime) -> None:
        factor, now = lead_factor(pool, index), time.monotonic()
        self.node = now + lead.node_ready_s * factor
        self.gpu = now + max(lead.gpu_ready_s, lead.node_ready_s) * factor


async def join(api: Api, node: Json, due: float) -> None:
    """Let a machine join the cluster when it is due, and wait until its node is Ready."""
    await asyncio.sleep(due - time.monotonic())
    joining = asyncio.ensure_future(api.create(NODES, node))
    try:
        await asyncio.shield(joining)
    except asyncio.CancelledError:
        # Returned while it joins: the node must exist before it can be removed, or it would appear afterwards.
        await asyncio.wait([joining])
        raise
    while not await _is_ready(api, node["metadata"]["name"]):
        await asyncio.sleep(POLL_S)


async def _is_ready(api: Api, node: str) -> bool:
    status = (await api.get(f"{NODES}/{node}")).get("status", {})
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))


async def give_gpus(api: Api, node: str, count: int, due: float) -> None:
    """The driver and the device plugin are done: the node's GPUs can be allocated."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    amounts = {GPU: str(count)}
    await api.patch(f"{NODES}/{node}/status", {"status": {"capacity": amounts, "allocatable": amounts}})


async def end(life: asyncio.Task[None] | None) -> None:
    """Stop the delivery of a machine that is given back, wherever it stands."""
    if life:
        life.cancel()
        await asyncio.wait([life])


async def remove_node(api: Api, name: str) -> None:
    """Delete a node and, at once and without grace, the pods on it: the machine is gone, not drained."""
    await api.delete(f"{NODES}/{name}")
    pods = await api.request("GET", "/api/v1/pods", fieldSelector=f"spec.nodeName={name}")
    for pod in pods["items"]:
        metadata = pod["metadata"]
        await api.delete(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", uid=metadata["uid"], grace_s=0
        )


def note(bill: Path, pool: str, node: str, event: str) -> None:
    """Write one line of the bill: `t` is Unix seconds, event is ordered, ready, gpu or returned."""
    with bill.open("a") as lines:
        lines.write(json.dumps({"t": round(time.time(), 3), "pool": pool, "node": node, "event": event}) + "\n")
