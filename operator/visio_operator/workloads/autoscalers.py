"""Horizontal pod autoscalers for the parts whose load shows in their CPU: the API and the front end.

CPU needs metrics-server only, which managed clusters have, and no adapter for metrics of our own. Without metrics an
autoscaler leaves the number of replicas as it is.
"""

from __future__ import annotations

from visio_operator.api.spec import GROUP
from visio_operator.plan.load import autoscaled

from .common import Manifest, Site, metadata, object_name

TARGET = {"backend": 60, "frontend": 70}
"""Mean CPU in per cent of the request. A backend pod has three request slots and no queue (facts/visio.md 1): at 60 %
one of three is free on average while a new pod starts. The front end only hands out files."""
INITIAL_REPLICAS = f"{GROUP}/initial-replicas"
_QUIET = 600
"""Seconds for which less has to be enough: meetings begin at full and half hours, and the next wave is near."""


def left_to_autoscaler(site: Site, deployment: Manifest, part: str) -> Manifest:
    """The Deployment without its number of replicas where an autoscaler decides it: two writers undo each other.

    With how many it begins stands in an annotation, since a server's default of one would be too few for a moment.
    """
    bounds = autoscaled(site.spec, part)
    if bounds is None or deployment["spec"]["replicas"] == 0:
        # An autoscaler leaves a Deployment alone that is told to have no pod.
        return deployment
    meta = {**deployment["metadata"], "annotations": {INITIAL_REPLICAS: str(bounds.min)}}
    spec = {key: value for key, value in deployment["spec"].items() if key != "replicas"}
    return {**deployment, "metadata": meta, "spec": spec}


def autoscaler(site: Site, part: str) -> list[Manifest]:
    """The autoscaler of a part that has bounds to move in: quick up, slow and one by one down."""
    bounds = autoscaled(site.spec, part)
    if bounds is None:
        return []
    return [
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata(site, part),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": object_name(site, part)},
                "minReplicas": bounds.min,
                "maxReplicas": bounds.max,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": TARGET[part]},
                        },
                    }
                ],
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 0,
                        "selectPolicy": "Max",
                        "policies": [
                            {"type": "Percent", "value": 100, "periodSeconds": 30},
                            {"type": "Pods", "value": 2, "periodSeconds": 30},
                        ],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": _QUIET,
                        "selectPolicy": "Max",
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
                    },
                },
            },
        }
    ]
