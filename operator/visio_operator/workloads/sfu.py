"""The LiveKit media servers and the ports by which media reach them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from visio_operator.api.fields import seconds
from visio_operator.plan.plan import Plan, Release

from .common import Expanded, Manifest, Site, config_text, env_composed, env_field, metadata, object_name, selector
from .connections import (
    LIVEKIT_PORT,
    from_secret,
    keys,
    livekit_keys,
    livekit_redis,
    redis_password,
)
from .containers import PLAIN, amounts, container, http_probe, port
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service, service_account, service_port
from .quantities import parse
from .turn import TURN_PORT, turn_host

DRAIN = 18_000
"""Seconds a server may take until its last room has ended, when the user sets no deadline; Visio's own figure."""
TRACKS_PER_CORE = 400
"""LiveKit's sample configuration; its code sets no limit at all (facts/visio.md 6)."""
METRICS_PORT = 6789
CPU_REQUEST = "2"
_FIRST_NODE_PORT = 30_000
_BLOCK = 8
_BLOCKS = 340


@dataclass(frozen=True)
class Media:
    """The ports for media, the same outside and inside, since a server announces the port that it listens on."""

    udp: range
    tcp: int
    address: str
    """Field of the pod that holds the address to announce."""
    on_nodes: bool
    """Published on the nodes by a Service."""

    @property
    def bound_to_node(self) -> bool:
        """Two servers on one node would take each other's ports or packets."""
        return self.address == "status.hostIP"


def media(site: Site) -> Media:
    """How media reach the servers.

    A Service cannot tell rooms apart, so each server has to be reached under an address of its own. On node ports it is
    that of its node: with the local traffic policy a node hands its packets to the one server that runs on it.
    """
    spec = site.spec.sfu
    if spec.network == "turnTLS":
        return Media(range(7882, 7883), 7881, "status.podIP", on_nodes=False)
    if spec.host_network:
        return Media(range(7882, 7883), 7881, "status.hostIP", on_nodes=False)
    first = _node_port_block(site)
    count = _BLOCK if spec.network == "nodePorts" else 1
    return Media(range(first, first + count), first, "status.hostIP", on_nodes=True)


def _node_port_block(site: Site) -> int:
    """The first of eight node ports, derived from the deployment's name so that firewalls can be opened for good."""
    number = int(sha256(f"{site.namespace}/{site.name}".encode()).hexdigest(), 16)
    return _FIRST_NODE_PORT + _BLOCK * (number % _BLOCKS)


def sfu(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The media servers, their address inside the cluster and their media ports."""
    part = plan.part("sfu")
    if part is None:
        return []
    spec = site.spec.sfu
    ports = media(site)
    main = container(
        "sfu",
        release.images["livekit"],
        env=_environment(site, ports),
        ports=[port("http", LIVEKIT_PORT), port("metrics", METRICS_PORT), *_media_ports(ports)],
        startupProbe=http_probe("/", "http", period=2, failures=60),
        # 406 while the node's own statistics are late, which a busy server may be for a moment.
        livenessProbe=http_probe("/", "http", period=10, failures=6),
        readinessProbe=http_probe("/", "http", period=5, failures=3),
        resources=amounts({"cpu": CPU_REQUEST, "memory": "1Gi"}, {"memory": "4Gi"}),
    )
    pod = Pod(
        "sfu",
        PLAIN,
        # After SIGTERM a server takes no new rooms and leaves when the last one has ended.
        seconds(spec.drain_deadline) if spec.drain_deadline else DRAIN,
        (main,),
        annotations=KEEP_SESSIONS,
        one_per_node=ports.bound_to_node,
        host_network=spec.host_network,
    )
    manifests = [service_account(site, "sfu"), service(site, "sfu", service_port("http", LIVEKIT_PORT))]
    if ports.on_nodes:
        manifests.append(_media_service(site, ports))
    surge = 0 if ports.bound_to_node else 1
    return [*manifests, deployment(site, pod, part.replicas, surge=surge), disruption_budget(site, "sfu")]


def _media_ports(ports: Media) -> list[Manifest]:
    return [port("media-tcp", ports.tcp), *(port(f"media-{i}", udp, "UDP") for i, udp in enumerate(ports.udp))]


def _media_service(site: Site, ports: Media) -> Manifest:
    published = [
        {**service_port("media-tcp", ports.tcp), "nodePort": ports.tcp},
        *(
            {**service_port(f"media-{index}", udp, protocol="UDP"), "nodePort": udp}
            for index, udp in enumerate(ports.udp)
        ),
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(site, "sfu", object_name(site, "sfu-media")),
        "spec": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "selector": selector(site, "sfu"),
            "ports": published,
        },
    }


def _environment(site: Site, ports: Media) -> list[Manifest]:
    turn = [from_secret("TURN_SECRET", keys(site, "turnSecret"))] if site.spec.sfu.network == "turnTLS" else []
    return [
        *livekit_keys(site),
        *redis_password(site),
        *turn,
        env_field("NODE_IP", ports.address),
        # In quotes, since a hexadecimal key of digits would be read as a number and dropped.
        env_composed("LIVEKIT_KEYS", '"$(LIVEKIT_API_KEY)": "$(LIVEKIT_API_SECRET)"'),
        env_composed("LIVEKIT_CONFIG", config_text(_config(site, ports))),
    ]


def _config(site: Site, ports: Media) -> dict[str, Any]:
    first, last = ports.udp[0], ports.udp[-1]
    rtc: dict[str, Any] = {
        "tcp_port": ports.tcp,
        "udp_port": first if first == last else f"{first}-{last}",
        "use_external_ip": False,
    }
    if site.spec.sfu.network == "turnTLS":
        rtc["turn_servers"] = [
            {"host": turn_host(site), "port": TURN_PORT, "protocol": "tls", "secret": Expanded("$(TURN_SECRET)")}
        ]
    # Without an entry LiveKit sends every browser to STUN servers of Google and Twilio. Browsers need none: the
    # servers announce public addresses. This one names ourselves, and nothing answers there.
    rtc["stun_servers"] = [f"{site.spec.livekit_public_host}:{ports.tcp}"]
    return {
        "port": LIVEKIT_PORT,
        "prometheus": {"port": METRICS_PORT},
        "rtc": rtc,
        "redis": dict(livekit_redis(site)),
        "webhook": {
            # The API accepts webhooks that are signed with its own key only, and by the public URL only.
            "api_key": Expanded("$(LIVEKIT_API_KEY)"),
            "urls": [f"https://{site.spec.host}/api/v1.0/rooms/webhooks-livekit/"],
        },
        "limit": {"num_tracks": TRACKS_PER_CORE * _cores(site)},
        "logging": {"json": True, "level": "info"},
    }


def _cores(site: Site) -> int:
    override = next((one for one in site.spec.overrides if one.part == "sfu"), None)
    requested = override.resources.requests.get("cpu") if override and override.resources else None
    return max(1, int(parse(requested or CPU_REQUEST)[0]))
