"""Services and cluster DNS of the lab: a real kube-proxy (nftables) and a real CoreDNS.

CoreDNS answers on the node's own address behind the Service `kube-dns`, so no pod network is needed to bring it up. The
EndpointSlice of that Service is written by hand, because no pod stands behind it.
"""

import asyncio
import os
import struct
from asyncio.subprocess import DEVNULL
from pathlib import Path

import yaml

from visio_lab import front_door
from visio_lab.api import Api, ApiError, Json, open_api
from visio_lab.cloud_nodes import WORKERS
from visio_lab.context import CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE_CIDR, POD_CIDR, LabContext

DNS_PORT = 53
START_S = 60.0
POLL_S = 0.05
RESTART_S = 0.5

_running: set[asyncio.Task[None]] = set()


class NetworkError(Exception):
    """Services or DNS did not come up; the text names the program and its log."""


async def start_network(ctx: LabContext) -> None:
    """Start kube-proxy and CoreDNS, and return once a name of a Service resolves through DNS's own Service address.

    Raises NetworkError after START_S seconds without an answer.
    """
    config = ctx.directory / "config"
    config.mkdir(exist_ok=True)
    proxy, corefile = config / "kube-proxy.yaml", config / "Corefile"
    proxy.write_text(yaml.safe_dump(proxy_configuration(ctx)))
    corefile.write_text(corefile_text(ctx))
    keep_running(ctx, "kube-proxy", [str(ctx.bin / "kube-proxy"), f"--config={proxy}"])
    keep_running(ctx, "coredns", [str(ctx.bin / "coredns"), "-conf", str(corefile)])
    async with open_api(ctx) as api:
        await publish_dns(api, ctx.node_ip)
    if not await dns_answers(DNS_SERVICE_IP, f"kubernetes.default.svc.{CLUSTER_DOMAIN}", START_S):
        logs = f"{ctx.logs / 'kube-proxy.log'} and {ctx.logs / 'coredns.log'}"
        raise NetworkError(f"cluster DNS did not answer within {START_S:.0f} s: see {logs}")


def proxy_configuration(ctx: LabContext) -> Json:
    """kube-proxy's configuration file. It acts for the first worker; node_ports.py puts right what others would do.

    Connection tracking limits are host-wide sysctls which a lab may not touch: zero leaves them alone.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": next(iter(WORKERS)),
        "clientConnection": {"kubeconfig": str(ctx.inner_kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [NODE_CIDR],
    }


def corefile_text(ctx: LabContext) -> str:
    """CoreDNS's configuration: the cluster's own zone, and where all pods are real what leads outside names to them.

    Nothing outside is reachable.
    """
    cluster, outside = f".:{DNS_PORT}", ""
    if ctx.real_pods:
        cluster, outside = f"{CLUSTER_DOMAIN}:{DNS_PORT} in-addr.arpa:{DNS_PORT}", front_door.outside_names(ctx)
    return f"""\
{cluster} {{
    bind {ctx.node_ip}
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {ctx.inner_kubeconfig}
        pods insecure
        ttl 1
    }}
    loadbalance
}}
{outside}"""


async def publish_dns(api: Api, node_ip: str) -> None:
    """Create the Service `kube-dns` and the EndpointSlice that leads it to CoreDNS on the node."""
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    metadata = {"name": "kube-dns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}}
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "clusterIP": DNS_SERVICE_IP,
            "ports": [{"name": name, "protocol": protocol, "port": DNS_PORT} for name, protocol in ports],
        },
    }
    slice_: Json = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-lab", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [node_ip], "conditions": {"ready": True}}],
        "ports": [{"name": name, "protocol": protocol, "port": DNS_PORT} for name, protocol in ports],
    }
    while True:
        try:
            await api.apply("/api/v1/namespaces/kube-system/services/kube-dns", service)
            await api.apply("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-lab", slice_)
        except ApiError as error:
            # In its first moments the API server has neither its own namespaces nor a Service range.
            if error.status not in (403, 404, 422, 500, 503):
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


def keep_running(ctx: LabContext, name: str, argv: list[str]) -> None:
    """Run a program of the network in the background, again when it ends; its log is `<logs>/<name>.log`."""
    task = asyncio.create_task(_keep_running(argv, ctx.logs / f"{name}.log", ctx.bin), name=name)
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _keep_running(argv: list[str], log: Path, binaries: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    while True:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=DEVNULL, stdout=output, stderr=output, env=environment
            )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        await asyncio.sleep(RESTART_S)


async def dns_answers(server: str, name: str, within_s: float) -> bool:
    """Whether `server` gives an address for `name` (an A record) within that many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    while loop.time() < deadline:
        answer: asyncio.Future[bytes] = loop.create_future()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda answer=answer: _Answer(answer),  # type: ignore[misc]
                remote_addr=(server, DNS_PORT),
            )
        except OSError:
            await asyncio.sleep(POLL_S)
            continue
        try:
            transport.sendto(question)
            reply = await asyncio.wait_for(answer, 0.5)
            if struct.unpack(">H", reply[6:8])[0] > 0:
                return True
        except (OSError, TimeoutError):
            pass
        finally:
            transport.close()
        await asyncio.sleep(POLL_S)
    return False


class _Answer(asyncio.DatagramProtocol):
    """The first datagram that comes back, or the error in its place."""

    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)
