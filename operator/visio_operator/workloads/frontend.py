"""The web front end: static files behind nginx, without any configuration of its own."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .autoscalers import autoscaler, left_to_autoscaler
from .common import Manifest, Site
from .containers import TMP, VISIO, amounts, container, http_probe, linger, mount, port, scratch
from .pods import Pod, deployment, disruption_budget, service, service_account, service_port

_SCRIPTS = "/usr/share/nginx/html/assets"
_ALL_SCRIPTS = "/scripts"
_COPY = f"[ ! -d {_SCRIPTS} ] || cp -rn {_SCRIPTS}/. {_ALL_SCRIPTS}/"
"""Without overwriting: what two releases name alike is the newer one's, and its name says that it is the same. A front
end of somebody else may keep its scripts elsewhere."""


def frontend(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The pages and scripts that browsers load.

    After an upgrade the scripts of earlier releases are offered too, for pages that are still open.
    """
    part = plan.part("frontend")
    if part is None:
        return []
    image, older = release.images["frontend"], plan.older_pages
    main = container(
        "frontend",
        image,
        command=["nginx", "-g", "daemon off;"],
        ports=[port("http", 8080)],
        startupProbe=http_probe("/", "http", period=2, failures=30),
        livenessProbe=http_probe("/", "http", period=15, failures=3),
        readinessProbe=http_probe("/", "http", period=5, failures=2),
        lifecycle=linger(5),
        resources=amounts({"cpu": "50m", "memory": "64Mi"}, {"memory": "256Mi"}),
        volumeMounts=[mount("tmp", TMP), *([mount("scripts", _SCRIPTS, read_only=True)] if older else [])],
    )
    pod = Pod(
        "frontend",
        VISIO,
        30,
        (main,),
        # Its own first, then those of the others from the newest on.
        init=tuple(_scripts(index, each) for index, each in enumerate((image, *older))) if older else (),
        volumes=(scratch("tmp", "256Mi"), *([scratch("scripts", "256Mi")] if older else [])),
    )
    return [
        service_account(site, "frontend"),
        service(site, "frontend", service_port("http", 80)),
        left_to_autoscaler(site, deployment(site, pod, part.replicas), "frontend"),
        *autoscaler(site, "frontend"),
        disruption_budget(site, "frontend"),
    ]


def _scripts(index: int, image: str) -> Manifest:
    return container(
        f"scripts-{index}",
        image,
        command=["/bin/sh", "-c", _COPY],
        resources=amounts({"cpu": "50m", "memory": "32Mi"}, {"memory": "128Mi"}),
        volumeMounts=[mount("scripts", _ALL_SCRIPTS)],
    )
