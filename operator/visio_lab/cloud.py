"""The lab's cloud: sells a node after a lead time for every NodePool that asks, and takes it back when told to.

It behaves like Outscale's OKS where that hurts: the GPU shows up later than the node, the customer cannot say which
node goes when a pool shrinks, and a node takes its pods along (source: Outscale's
Node-Pool-Manifest-Reference).
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from visio_lab.api import MERGE, Api, ApiError, Json, open_api
from visio_lab.cloud_nodes import GPU, WORKERS, gpus, lead_factor, pool_node, worker, zone_of
from visio_lab.context import LabContext, LeadTime
from visio_lab.storage import create_storage_class, provide_volumes

NODE_POOLS = "/apis/oks.dev/v1beta2/nodepools"
NODES = "/api/v1/nodes"
CRD_FILE = Path(__file__).parent / "crds" / "oks-nodepool.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLL_S = 0.05
STEPS = ("pending", "running", "attached", "ready", "stopping", "stopped", "shutting_down")
"""The counters of a NodePool's status.progress."""


@dataclass
class Machine:
    """One sold machine. Times are monotonic seconds; `step` is one of STEPS."""

    name: str
    zone: str
    node_due: float
    gpu_due: float
    step: str = "pending"
    life: asyncio.Task[None] | None = None


@dataclass
class Pool:
    """A NodePool as the cloud sees it: its object, and its machines from the oldest to the newest."""

    object: Json
    machines: list[Machine] = field(default_factory=list)
    ordered: int = 0


class Cloud:
    """What has been sold to whom, and the bill: one JSON line per event in `<lab>/cloud.jsonl`."""

    def __init__(self, api: Api, lead_time: LeadTime, bill: Path) -> None:
        self.api = api
        self.lead_time = lead_time
        self.bill = bill
        self.pools: dict[str, Pool] = {}

    async def serve(self) -> None:
        """Follow the NodePools for ever."""
        async for event in self.api.watch(NODE_POOLS):
            if event.kind == "SYNCED":
                continue
            name = event.object["metadata"]["name"]
            if event.kind == "DELETED":
                await self.give_back(self.pools.pop(name, None), 0)
                continue
            pool = self.pools.setdefault(name, Pool(event.object))
            pool.object = event.object
            desired = int(event.object["spec"].get("desiredNodes", 0))
            while len(pool.machines) < desired:
                self.order(pool)
            await self.give_back(pool, desired)
            await self.report(pool)

    def order(self, pool: Pool) -> None:
        """Sell one more machine."""
        name = pool.object["metadata"]["name"]
        factor, now = lead_factor(name, pool.ordered), time.monotonic()
        machine = Machine(
            name=f"{name}-{pool.ordered}",
            zone=zone_of(pool.object, pool.ordered),
            node_due=now + self.lead_time.node_ready_s * factor,
            gpu_due=now + max(self.lead_time.gpu_ready_s, self.lead_time.node_ready_s) * factor,
        )
        pool.ordered += 1
        pool.machines.append(machine)
        self.note(name, machine.name, "ordered")
        machine.life = asyncio.create_task(self.deliver(pool, machine))

    async def deliver(self, pool: Pool, machine: Machine) -> None:
        """One machine from its order to its GPU."""
        name = pool.object["metadata"]["name"]
        await asyncio.sleep(machine.node_due - time.monotonic())
        joining = asyncio.ensure_future(self.api.create(NODES, pool_node(pool.object, machine.name, machine.zone)))
        try:
            await asyncio.shield(joining)
        except asyncio.CancelledError:
            # Returned while it joins: the node must exist before it can be removed, or it would appear afterwards.
            await asyncio.wait([joining])
            raise
        while not await self._is_ready(machine.name):
            await asyncio.sleep(POLL_S)
        self.note(name, machine.name, "ready")
        count = gpus(pool.object)
        machine.step = "attached" if count else "ready"
        await self.report(pool)
        if count:
            await asyncio.sleep(max(0.0, machine.gpu_due - time.monotonic()))
            amounts = {GPU: str(count)}
            await self.api.patch(
                f"{NODES}/{machine.name}/status", {"status": {"capacity": amounts, "allocatable": amounts}}
            )
            self.note(name, machine.name, "gpu")
            machine.step = "ready"
            await self.report(pool)

    async def _is_ready(self, node: str) -> bool:
        status = (await self.api.get(f"{NODES}/{node}")).get("status", {})
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))

    async def give_back(self, pool: Pool | None, desired: int) -> None:
        """Take machines back until `desired` are left, the newest first whatever runs there: OKS lets nobody choose."""
        while pool and len(pool.machines) > desired:
            machine = pool.machines.pop()
            if machine.life:
                machine.life.cancel()
                await asyncio.wait([machine.life])
            await remove_node(self.api, machine.name)
            self.note(pool.object["metadata"]["name"], machine.name, "returned")

    async def report(self, pool: Pool) -> None:
        """Write the pool's status when it says something new."""
        counts = {step: sum(each.step == step for each in pool.machines) for step in STEPS}
        settled = counts["ready"] == len(pool.machines)
        status = {"progress": counts, "state": {"name": "ready" if settled else "updating"}}
        current = pool.object.get("status") or {}
        if {key: current.get(key) for key in status} == status:
            return
        name = pool.object["metadata"]["name"]
        try:
            pool.object = await self.api.patch(f"{NODE_POOLS}/{name}/status", {"status": status}, content=MERGE)
        except ApiError as error:
            if error.status != 404:
                raise

    def note(self, pool: str, node: str, event: str) -> None:
        """Write one line of the bill: `t` is Unix seconds, event is ordered, ready, gpu or returned."""
        with self.bill.open("a") as bill:
            bill.write(json.dumps({"t": round(time.time(), 3), "pool": pool, "node": node, "event": event}) + "\n")


async def remove_node(api: Api, name: str) -> None:
    """Delete a node and, at once and without grace, the pods on it: the machine is gone, not drained."""
    await api.delete(f"{NODES}/{name}")
    pods = await api.request("GET", "/api/v1/pods", fieldSelector=f"spec.nodeName={name}")
    for pod in pods["items"]:
        metadata = pod["metadata"]
        await api.delete(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", uid=metadata["uid"], grace_s=0
        )


async def run_cloud(ctx: LabContext) -> None:
    """Create the ordinary nodes, the NodePool definition and the storage class; then sell for ever."""
    async with open_api(ctx) as api:
        for name, zone in WORKERS.items():
            await api.create(NODES, worker(name, zone))
        definition: Json = yaml.safe_load(CRD_FILE.read_text())
        await api.apply(f"{CRDS}/{definition['metadata']['name']}", definition)
        await create_storage_class(api)
        cloud = Cloud(api, ctx.lead_time, ctx.directory / "cloud.jsonl")
        await asyncio.gather(cloud.serve(), provide_volumes(api, ctx.directory / "volumes"))
