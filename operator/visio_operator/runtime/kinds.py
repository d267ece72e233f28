"""Every kind of object that the operator touches, with the verbs it needs and why.

The table is the one source for request paths, for the watches and for the roles in the Helm chart.
"""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.api.spec import GROUP, KIND, PLURAL, VERSION

MANAGED = ("get", "list", "watch", "create", "patch", "delete")
"""The verbs for objects that the operator makes, restores and prunes; server-side apply asks for create and patch, and
get sees whose an object is whose name is taken."""


@dataclass(frozen=True)
class Kind:
    """One kind: where the API server serves it and what the operator does with it."""

    name: str
    group: str
    version: str
    plural: str
    verbs: tuple[str, ...]
    reason: str
    namespaced: bool = True
    rendered: bool = False
    """Made from manifests, and pruned when no manifest asks for it any more."""
    optional: bool = False
    """Served only where its CRD is installed."""
    provider: str = ""
    """Whose pools of GPU nodes it belongs to; its rights are given only where the chart names this provider."""
    subresources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path under which the API server serves the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def resource(self) -> str:
        """The name by which a user finds it, such as `nodepools.oks.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of the collection, or of one object."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = f"/{name}" if name else ""
        return f"{self.root}{scope}/{self.plural}{tail}"


def _managed(name: str, group: str, version: str, plural: str, reason: str, *, optional: bool = False) -> Kind:
    return Kind(name, group, version, plural, MANAGED, reason, rendered=True, optional=optional)


KINDS: tuple[Kind, ...] = (
    Kind(
        KIND, GROUP, VERSION, PLURAL, ("get", "list", "watch", "patch"),
        "read what users ask for; patch sets the finalizer",
        subresources=(("status", ("get", "patch")), ("finalizers", ("update",))),
    ),
    Kind(
        "VisioRelease", GROUP, VERSION, "visioreleases", ("list", "watch"), "releases added to the built-in ladder",
        namespaced=False, optional=True,
    ),
    Kind(
        "Secret", "", "v1", "secrets", MANAGED,
        "make generated Secrets once and see which keys the Secrets named in a spec have", rendered=True,
    ),
    Kind(
        "ConfigMap", "", "v1", "configmaps", MANAGED,
        "configuration that is no secret; get sees whether the CA bundle of a spec is there", rendered=True,
    ),
    _managed("ServiceAccount", "", "v1", "serviceaccounts", "one identity for each part"),
    _managed("Service", "", "v1", "services", "addresses of the parts"),
    _managed("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", "default deny and what is allowed"),
    _managed("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", "node maintenance without interruption"),
    _managed(
        "HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers",
        "replicas of the API and the front end by their CPU",
    ),
    _managed("Deployment", "apps", "v1", "deployments", "the parts"),
    _managed("StatefulSet", "apps", "v1", "statefulsets", "embedded PostgreSQL, Redis and object store"),
    _managed("Job", "batch", "v1", "jobs", "migrations, the first administrator, checks and backups"),
    _managed("CronJob", "batch", "v1", "cronjobs", "regular cleaning; get reads the CronJob of backups"),
    _managed(
        "Backup", "postgresql.cnpg.io", "v1", "backups", "backups by CloudNativePG before an upgrade", optional=True
    ),
    Kind(
        "Cluster", "postgresql.cnpg.io", "v1", "clusters", ("get", "create"),
        "restore a backup into a new cluster after somebody has approved it; none is ever changed or deleted",
        optional=True,
    ),
    _managed("Ingress", "networking.k8s.io", "v1", "ingresses", "routes from outside by an ingress controller"),
    _managed(
        "Gateway", "gateway.networking.k8s.io", "v1", "gateways", "routes from outside by the Gateway API",
        optional=True,
    ),
    _managed(
        "HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", "routes from outside by the Gateway API",
        optional=True,
    ),
    _managed(
        "Certificate", "cert-manager.io", "v1", "certificates", "certificates of the public hosts", optional=True
    ),
    _managed(
        "BackendTLSPolicy", "gateway.networking.k8s.io", "v1", "backendtlspolicies", "TLS towards the object store",
        optional=True,
    ),
    _managed("Middleware", "traefik.io", "v1alpha1", "middlewares", "Traefik: filters, downloads", optional=True),
    _managed(
        "ServersTransport", "traefik.io", "v1alpha1", "serverstransports", "Traefik: TLS towards the object store",
        optional=True,
    ),
    _managed("IngressRoute", "traefik.io", "v1alpha1", "ingressroutes", "Traefik: downloads", optional=True),
    _managed(
        "SecurityPolicy", "gateway.envoyproxy.io", "v1alpha1", "securitypolicies",
        "Envoy Gateway: filters by address, downloads", optional=True,
    ),
    _managed(
        "BackendTrafficPolicy", "gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies",
        "Envoy Gateway: long sessions", optional=True,
    ),
    _managed(
        "ClientTrafficPolicy", "gateway.envoyproxy.io", "v1alpha1", "clienttrafficpolicies",
        "Envoy Gateway: downloads", optional=True,
    ),
    _managed(
        "HTTPRouteFilter", "gateway.envoyproxy.io", "v1alpha1", "httproutefilters", "Envoy Gateway: downloads",
        optional=True,
    ),
    _managed("Backend", "gateway.envoyproxy.io", "v1alpha1", "backends", "Envoy Gateway: downloads", optional=True),
    Kind(
        "Pod", "", "v1", "pods", ("list", "watch", "patch"),
        "read the slots of GPU servers; patch takes a server out of service before it is removed",
    ),
    Kind(
        "Node", "", "v1", "nodes", ("get", "list", "watch", "patch"),
        "see when a GPU is ready and which public address a node has; patch cordons a node before it is returned",
        namespaced=False,
    ),
    Kind(
        "NodePool", "oks.dev", "v1beta2", "nodepools", ("get", "list", "watch", "patch"),
        "order and return GPU nodes of Outscale OKS", namespaced=False, optional=True, provider="oks",
    ),
    Kind(
        "MachineDeployment", "cluster.x-k8s.io", "v1beta2", "machinedeployments", ("get", "list", "watch", "patch"),
        "order and return GPU nodes of Cluster API", optional=True, provider="clusterAPI",
    ),
    Kind(
        "Machine", "cluster.x-k8s.io", "v1beta2", "machines", ("list", "watch", "patch"),
        "see why a machine does not come; patch marks the one that shall go", optional=True, provider="clusterAPI",
    ),
    Kind(
        "OvhNodePool", "kube.cloud.ovh.com", "v1alpha1", "nodepools", ("get", "list", "watch", "patch"),
        "order and return GPU nodes of OVHcloud MKS", namespaced=False, optional=True, provider="ovh",
    ),
    Kind(
        "KarpenterNodePool", "karpenter.sh", "v1", "nodepools", ("get", "list", "watch", "patch"),
        "order and return GPU nodes of Karpenter", namespaced=False, optional=True, provider="karpenter",
    ),
    Kind(
        "Lease", "coordination.k8s.io", "v1", "leases", ("get", "create", "update"),
        "one replica acts at a time",
    ),
    Kind("Event", "", "v1", "events", ("create",), "say when a condition changes"),
)  # fmt: skip
"""In the order of application: what others refer to comes first."""

BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}
"""The kinds by name; the group of a name is unambiguous inside this operator."""

RENDERED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.rendered)
"""Kinds made from manifests."""
