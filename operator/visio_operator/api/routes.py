"""How requests from outside reach the platform: classes, certificates, controllers, filters by address, trust."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Model, ObjectName, Rule, SecretKey, SecretRef, Unique
from .rollout import CIDR, is_cidr

Controller = Literal["ingressNginx", "traefik", "envoyGateway", "other"]
Cidr = Annotated[str, StringConstraints(pattern=CIDR, max_length=43)]


class Tls(Model):
    """Where the certificate of the public hosts comes from."""

    rules = (
        Rule(
            "has(self.issuerRef) != has(self.secretRef)",
            "exactly one of issuerRef and secretRef must be set",
            "name a cert-manager ClusterIssuer, or a Secret with a certificate",
            lambda self: (self.issuer_ref is None) != (self.secret_ref is None),
        ),
    )

    issuer_ref: ObjectName | None = Field(None, description="cert-manager ClusterIssuer that signs the certificate.")
    secret_ref: SecretRef | None = Field(None, description="Secret of type kubernetes.io/tls; its `key` is not used.")


def _ranges(camel: str, snake: str) -> Rule:
    return Rule(
        f"self.{camel}.all(c, isCIDR(c))",
        f"{camel} holds something that is no address range",
        "write ranges such as 192.0.2.0/24",
        lambda self: all(is_cidr(each) for each in getattr(self, snake)),
        camel,
    )


class Gateway(Model):
    """How requests from outside reach the platform."""

    rules = (
        Rule(
            "has(self.className) != has(self.ingressClassName)",
            "exactly one of className and ingressClassName must be set",
            "name a GatewayClass, or an IngressClass",
            lambda self: (self.class_name is None) != (self.ingress_class_name is None),
        ),
        Rule(
            "!has(self.controller) || self.controller != 'ingressNginx' || has(self.ingressClassName)",
            "ingressNginx serves no GatewayClass",
            "set ingressClassName, or name the controller of the GatewayClass",
            lambda self: self.controller != "ingressNginx" or self.ingress_class_name is not None,
            "controller",
        ),
        Rule(
            "!has(self.controller) || self.controller != 'envoyGateway' || has(self.className)",
            "envoyGateway serves no IngressClass",
            "set className, or name the controller of the IngressClass",
            lambda self: self.controller != "envoyGateway" or self.class_name is not None,
            "controller",
        ),
        _ranges("adminAllow", "admin_allow"),
        _ranges("webhookAllow", "webhook_allow"),
    )

    class_name: ObjectName | None = Field(None, description="GatewayClass; a Gateway and its HTTPRoutes are made.")
    ingress_class_name: ObjectName | None = Field(None, description="IngressClass; Ingress objects are made.")
    controller: Controller | None = Field(
        None,
        description="Program behind the class. Filters by address and downloads need what only it understands. "
        "Defaults to ingressNginx for an IngressClass and to other for a GatewayClass.",
    )
    admin_allow: Annotated[list[Cidr], Field(max_length=50), Unique()] = Field(
        default=[], description="Address ranges that may open the administration; empty means all."
    )
    webhook_allow: Annotated[list[Cidr], Field(max_length=50), Unique()] = Field(
        default=[], description="Address ranges that may call LiveKit's webhook, beside its signature; empty means all."
    )
    recording_downloads: bool = Field(
        True,
        description="Serve recordings and files from the object store under the public host, each request checked by "
        "the API. Without it they can be written and transcribed, but nobody can download them.",
    )
    tls: Tls = Field(description="Certificate of the public hosts.")

    @property
    def program(self) -> Controller:
        """The controller, as named or by default."""
        return self.controller or ("other" if self.ingress_class_name is None else "ingressNginx")


class CaBundle(Model):
    """Certificate authorities that every pod of the platform trusts when it connects to something."""

    config_map: ObjectName = Field(description="Name of a ConfigMap in the namespace of this object.")
    key: SecretKey = Field(
        "ca.crt",
        description="Key with the certificates in PEM. They replace those of the images, so the bundle has to hold "
        "public authorities too where a service has a certificate of one; trust-manager makes such bundles.",
    )
