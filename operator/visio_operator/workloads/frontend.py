"""The web front end: static files behind nginx, without any configuration of its own."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .autoscalers import autoscaler, left_to_autoscaler
from .common import Manifest, Site
from .containers import TMP, VISIO, amounts, container, http_probe, linger, mount, port, scratch
from .pods import Pod, deployment, disruption_budget, service, service_account, service_port


def frontend(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The pages and scripts that browsers load."""
    part = plan.part("frontend")
    if part is None:
        return []
    main = container(
        "frontend",
        release.images["frontend"],
        command=["nginx", "-g", "daemon off;"],
        ports=[port("http", 8080)],
        startupProbe=http_probe("/", "http", period=2, failures=30),
        livenessProbe=http_probe("/", "http", period=15, failures=3),
        readinessProbe=http_probe("/", "http", period=5, failures=2),
        lifecycle=linger(5),
        resources=amounts({"cpu": "50m", "memory": "64Mi"}, {"memory": "256Mi"}),
        volumeMounts=[mount("tmp", TMP)],
    )
    pod = Pod("frontend", VISIO, 30, (main,), volumes=(scratch("tmp", "256Mi"),))
    return [
        service_account(site, "frontend"),
        service(site, "frontend", service_port("http", 80)),
        left_to_autoscaler(site, deployment(site, pod, part.replicas), "frontend"),
        *autoscaler(site, "frontend"),
        disruption_budget(site, "frontend"),
    ]
