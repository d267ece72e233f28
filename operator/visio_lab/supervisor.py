"""The first program inside a lab's namespaces: starts everything, watches it, and ends the lab when it ends.

`lab.py` starts it under `unshare` with the host's listening socket and a pipe. The pipe is the life line of the start:
its end before `up` has said that it takes over means that `up` died, and the lab ends too.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from visio_lab import control_plane
from visio_lab.context import (
    API_PORT,
    CLUSTER_DOMAIN,
    DNS_SERVICE_IP,
    NODE_ADDRESSES,
    NODE_IP,
    LabContext,
    load_context,
)
from visio_lab.control_plane import Component
from visio_lab.errors import LabError
from visio_lab.stages import SIMULATED_PODS
from visio_lab.state import LabState, write_state

LIFELINE_FD = 0
RELEASE = b"r"
"""What `up` writes into the life line once the lab shall outlive it."""
POLL_S = 0.05
STOP_GRACE_S = 2.0
WORKER_NODES = 3


async def run_lab(ctx: LabContext, listener_fd: int) -> LabState:
    """Start the lab and keep it until it is told to stop or one of its programs ends; return the state it ended in."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch_lifeline(loop, stop)
    watched: set[asyncio.Task[Any]] = set()
    starting = asyncio.create_task(start(ctx, listener_fd, watched), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    pending: set[asyncio.Task[Any]] = {starting, stopping}
    try:
        while True:
            done, _ = await asyncio.wait({*pending, *watched}, return_when=asyncio.FIRST_COMPLETED, timeout=0.5)
            if stopping in done:
                return LabState("stopped")
            for task in done:
                if reason := failure(task):
                    return LabState("failed", failure=reason)
                pending.discard(task)
                if task in watched:
                    return LabState("failed", failure=f"{task.get_name()} ended")
    finally:
        for task in {*pending, *watched}:
            task.cancel()
        await asyncio.wait({*pending, *watched, stopping}, timeout=STOP_GRACE_S)


def failure(task: asyncio.Task[Any]) -> str | None:
    """Why a finished task failed, in one line, or None."""
    error = None if task.cancelled() else task.exception()
    if error is None:
        return None
    if isinstance(error, LabError):
        return str(error)
    # Standard error is the lab's own log: the reader of the one line finds the rest there.
    traceback.print_exception(error)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{task.get_name()}: {type(error).__name__}: {error}"


async def start(ctx: LabContext, listener_fd: int, watched: set[asyncio.Task[Any]]) -> None:
    """Bring everything up in order; what must stay alive is added to `watched`. Returns when the lab is ready."""
    # Loading the Kubernetes client takes a second of processor time: do it while etcd and the API server start.
    programs = asyncio.create_task(asyncio.to_thread(load_programs))

    def keep(name: str, running: Coroutine[Any, Any, None]) -> None:
        watched.add(asyncio.create_task(running, name=name))

    def begin(phase: str) -> None:
        write_state(ctx.directory, LabState(phase))

    begin("starting the node's network")
    await set_up_network(ctx)
    begin("starting etcd and kube-apiserver")
    for component in (control_plane.etcd(ctx.directory), control_plane.kube_apiserver(ctx.directory)):
        keep(component.name, run_component(ctx, component))
    keep("forward", run_component(ctx, forwarder(ctx, listener_fd), pass_fds=(listener_fd,)))
    async with open_api(ctx) as api:
        await until(api_ready(api))
        begin("starting controllers, scheduler and kwok")
        stages, pod_network, node_ports, processes, cloud = await programs
        config = ctx.directory / "config" / "kwok.yaml"
        config.write_text("---\n".join(json.dumps(each) + "\n" for each in stages.stage_manifests(ctx)))
        for component in (
            control_plane.kube_controller_manager(ctx.directory, ctx.hpa_sync_s),
            control_plane.kube_scheduler(ctx.directory),
            Component("kwok", stages.kwok_argv(ctx.bin / "kwok", ctx.inner_kubeconfig, config)),
        ):
            keep(component.name, run_component(ctx, component))
        keep("cloud", cloud.run_cloud(ctx))
        begin("starting kube-proxy and cluster DNS")
        await pod_network.start_network(ctx)
        keep("node-ports", node_ports.run_node_ports(ctx))
        keep("pods", processes.run_pods(ctx))
        begin("waiting for the nodes")
        await until(workers_ready(api))
        await until(service_accounts_ready(api))
    if ctx.real_pods:
        begin("starting the front door")
        await install_front_door(ctx)
    begin("ready")


def load_programs() -> tuple[Any, Any, Any, Any, Any]:
    """The lab's other programs: KWOK stages, pod network, node ports, process pods and cloud."""
    from visio_lab import cloud, node_ports, pod_network, processes, stages

    return stages, pod_network, node_ports, processes, cloud


async def install_front_door(ctx: LabContext) -> None:
    """What public names lead to: the pods of namespace lab-system."""
    from visio_lab import api, front_door

    async with api.open_api(ctx) as opened:
        await front_door.install(ctx, opened)


async def set_up_network(ctx: LabContext) -> None:
    """Give the fresh namespaces loopback, the node's address on it, a default route, forwarding and the cluster's DNS.

    Programs that enter the lab find Services by name, as pods do; the machine's own resolver is out of reach anyway.
    """
    resolver = ctx.directory / "config" / "resolv.conf"
    resolver.write_text(f"nameserver {DNS_SERVICE_IP}\nsearch svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}\noptions ndots:5\n")
    commands = [
        "ip link set lo up",
        *(f"ip addr add {address}/32 dev lo" for address in NODE_ADDRESSES.values()),
        # WebRTC clients, which may run beside the pods, do not use the addresses of loopback.
        "ip link add node0 type veth peer name node1",
        "ip link set node0 up",
        "ip link set node1 up",
        f"ip addr add {ctx.node_ip}/32 dev node0",
        f"ip route add default dev lo src {ctx.node_ip}",
        # Nobody is behind the addresses of pods that KWOK plays: a connection fails at once, not by its deadline.
        f"ip route add unreachable {SIMULATED_PODS}",
    ]
    if Path("/etc/resolv.conf").exists():
        commands.append(f"mount --bind {resolver} /etc/resolv.conf")
    for command in commands:
        process = await asyncio.create_subprocess_exec(*command.split(), stderr=asyncio.subprocess.PIPE)
        _, error = await process.communicate()
        if process.returncode:
            raise LabError(f"{command}: {error.decode().strip()}")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


async def run_component(ctx: LabContext, component: Component, pass_fds: tuple[int, ...] = ()) -> None:
    """Run one program with its log until it ends, which is an error: raises LabError with its last line."""
    log = ctx.logs / f"{component.name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *component.argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=pass_fds
        )
    code = await process.wait()
    lines = log.read_text(errors="replace").strip().splitlines()
    raise LabError(f"{component.name} ended with code {code}: {lines[-1][:300] if lines else 'it said nothing'}")


def forwarder(ctx: LabContext, listener_fd: int) -> Component:
    """The program that publishes the API server on the host."""
    target = f"{ctx.node_ip}:{API_PORT}"
    return Component("forward", [ctx.python, "-m", "visio_lab.forward", "--fd", str(listener_fd), "--to", target])


@contextlib.asynccontextmanager
async def open_api(ctx: LabContext) -> Any:
    """An HTTP session with the API server as the lab's own user."""
    context = ssl.create_default_context(cafile=str(ctx.directory / "pki" / "ca.crt"))
    context.load_cert_chain(ctx.directory / "pki" / "lab.crt", ctx.directory / "pki" / "lab.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://{NODE_IP}:{API_PORT}", connector=connector) as session:
        yield session


def api_ready(api: aiohttp.ClientSession) -> Any:
    """A question for `until`: is the API server ready?"""

    async def ask() -> bool:
        async with api.get("/readyz") as response:
            return response.status == 200

    return ask


def workers_ready(api: aiohttp.ClientSession) -> Any:
    """A question for `until`: are the lab's ordinary nodes Ready?"""

    async def ask() -> bool:
        async with api.get("/api/v1/nodes") as response:
            nodes = (await response.json())["items"]
        ready = [node for node in nodes if ("Ready", "True") in conditions(node)]
        return len(ready) >= WORKER_NODES

    return ask


def service_accounts_ready(api: aiohttp.ClientSession) -> Any:
    """A question for `until`: does a pod in namespace default find its ServiceAccount?"""

    async def ask() -> bool:
        async with api.get("/api/v1/namespaces/default/serviceaccounts/default") as response:
            return response.status == 200

    return ask


def conditions(node: dict[str, Any]) -> set[tuple[str, str]]:
    """Type and status of each condition."""
    return {(each["type"], each["status"]) for each in node.get("status", {}).get("conditions", [])}


async def until(question: Any) -> None:
    """Ask every POLL_S until the answer is yes; no answer counts as no."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            if await question():
                return
        await asyncio.sleep(POLL_S)


def watch_lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop the lab when `up` ends without having released it."""

    def read() -> None:
        if os.read(LIFELINE_FD, 1) != RELEASE:
            stop.set()
        loop.remove_reader(LIFELINE_FD)

    loop.add_reader(LIFELINE_FD, read)


def reap_until(child: int) -> int:
    """Be the first process of the namespace: bury orphans until `child` ends, and return its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main() -> int:
    """Run as the first process of the lab's namespaces: `--dir` is the lab's directory, `--listener` a socket."""
    parser = argparse.ArgumentParser(description="the first process inside a lab")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--listener", type=int, required=True)
    arguments = parser.parse_args()
    # Orphans of pods come to the first process. It must be another one than the one whose children asyncio waits for.
    if child := os.fork():
        return reap_until(child)
    ctx = load_context(arguments.dir)
    os.environ["PATH"] = f"{ctx.bin}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    os.set_inheritable(arguments.listener, False)
    started = time.monotonic()
    state = asyncio.run(run_lab(ctx, arguments.listener))
    write_state(ctx.directory, state)
    with (ctx.logs / "lab.log").open("a") as log:
        log.write(f"after {time.monotonic() - started:.1f} s: {state.phase}: {state.failure or 'as asked'}\n")
    return 1 if state.failure else 0


if __name__ == "__main__":
    sys.exit(main())
