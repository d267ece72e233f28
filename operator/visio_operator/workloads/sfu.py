"""The LiveKit media servers and the ports by which media reach them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from visio_operator.plan.addresses import is_told
from visio_operator.plan.drains import drain_seconds
from visio_operator.plan.media import SFU_CPU, sfu_cores
from visio_operator.plan.plan import CanaryPlan, Plan, Release

from .common import (
    RELEASE,
    TRACK_LABEL,
    Expanded,
    Manifest,
    Site,
    config_text,
    env_composed,
    metadata,
    object_name,
    selector,
)
from .connections import (
    LIVEKIT_PORT,
    from_secret,
    keys,
    livekit_redis,
    redis_password,
)
from .containers import PLAIN, amounts, container, http_probe, mount, port
from .media import ANNOUNCED, SLOT, Media, media, node_address
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service, service_account, service_port
from .turn import TURN_PORT, turn_host
from .webhooks import accepted_keys, webhook, webhook_relay

METRICS_PORT = 6789
TRACK_CANARY = {TRACK_LABEL: "canary"}
_ANNOUNCED = "/etc/visio-announced"
_WAIT = f"trap 'exit 143' TERM; until [ -s {_ANNOUNCED}/address ]; do sleep 1; done"
"""The first process of a container ends at SIGTERM only if it says so itself."""
_ANNOUNCED_VOLUME: Manifest = {
    "name": "announced",
    "downwardAPI": {"items": [{"path": "address", "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOUNCED}']"}}]},
}


def sfu(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The media servers, their address inside the cluster and their media ports."""
    part = plan.part("sfu")
    if part is None:
        return []
    ports = media(site)
    # Where a server has the ports of its node, its successor waits until it has drained.
    surge = 0 if ports.bound_to_node else 1
    manifests = [service_account(site, "sfu"), service(site, "sfu", service_port("http", LIVEKIT_PORT))]
    manifests += _media_services(site, plan, ports, part.replicas)
    manifests += [deployment(site, _pod(site, plan, release), part.replicas, surge=surge)]
    if plan.canary is not None:
        manifests += [_canary(site, plan, plan.canary, surge)]
    return [*manifests, disruption_budget(site, "sfu")]


def _pod(site: Site, plan: Plan, release: Release) -> Pod:
    spec = site.spec.sfu
    ports, told = media(site), is_told(spec)
    main = container(
        "sfu",
        release.images["livekit"],
        env=_environment(site, plan, ports),
        ports=[port("http", LIVEKIT_PORT), port("metrics", METRICS_PORT), *_media_ports(ports)],
        startupProbe=http_probe("/", "http", period=2, failures=60),
        # 406 while the node's own statistics are late, which a busy server may be for a moment.
        livenessProbe=http_probe("/", "http", period=10, failures=6),
        readinessProbe=http_probe("/", "http", period=5, failures=3),
        resources=amounts({"cpu": SFU_CPU, "memory": "1Gi"}, {"memory": "4Gi"}),
    )
    return Pod(
        "sfu",
        PLAIN,
        # After SIGTERM a server takes no new rooms and leaves when the last one has ended.
        drain_seconds(site.spec),
        (main,),
        init=(*((_wait_for_address(release.images["livekit"]),) if told else ()), *webhook_relay(site, plan, release)),
        volumes=(_ANNOUNCED_VOLUME,) if told else (),
        annotations=KEEP_SESSIONS,
        one_per_node=ports.bound_to_node,
        host_network=ports.exposure == "hostNetwork",
    )


def _canary(site: Site, plan: Plan, canary: CanaryPlan, surge: int) -> Manifest:
    """The media server that tries another release.

    Its pods carry every label of a media server, so that Services, policies, the disruption budget, the rule of one
    server for each node and the lists of the operator take it as one, and no selector of what runs has to change, which
    the API server refuses for a Deployment. The label on top of them keeps the two Deployments apart: this one selects
    by it. The older one's selector matches these pods too, which does no harm: controllers count and adopt by owner,
    and an owner's ReplicaSets select by the hash of their template besides, in which the label is.
    """
    made = deployment(
        site, replace(_pod(site, plan, canary.release), labels=TRACK_CANARY), canary.replicas, surge=surge
    )
    meta = metadata(site, "sfu", object_name(site, "sfu-canary"))
    made["metadata"] = {
        **meta,
        "labels": {**meta["labels"], **TRACK_CANARY},
        "annotations": {RELEASE: canary.release.version},
    }
    made["spec"]["selector"] = {"matchLabels": {**selector(site, "sfu"), **TRACK_CANARY}}
    return made


def _media_ports(ports: Media) -> list[Manifest]:
    return [port("media-tcp", ports.tcp), *(port(f"media-{i}", udp, "UDP") for i, udp in enumerate(ports.udp))]


def _media_services(site: Site, plan: Plan, ports: Media, replicas: int) -> list[Manifest]:
    """What publishes the media ports: one Service for all nodes, or a load balancer for each server."""
    published = [
        service_port("media-tcp", ports.tcp),
        *(service_port(f"media-{index}", udp, protocol="UDP") for index, udp in enumerate(ports.udp)),
    ]
    if ports.exposure == "nodePort":
        fixed = [{**one, "nodePort": one["port"]} for one in published]
        return [_media_service(site, "sfu-media", "NodePort", selector(site, "sfu"), fixed)]
    if ports.exposure == "loadBalancer":
        return [
            _media_service(
                site, f"sfu-media-{slot}", "LoadBalancer", {**selector(site, "sfu"), SLOT: str(slot)}, published
            )
            for slot in plan.media_slots or range(replicas)
        ]
    return []


def _media_service(site: Site, name: str, kind: str, selected: dict[str, str], ports: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(site, "sfu", object_name(site, name)),
        "spec": {
            "type": kind,
            "externalTrafficPolicy": "Local",
            # A server that is slow to answer a probe, or that drains, still carries its rooms.
            "publishNotReadyAddresses": True,
            "selector": selected,
            "ports": ports,
        },
    }


def _wait_for_address(image: str) -> Manifest:
    """Wait until the operator has written on the pod which address it is to announce.

    With none LiveKit would announce that of the pod, and nobody outside would hear anything.
    """
    return container(
        "address",
        image,
        command=["/bin/sh", "-c", _WAIT],
        resources=amounts({"cpu": "10m", "memory": "16Mi"}, {"memory": "64Mi"}),
        volumeMounts=[mount("announced", _ANNOUNCED, read_only=True)],
    )


def _environment(site: Site, plan: Plan, ports: Media) -> list[Manifest]:
    turn = [from_secret("TURN_SECRET", keys(site, "turnSecret"))] if site.spec.sfu.network == "turnTLS" else []
    return [
        *accepted_keys(site),
        *redis_password(site),
        *turn,
        *node_address(site),
        env_composed("LIVEKIT_CONFIG", config_text(_config(site, plan, ports))),
    ]


def _config(site: Site, plan: Plan, ports: Media) -> dict[str, Any]:
    first, last = ports.udp[0], ports.udp[-1]
    given = site.spec.sfu.external_address
    stun = list(given.stun_servers) if given is not None else []
    rtc: dict[str, Any] = {
        "tcp_port": ports.tcp,
        "udp_port": first if first == last else f"{first}-{last}",
        "use_external_ip": bool(stun),
    }
    if site.spec.sfu.network == "turnTLS":
        rtc["turn_servers"] = [
            {"host": turn_host(site), "port": TURN_PORT, "protocol": "tls", "secret": Expanded("$(TURN_SECRET)")}
        ]
    # Without an entry LiveKit sends every browser to STUN servers of Google and Twilio. Browsers need none: the
    # servers announce public addresses. This one names ourselves, and nothing answers there.
    rtc["stun_servers"] = stun or [f"{site.spec.livekit_public_host}:{ports.tcp}"]
    return {
        "port": LIVEKIT_PORT,
        "prometheus": {"port": METRICS_PORT},
        "rtc": rtc,
        "redis": dict(livekit_redis(site)),
        "webhook": webhook(site, plan),
        "limit": {"num_tracks": _most_tracks(site)},
        "logging": {"json": True, "level": "info"},
    }


def _most_tracks(site: Site) -> int:
    """Tracks from which a server refuses even participants of its own rooms, counted in and out.

    So many as one room has in which everybody that the server is sized for is seen and heard by everybody: two of each
    participant's own, and two of each other one's. A smaller limit would shut people out of a meeting.
    """
    people = site.spec.sfu.participants_per_core * sfu_cores(site.spec)
    return 2 * people**2
