"""The flow matrix: who talks to whom, on which port and why. Network policies are made from it, and nothing else is let
through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .agents import HEALTH_PORT
from .common import Site
from .connections import GARAGE_PORT, LIVEKIT_PORT, Endpoint, database, of_url, redis, storage
from .containers import PROXY_METRICS_PORT
from .egress import METRICS_PORT as EGRESS_METRICS_PORT
from .media import media
from .sfu import METRICS_PORT
from .turn import RELAY_PORTS, listening_port

ANYONE = "anyone"
"""Whatever reaches the cluster: gateway pods of any namespace, load balancers, browsers."""
OPERATOR = "operator"
"""This operator, which reads how busy the servers are."""
PROMETHEUS = "prometheus"
"""The pods that scrape metrics, wherever `spec.signals` says that they are."""
DNS = "dns"
PUBLIC = "public"
"""The deployment's own public hosts, which pods reach through the gateway like everybody else."""
WORLD = "world"
"""Any address outside the cluster: policies know addresses, not names."""

API_IMAGE_PARTS = (
    "backend", "celery-backend", "migrate", "superuser", "clean-pending-files", "purge-deleted-files",
)  # fmt: skip


@dataclass(frozen=True)
class Ports:
    """A protocol and its ports, from `first` to `last`; 0 means all."""

    first: int
    last: int = 0
    protocol: str = "TCP"


ALL_UDP = Ports(0, protocol="UDP")


@dataclass(frozen=True)
class Flow:
    """One permitted direction: who opens the connection, to whom, where, and what for."""

    source: str
    target: str | Endpoint
    ports: tuple[Ports, ...]
    reason: str


def flows(site: Site) -> tuple[Flow, ...]:
    """Every flow that the deployment needs, whether or not its parts exist yet."""
    return (
        *_names(),
        *_front_door(site),
        *_api(site),
        *_media(site),
        *_summary(site),
        *_captions(site),
        *_scrapes(site),
        *_preflight(site),
        *_smoke(site),
    )


def _to(target: Endpoint) -> tuple[str | Endpoint, tuple[Ports, ...]]:
    """Where an endpoint is: a part of ours, or a server outside."""
    return target.part or target, (Ports(target.port),)


def _names() -> Iterator[Flow]:
    clients = (
        *API_IMAGE_PARTS, "sfu", "egress", "subtitles", "metadata", "summary", "summarize", "call-webhook",
        "transcription", "captions",
    )  # fmt: skip
    for part in clients:
        yield Flow(part, DNS, (Ports(53, protocol="UDP"), Ports(53)), "names")


def _front_door(site: Site) -> Iterator[Flow]:
    ports = media(site)
    yield Flow(ANYONE, "frontend", (Ports(8080),), "pages")
    yield Flow(ANYONE, "backend", (Ports(8000),), "API")
    yield Flow(ANYONE, "sfu", (Ports(LIVEKIT_PORT),), "signalling")
    yield Flow(ANYONE, "garage", (Ports(GARAGE_PORT),), "recordings for browsers, signed by the API")
    yield Flow(ANYONE, "turn", (Ports(listening_port(site)),), "TURN over TLS")
    if site.spec.sfu.network != "turnTLS":
        yield Flow(ANYONE, "sfu", (Ports(ports.tcp), _udp(ports.udp)), "media")


def _udp(ports: range) -> Ports:
    return Ports(ports[0], ports[-1], "UDP")


def _api(site: Site) -> Iterator[Flow]:
    for part in API_IMAGE_PARTS:
        yield Flow(part, *_to(database(site)), "database")
        yield Flow(part, *_to(redis(site)), "cache, sessions and queue")
        if part not in ("migrate", "superuser"):
            yield Flow(part, *_to(storage(site).endpoint), "recordings and files")
    for part in ("backend", "celery-backend"):
        yield Flow(part, PUBLIC, (Ports(443),), "LiveKit's API, by its public URL")
    yield Flow("backend", "summary", (Ports(8000),), "finished recordings")
    oidc = site.spec.oidc
    for url in (oidc.jwks_endpoint, oidc.token_endpoint, oidc.user_endpoint):
        yield Flow("backend", *_to(of_url(url)), "sign-in")
    if site.spec.mail is not None:
        mail = Endpoint(site.spec.mail.host, site.spec.mail.port)
        yield Flow("backend", *_to(mail), "mail")


def _media(site: Site) -> Iterator[Flow]:
    ports = media(site)
    signalling_and_media = (Ports(LIVEKIT_PORT), Ports(ports.tcp), _udp(ports.udp))
    yield Flow("sfu", *_to(redis(site)), "bus")
    yield Flow("sfu", PUBLIC, (Ports(443),), "webhooks")
    for client in ("egress", "subtitles", "metadata"):
        yield Flow(client, "sfu", signalling_and_media, "signalling and media")
        # In WebRTC both sides try to reach each other.
        yield Flow("sfu", client, (ALL_UDP,), "media")
        if ports.exposure is not None:
            # They are announced under the address of their node or load balancer, which no pod selector covers.
            yield Flow(client, WORLD, signalling_and_media, "signalling and media")
    if site.spec.sfu.network == "turnTLS":
        relayed = Ports(RELAY_PORTS[0], RELAY_PORTS[-1], "UDP")
        yield Flow("turn", "sfu", (_udp(ports.udp),), "relayed media")
        yield Flow("sfu", "turn", (relayed,), "relayed media")
        if site.spec.sfu.exposure == "hostNetwork":
            # These pods have the address of their node, which no pod selector covers.
            yield Flow("sfu", WORLD, (relayed,), "relayed media")
    else:
        yield Flow("sfu", WORLD, (ALL_UDP,), "media to browsers, on ports of theirs")
    yield from _stun(site)
    yield Flow(OPERATOR, "sfu", (Ports(METRICS_PORT),), "rooms, participants and packets")
    yield Flow(OPERATOR, "egress", (Ports(EGRESS_METRICS_PORT),), "whether a recorder is free")
    yield Flow(OPERATOR, "metadata", (Ports(HEALTH_PORT),), "rooms that an agent on its way out still has")
    yield Flow("egress", *_to(redis(site)), "bus")
    yield from _sentinels(site)
    for part in ("egress", "metadata"):
        yield Flow(part, *_to(storage(site).endpoint), "recordings")


def _sentinels(site: Site) -> Iterator[Flow]:
    """The Sentinels, and wherever they say that Redis is at this moment."""
    sentinel = site.spec.redis.sentinel
    for address in sentinel.addresses if sentinel is not None else ():
        host, _, number = address.rpartition(":")
        for part in ("sfu", "egress"):
            yield Flow(part, Endpoint(host, int(number)), (Ports(int(number)),), "where Redis is")
            yield Flow(part, Endpoint(host, site.spec.redis.port), (Ports(site.spec.redis.port),), "bus")


def _stun(site: Site) -> Iterator[Flow]:
    """The STUN servers of the spec; no other one is ever asked."""
    given = site.spec.sfu.external_address
    for server in given.stun_servers if given is not None else ():
        host, _, number = server.rpartition(":")
        yield Flow("sfu", Endpoint(host, int(number)), (Ports(int(number), protocol="UDP"),), "external address")


def _summary(site: Site) -> Iterator[Flow]:
    for part in ("summary", "summarize", "call-webhook", "transcription"):
        yield Flow(part, *_to(redis(site)), "queues")
        yield Flow(part, *_to(storage(site).endpoint), "recordings and transcripts")
    yield Flow("call-webhook", PUBLIC, (Ports(443),), "results")
    if site.spec.transcription.weights is None:
        yield Flow("transcription", WORLD, (Ports(443),), "model weights, on first start")
    yield Flow(OPERATOR, "transcription", (Ports(8000),), "whether a worker is busy")
    yield Flow(OPERATOR, *_to(redis(site)), "length of the queues")
    if site.spec.llm is not None:
        yield Flow("summarize", *_to(of_url(site.spec.llm.url)), "language model")
    if site.spec.docs is not None:
        for part in ("transcription", "summarize"):
            yield Flow(part, *_to(of_url(site.spec.docs.url)), "delivery to Docs")


def _preflight(site: Site) -> Iterator[Flow]:
    """The check of the connections goes the ways that the parts go."""
    yield Flow("preflight", DNS, (Ports(53, protocol="UDP"), Ports(53)), "names")
    oidc = site.spec.oidc
    outside = [of_url(url) for url in (oidc.jwks_endpoint, oidc.authorization_endpoint, oidc.token_endpoint)]
    outside += [of_url(oidc.user_endpoint), database(site), redis(site), storage(site).endpoint]
    if site.spec.mail is not None:
        outside.append(Endpoint(site.spec.mail.host, site.spec.mail.port))
    outside += [of_url(service.url) for service in (site.spec.docs, site.spec.llm) if service is not None]
    for target in outside:
        if target.part is None:
            yield Flow("preflight", *_to(target), "check of the connections")


def _smoke(site: Site) -> Iterator[Flow]:
    """The smoke test comes as a browser does, and calls what the API calls."""
    ports = media(site)
    yield Flow("smoke", DNS, (Ports(53, protocol="UDP"), Ports(53)), "names")
    yield Flow("smoke", PUBLIC, (Ports(443),), "page, API and LiveKit, as browsers reach them")
    yield Flow("smoke", "sfu", (Ports(METRICS_PORT),), "whether webhooks were delivered")
    if ports.exposure == "hostNetwork":
        # These pods have the address of their node, which no pod selector covers.
        yield Flow("smoke", WORLD, (Ports(METRICS_PORT),), "whether webhooks were delivered")
    if site.spec.sfu.network == "turnTLS":
        yield Flow("smoke", "turn", (Ports(listening_port(site)),), "TURN over TLS")
    else:
        yield Flow("smoke", "sfu", (Ports(ports.tcp), _udp(ports.udp)), "media")
        yield Flow("smoke", WORLD, (Ports(ports.tcp), _udp(ports.udp)), "media, by the addresses that browsers get")
        yield Flow("sfu", "smoke", (ALL_UDP,), "media")
    oidc = site.spec.oidc
    for url in (oidc.jwks_endpoint, oidc.authorization_endpoint, oidc.token_endpoint):
        yield Flow("smoke", *_to(of_url(url)), "sign-in")
    if site.spec.recording.enabled:
        yield Flow("smoke", *_to(storage(site).endpoint), "the recording")
    if site.spec.transcription.enabled:
        yield Flow("smoke", "summary", (Ports(8000),), "the transcription")
    if site.spec.mail is not None:
        yield Flow("smoke", *_to(Endpoint(site.spec.mail.host, site.spec.mail.port)), "mail")
    for service in (site.spec.docs, site.spec.llm):
        if service is not None:
            yield Flow("smoke", *_to(of_url(service.url)), "delivery of transcripts")


def _scrapes(site: Site) -> Iterator[Flow]:
    """The metrics of all that is read from Prometheus."""
    given = site.spec.signals.prometheus
    if given is None:
        return
    yield Flow(OPERATOR, *_to(of_url(given.url)), "signals of load")
    if given.scraper_namespace is None:
        return
    yield Flow(PROMETHEUS, "captions", (Ports(8080),), "used slots")
    yield Flow(PROMETHEUS, "subtitles", (Ports(PROXY_METRICS_PORT),), "waiting streams")
    yield Flow(PROMETHEUS, "sfu", (Ports(METRICS_PORT),), "rooms, participants and packets")
    yield Flow(PROMETHEUS, "egress", (Ports(EGRESS_METRICS_PORT),), "whether a recorder is free")


def _captions(site: Site) -> Iterator[Flow]:
    if site.spec.captions.weights is None:
        yield Flow("captions", WORLD, (Ports(443),), "model weights, on first start")
    yield Flow("subtitles", "captions", (Ports(8080),), "speech to text")
    yield Flow(OPERATOR, "captions", (Ports(8080),), "used slots")
    yield Flow(OPERATOR, "subtitles", (Ports(PROXY_METRICS_PORT),), "waiting streams")
    yield Flow(OPERATOR, "subtitles", (Ports(HEALTH_PORT),), "rooms and load of the agents")
