"""LiveKit's webhooks to the API, also while one key pair replaces another.

The API accepts a webhook only when it is signed with the pair that it signs with itself, and LiveKit signs with one
pair from its start to its end. So while media servers accept two pairs, a small program beside each of them signs its
webhooks anew with the pair that the API takes at that moment: without it no end of a recording would be heard of.
"""

from __future__ import annotations

from typing import Any

from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.secrets import LIVEKIT_KEYS, LIVEKIT_WEBHOOK_KEY

from .common import Expanded, Manifest, Site, env
from .connections import composed, from_secret
from .containers import amounts, container, http_probe, port

WEBHOOK_PATH = "/api/v1.0/rooms/webhooks-livekit/"
RELAY_PORT = 7890
RELAY_HEALTH_PORT = 7891
_WEBHOOK_KEY = "WEBHOOK_KEY"


def accepted_keys(site: Site) -> list[Manifest]:
    """The key pairs that media servers accept, and the name of the one that signs their webhooks."""
    return [
        from_secret("LIVEKIT_KEYS", composed(site, LIVEKIT_KEYS)),
        from_secret(_WEBHOOK_KEY, composed(site, LIVEKIT_WEBHOOK_KEY)),
    ]


def webhook(site: Site, plan: Plan) -> dict[str, Any]:
    """The `webhook` section of LiveKit's configuration."""
    # Always the public URL: in the cluster the API answers plain HTTP with a redirect.
    url = f"http://127.0.0.1:{RELAY_PORT}/" if _overlap(plan) else _public(site)
    return {"api_key": Expanded(f"$({_WEBHOOK_KEY})"), "urls": [url]}


def webhook_relay(site: Site, plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """The program that signs webhooks anew, as a native sidecar that outlives the server; none without an overlap."""
    if not _overlap(plan):
        return ()
    relay = container(
        "webhook-relay",
        release.images["operator"],
        restartPolicy="Always",
        args=["webhook-relay", "--port", str(RELAY_PORT), "--health-port", str(RELAY_HEALTH_PORT)],
        env=[from_secret("LIVEKIT_KEYS", composed(site, LIVEKIT_KEYS)), *env({"WEBHOOK_URL": _public(site)})],
        ports=[port("relay-health", RELAY_HEALTH_PORT)],
        startupProbe=http_probe("/healthz", "relay-health", period=1, failures=60),
        livenessProbe=http_probe("/healthz", "relay-health", period=15, failures=4),
        resources=amounts({"cpu": "20m", "memory": "64Mi"}, {"memory": "256Mi"}),
    )
    return (relay,)


def _public(site: Site) -> str:
    return f"https://{site.spec.host}{WEBHOOK_PATH}"


def _overlap(plan: Plan) -> bool:
    return plan.livekit is not None and plan.livekit.overlap
