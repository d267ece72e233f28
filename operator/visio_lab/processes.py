"""The lab's kubelet: runs the process pods (programs.py) of every node as real processes on a real pod network.

Each such pod has a network namespace with its own address (sandbox.py); each of its containers has namespaces for
processes, mounts and host name and sees the pod's volumes at their paths (container_init.py). Probes are performed,
restarts and graceful ends happen as in a kubelet. Resource limits and user ids are not applied.
"""

import asyncio
import logging

from visio_lab.api import open_api
from visio_lab.context import LabContext
from visio_lab.pod_life import PodLife
from visio_lab.programs import is_process_pod
from visio_lab.sandbox import Addresses

PODS = "/api/v1/pods"

_log = logging.getLogger(__name__)


async def run_pods(ctx: LabContext) -> None:
    """Run every process pod that is bound to a node, for ever."""
    lives: dict[str, PodLife] = {}
    tasks: set[asyncio.Task[None]] = set()
    addresses = Addresses()
    async with open_api(ctx) as api:
        async for event in api.watch(PODS, fieldSelector="spec.nodeName!="):
            if event.kind == "SYNCED":
                continue
            uid = event.object["metadata"]["uid"]
            if life := lives.get(uid):
                if event.kind == "DELETED":
                    life.vanish()
                else:
                    life.see(event.object)
            elif event.kind != "DELETED" and is_process_pod(event.object):
                life = lives[uid] = PodLife(ctx, api, addresses, event.object)
                life.see(event.object)
                task = asyncio.create_task(_live(life, lives, uid))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


async def _live(life: PodLife, lives: dict[str, PodLife], uid: str) -> None:
    """One pod's life; an error of ours in it is written down and ends that pod only."""
    try:
        await life.run()
    except Exception:
        # A pod that fails in an unforeseen way must not take the lab's other pods along.
        _log.exception("pod %s ended", life.path)
    finally:
        lives.pop(uid, None)
