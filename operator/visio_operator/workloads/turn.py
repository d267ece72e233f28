"""TURN over TLS on port 443, for networks that let nothing else out: coturn in front of the media servers."""

from __future__ import annotations

from visio_operator.plan.drains import drain_seconds
from visio_operator.plan.plan import Plan, Release

from .common import CONFIG_DIGEST, Manifest, Site, container_security, digest, metadata, object_name
from .connections import from_secret, keys
from .containers import TMP, User, amounts, container, mount, port, scratch, tcp_probe
from .media import first_node_port
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service, service_account, service_port

TURN_PORT = 443
_LINGER = 15
TLS_PORT = 5349
RELAY_PORTS = range(49_152, 50_176)
_NOBODY = User(65_534, 65_534)
_CERTIFICATE = "/etc/coturn-tls"
_CONFIG = "/etc/coturn-config"
_COMPLETE = f"{TMP}/turnserver.conf"
# The text is constant and the secret stays in the environment: no value is ever a word of the shell.
_ADD_SECRET = (
    f'set -eu; umask 077; {{ cat {_CONFIG}/turnserver.conf; printf "static-auth-secret=%s\\n" "$TURN_SECRET"; }}'
    f" > {_COMPLETE}; exec turnserver -c {_COMPLETE}"
)


def listening_port(site: Site) -> int:
    """The port that the program listens on: that of the outside only where it is on the node's own network."""
    return TURN_PORT if site.spec.sfu.exposure == "hostNetwork" else TLS_PORT


def _drained(number: int) -> str:
    """Wait until proxies send nothing new, and then for the last connection to this port (state 01 is established).

    A renewed certificate replaces these pods every few weeks, which must not cut a meeting.
    """
    busy = f"grep -q ':{number:04X} [0-9A-F]*:[0-9A-F]* 01 ' /proc/net/tcp /proc/net/tcp6"
    return f"sleep {_LINGER}; while {busy}; do sleep 5; done"


def turn_host(site: Site) -> str:
    """The public host of the TURN servers; its certificate is that of the other hosts."""
    return f"turn.{site.spec.host}"


def tls_secret(site: Site) -> str:
    """The Secret with the certificate of the public hosts: the user's, or the one that cert-manager fills."""
    given = site.spec.gateway.tls.secret_ref
    return given.name if given is not None else object_name(site, "tls")


def turn(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The TURN servers: behind a load balancer for TCP 443, on a node port for one outside, or on the nodes' 443."""
    part = plan.part("turn")
    if part is None:
        return []
    text, spec = _config(site), site.spec.sfu
    on_nodes = spec.exposure == "hostNetwork"
    # The program's file carries this capability, and cannot be started where it is taken away altogether. It is the
    # only one that PodSecurity `restricted` lets a pod add.
    security = container_security()
    security["capabilities"] = {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    # A node lets only programs with that capability listen on 443, and what a file carries counts for nothing where
    # privileges cannot grow. PodSecurity admits host networks in privileged namespaces only, with or without this.
    security["allowPrivilegeEscalation"] = on_nodes
    main = container(
        "turn",
        release.images["coturn"],
        command=["/bin/sh", "-c", _ADD_SECRET],
        env=[from_secret("TURN_SECRET", keys(site, "turnSecret"))],
        ports=[port("turns", listening_port(site))],
        startupProbe=tcp_probe("turns", period=2, failures=30),
        livenessProbe=tcp_probe("turns", period=15, failures=4),
        readinessProbe=tcp_probe("turns", period=5, failures=3),
        lifecycle={"preStop": {"exec": {"command": ["/bin/sh", "-c", _drained(listening_port(site))]}}},
        resources=amounts({"cpu": "500m", "memory": "128Mi"}, {"memory": "1Gi"}),
        volumeMounts=[
            mount("tmp", TMP),
            mount("config", _CONFIG, read_only=True),
            mount("certificate", _CERTIFICATE, read_only=True),
        ],
        securityContext=security,
    )
    pod = Pod(
        "turn",
        _NOBODY,
        # All media of its participants go through it, so it stays as long as a media server would.
        drain_seconds(site.spec),
        (main,),
        volumes=(
            scratch("tmp", "64Mi"),
            {"name": "config", "configMap": {"name": object_name(site, "turn")}},
            {"name": "certificate", "secret": {"secretName": tls_secret(site)}},
        ),
        annotations={CONFIG_DIGEST: digest(text), **KEEP_SESSIONS},
        one_per_node=on_nodes,
        host_network=on_nodes,
    )
    return [
        service_account(site, "turn"),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(site, "turn"),
            "data": {"turnserver.conf": text},
        },
        _service(site),
        deployment(site, pod, part.replicas, surge=0 if on_nodes else 1),
        disruption_budget(site, "turn"),
    ]


def _service(site: Site) -> Manifest:
    inside = service_port("turns", TURN_PORT)
    exposure = site.spec.sfu.exposure
    if exposure == "hostNetwork":
        return service(site, "turn", inside)
    if exposure == "nodePort":
        fixed = {**inside, "nodePort": first_node_port(site)}
        return service(site, "turn", fixed, type="NodePort", externalTrafficPolicy="Local")
    return service(site, "turn", inside, type="LoadBalancer", externalTrafficPolicy="Local")


def _config(site: Site) -> str:
    """coturn's configuration without its secret: TLS only, relaying by UDP inside the cluster."""
    lines = [
        f"tls-listening-port={listening_port(site)}",
        "no-udp",
        "no-tcp",
        "no-dtls",
        "no-tcp-relay",
        "no-cli",
        "fingerprint",
        "use-auth-secret",
        f"realm={turn_host(site)}",
        f"cert={_CERTIFICATE}/tls.crt",
        f"pkey={_CERTIFICATE}/tls.key",
        f"min-port={RELAY_PORTS[0]}",
        f"max-port={RELAY_PORTS[-1]}",
        "no-multicast-peers",
        "no-rfc5780",
        "log-file=stdout",
        "simple-log",
        f"pidfile={TMP}/turnserver.pid",
        f"userdb={TMP}/turndb",
    ]
    return "\n".join(lines) + "\n"
