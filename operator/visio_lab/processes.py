"""The lab's kubelet: runs the process pods (programs.py) of every node as real processes on a real pod network.

Each such pod has a network namespace with its own address (sandbox.py); each of its containers has namespaces for
processes, mounts, host name and users and sees the pod's volumes at their paths (container_init.py). Probes are
performed, restarts and graceful ends happen, mounted Secrets and ConfigMaps follow their objects, logs are served as in
a kubelet. `runAsUser` is the number that a program sees; on the machine all of them are the lab's one user. Resource
limits, capabilities other than none, seccomp profiles and supplemental groups are not applied.
"""

import asyncio
import logging

from visio_lab.api import Api, open_api
from visio_lab.context import LabContext
from visio_lab.kubelet_server import serve_kubelet
from visio_lab.pod_life import PodLife
from visio_lab.programs import is_process_pod
from visio_lab.sandbox import Addresses

PODS = "/api/v1/pods"
MOUNTED = {"Secret": "/api/v1/secrets", "ConfigMap": "/api/v1/configmaps"}

_log = logging.getLogger(__name__)


async def run_pods(ctx: LabContext) -> None:
    """Run every process pod that is bound to a node, for ever."""
    lives: dict[str, PodLife] = {}

    def find(namespace: str, name: str) -> PodLife | None:
        named = (each for each in lives.values() if each.metadata["name"] == name)
        return next((each for each in named if each.metadata["namespace"] == namespace), None)

    async with open_api(ctx) as api, asyncio.TaskGroup() as group:
        group.create_task(serve_kubelet(ctx, find))
        for kind in MOUNTED:
            group.create_task(_follow_objects(api, kind, lives))
        group.create_task(_follow_pods(ctx, api, lives))


async def _follow_pods(ctx: LabContext, api: Api, lives: dict[str, PodLife]) -> None:
    tasks: set[asyncio.Task[None]] = set()
    addresses = Addresses()
    async for event in api.watch(PODS, fieldSelector="spec.nodeName!="):
        if event.kind == "SYNCED":
            continue
        uid = event.object["metadata"]["uid"]
        if life := lives.get(uid):
            if event.kind == "DELETED":
                life.vanish()
            else:
                life.see(event.object)
        elif event.kind != "DELETED" and is_process_pod(event.object, ctx):
            life = lives[uid] = PodLife(ctx, api, addresses, event.object)
            life.see(event.object)
            task = asyncio.create_task(_live(life, lives, uid))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _follow_objects(api: Api, kind: str, lives: dict[str, PodLife]) -> None:
    """Tell the pods that have an object of this kind in a volume whenever it changes."""
    async for event in api.watch(MOUNTED[kind]):
        if event.kind == "SYNCED":
            continue
        metadata = event.object["metadata"]
        for life in list(lives.values()):
            if life.metadata["namespace"] == metadata["namespace"] and (kind, metadata["name"]) in life.mounted:
                life.refresh()


async def _live(life: PodLife, lives: dict[str, PodLife], uid: str) -> None:
    """One pod's life; an error of ours in it is written down and ends that pod only."""
    try:
        await life.run()
    except Exception:
        # A pod that fails in an unforeseen way must not take the lab's other pods along.
        _log.exception("pod %s ended", life.path)
    finally:
        lives.pop(uid, None)
