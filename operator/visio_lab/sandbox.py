"""A pod's network: a network namespace of its own, joined to the node by a routed pair of virtual interfaces.

Routed and not bridged: across a bridge, replies would pass by the connection tracking that Services rely on. The node
side answers ARP for everything, so the pod needs one made-up gateway and no subnet.
"""

import asyncio
import contextlib
import ipaddress
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path

GATEWAY = "169.254.1.1"
PROCESS_POD_CIDR = ipaddress.ip_network("10.244.128.0/17")
"""The upper half of the pod range; KWOK hands out the lower one (stages.py)."""


class SandboxError(Exception):
    """The network of a pod could not be made; the text is the reason in one line."""


@dataclass(frozen=True)
class Sandbox:
    """One pod's network: its address, and the process that keeps the namespace alive."""

    address: str
    interface: str
    holder: Process

    @property
    def network_namespace(self) -> str:
        """Path of the namespace for nsenter."""
        return f"/proc/{self.holder.pid}/ns/net"


class Addresses:
    """Pod addresses in turn: one that was given back is the last to be used again, as connections may linger."""

    def __init__(self) -> None:
        self._next = 0
        self._used: set[str] = set()

    def take(self) -> str:
        """A free address. Raises SandboxError when all are taken."""
        for _ in range(PROCESS_POD_CIDR.num_addresses - 2):
            self._next = self._next % (PROCESS_POD_CIDR.num_addresses - 2) + 1
            address = str(PROCESS_POD_CIDR[self._next])
            if address not in self._used:
                self._used.add(address)
                return address
        raise SandboxError("no free pod address")

    def give_back(self, address: str) -> None:
        """The pod with this address is gone."""
        self._used.discard(address)


async def open_sandbox(address: str, node_ip: str) -> Sandbox:
    """Make the namespace and join it to the node under `address`. Raises SandboxError."""
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", "echo; exec sleep infinity", stdin=DEVNULL, stdout=PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()  # the shell speaks once it is inside the new namespace
    host = f"pod{holder.pid}"
    sandbox = Sandbox(address, host, holder)
    try:
        await _ip([], f"link add {host} type veth peer name eth0 netns {holder.pid}")
        Path(f"/proc/sys/net/ipv4/conf/{host}/proxy_arp").write_text("1")
        await _ip([], f"link set {host} up", f"route add {address}/32 dev {host} src {node_ip}")
        await _ip(
            ["nsenter", f"--net={sandbox.network_namespace}"],
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY} dev eth0 scope link",
            f"route add default via {GATEWAY} dev eth0",
        )
        await _allow_low_ports(sandbox)
    except (SandboxError, OSError) as error:
        await close_sandbox(sandbox)
        raise SandboxError(f"network of {address}: {error}") from error
    return sandbox


async def close_sandbox(sandbox: Sandbox) -> None:
    """End the namespace; its interfaces go with it."""
    with contextlib.suppress(ProcessLookupError):
        sandbox.holder.kill()
    await sandbox.holder.wait()
    with contextlib.suppress(SandboxError):
        await _ip([], f"link del {sandbox.interface}")


async def _allow_low_ports(sandbox: Sandbox) -> None:
    """Any user of the pod may listen on any port, as container runtimes have it."""
    process = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net={sandbox.network_namespace}"),
        *("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"),
        stderr=DEVNULL,
    )
    await process.wait()


async def _ip(prefix: list[str], *commands: str) -> None:
    """Run commands of ip(8) in one process."""
    process = await asyncio.create_subprocess_exec(
        *prefix, "ip", "-batch", "-", stdin=PIPE, stdout=DEVNULL, stderr=PIPE
    )
    _, error = await process.communicate("\n".join(commands).encode() + b"\n")
    if process.returncode:
        lines = error.decode(errors="replace").strip().splitlines()
        raise SandboxError(lines[0] if lines else f"ip ended with {process.returncode}")
