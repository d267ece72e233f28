"""The lab's cloud: sells a node after a lead time for every NodePool that asks, and takes it back when told to.

It behaves like Outscale's OKS where that hurts: the GPU shows up later than the node, the customer cannot say which
node goes when a pool shrinks, and a node takes its pods along (source: Outscale's
Node-Pool-Manifest-Reference).
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from visio_lab import cloud_autoscaler, cloud_machines
from visio_lab.api import MERGE, Api, ApiError, Json, open_api
from visio_lab.cloud_delivery import NODES, Due, end, give_gpus, join, note, remove_node
from visio_lab.cloud_nodes import WORKERS, gpus, pool_node, worker, zone_of
from visio_lab.context import LabContext, LeadTime
from visio_lab.storage import create_storage_class, provide_volumes

NODE_POOLS = "/apis/oks.dev/v1beta2/nodepools"
DEFINITIONS = Path(__file__).parent / "crds"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STEPS = ("pending", "running", "attached", "ready", "stopping", "stopped", "shutting_down")
"""The counters of a NodePool's status.progress."""


@dataclass
class Machine:
    """One sold machine; `step` is one of STEPS."""

    name: str
    zone: str
    due: Due
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
        machine = Machine(
            name=f"{name}-{pool.ordered}",
            zone=zone_of(pool.object, pool.ordered),
            due=Due(name, pool.ordered, self.lead_time),
        )
        pool.ordered += 1
        pool.machines.append(machine)
        note(self.bill, name, machine.name, "ordered")
        machine.life = asyncio.create_task(self.deliver(pool, machine))

    async def deliver(self, pool: Pool, machine: Machine) -> None:
        """One machine from its order to its GPU."""
        name = pool.object["metadata"]["name"]
        await join(self.api, pool_node(pool.object, machine.name, machine.zone), machine.due.node)
        note(self.bill, name, machine.name, "ready")
        count = gpus(pool.object)
        machine.step = "attached" if count else "ready"
        await self.report(pool)
        if count:
            await give_gpus(self.api, machine.name, count, machine.due.gpu)
            note(self.bill, name, machine.name, "gpu")
            machine.step = "ready"
            await self.report(pool)

    async def give_back(self, pool: Pool | None, desired: int) -> None:
        """Take machines back until `desired` are left, the newest first whatever runs there: OKS lets nobody choose."""
        while pool and len(pool.machines) > desired:
            machine = pool.machines.pop()
            await end(machine.life)
            await remove_node(self.api, machine.name)
            note(self.bill, pool.object["metadata"]["name"], machine.name, "returned")

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


async def run_cloud(ctx: LabContext) -> None:
    """Create the ordinary nodes, the definitions of pools and the storage class; then sell for ever."""
    async with open_api(ctx) as api:
        for name, zone in WORKERS.items():
            await api.create(NODES, worker(name, zone))
        for file in sorted(DEFINITIONS.glob("*.yaml")):
            content: Json = yaml.safe_load(file.read_text())
            for definition in content.get("items", [content]):
                await api.apply(f"{CRDS}/{definition['metadata']['name']}", definition)
        await create_storage_class(api)
        bill = ctx.directory / "cloud.jsonl"
        await asyncio.gather(
            Cloud(api, ctx.lead_time, bill).serve(),
            cloud_machines.serve(api, ctx.lead_time, bill),
            cloud_autoscaler.serve(api, ctx.lead_time, bill),
            provide_volumes(api, ctx.directory / "volumes"),
        )
