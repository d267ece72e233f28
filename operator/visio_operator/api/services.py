"""What the platform is connected to: sign-in, database, Redis, object storage, mail, documents, model, routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import (
    Email,
    Embedded,
    HostName,
    HttpsUrl,
    HttpUrl,
    Model,
    ObjectName,
    Port,
    Rule,
    SecretRef,
    Transition,
    Word,
    pattern,
)

BUCKET = pattern(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "use 3 to 63 lower-case letters, digits, dots and dashes")
SQL_NAME = pattern(r"^[a-z_][a-z0-9_-]{0,62}$", "use lower-case letters, digits, dashes and underscores")
SCOPES = pattern(r"^[!-~]+( [!-~]+)*$", "use scope names separated by single blanks")

SqlName = Annotated[str, StringConstraints(pattern=SQL_NAME, max_length=63)]


def _one_of(embedded_or: str) -> Rule:
    attribute = embedded_or
    return Rule(
        f"has(self.embedded) != has(self.{embedded_or})",
        f"exactly one of embedded and {embedded_or} must be set",
        f"keep `embedded: {{}}` for evaluation, or {embedded_or} for a service of yours",
        lambda self: (self.embedded is None) != (getattr(self, attribute) is None),
    )


def _stays(embedded_or: str) -> Transition:
    return Transition(
        "has(self.embedded) == has(oldSelf.embedded)",
        f"switching between embedded and {embedded_or} would lose the data",
        "restore the old value, or create a new VisioDeployment and move the data there",
    )


_NO_SECRET_BESIDE_EMBEDDED = Rule(
    "!has(self.embedded) || !has(self.secretRef)",
    "secretRef has no meaning beside embedded, whose password is generated",
    "remove secretRef",
    lambda self: self.embedded is None or self.secret_ref is None,
    "secretRef",
)


class Oidc(Model):
    """The OpenID Connect provider that people sign in with."""

    rules = (
        Rule(
            "'openid' in self.scopes.split(' ')",
            "scopes lacks openid, without which nobody can sign in",
            "add openid",
            lambda self: "openid" in self.scopes.split(" "),
            "scopes",
        ),
    )

    jwks_endpoint: HttpsUrl = Field(description="URL of the provider's signing keys.")
    authorization_endpoint: HttpsUrl = Field(description="URL to which browsers are sent to sign in.")
    token_endpoint: HttpsUrl = Field(description="URL where codes are exchanged for tokens.")
    user_endpoint: HttpsUrl = Field(description="URL of the user information endpoint.")
    logout_endpoint: HttpsUrl | None = Field(None, description="URL that ends the provider's session.")
    client_id: Word = Field(description="Client identifier registered at the provider.")
    secret_ref: SecretRef = Field(description="Secret with the client secret; default key `clientSecret`.")
    scopes: Annotated[str, StringConstraints(pattern=SCOPES, max_length=256)] = Field(
        "openid email", description="Scopes asked for, separated by blanks."
    )
    pro_connect: bool = Field(False, description="Show the ProConnect button and ask for its assurance level.")


class Database(Model):
    """PostgreSQL for the API."""

    rules = (
        _one_of("host"),
        Rule(
            "!has(self.host) || has(self.secretRef)",
            "secretRef is required beside host",
            "name the Secret with the password",
            lambda self: self.host is None or self.secret_ref is not None,
        ),
        _NO_SECRET_BESIDE_EMBEDDED,
    )
    transitions = (
        _stays("host"),
        Transition(
            "!has(self.embedded) || !has(oldSelf.embedded) || (self.name == oldSelf.name && self.user == oldSelf.user)",
            "name and user of an embedded database cannot be changed",
            "restore the old values, or create a new VisioDeployment and move the data there",
        ),
    )

    embedded: Embedded | None = Field(None, description="Run PostgreSQL inside the platform, for evaluation.")
    host: HostName | None = Field(None, description="Host name of the PostgreSQL server.")
    port: Port = Field(5432, description="Port of the PostgreSQL server.")
    name: SqlName = Field("meet", description="Name of the database.")
    user: SqlName = Field("meet", description="Role that owns the database.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class Redis(Model):
    """Redis for sessions, task queues and the LiveKit bus."""

    rules = (
        _one_of("host"),
        _NO_SECRET_BESIDE_EMBEDDED,
        Rule(
            "!has(self.embedded) || !self.tls",
            "tls is for a server of yours; the embedded one has no certificate",
            "remove tls",
            lambda self: self.embedded is None or not self.tls,
            "tls",
        ),
    )

    embedded: Embedded | None = Field(None, description="Run Redis inside the platform, for evaluation.")
    host: HostName | None = Field(None, description="Host name of the Redis server.")
    port: Port = Field(6379, description="Port of the Redis server.")
    tls: bool = Field(False, description="Talk TLS to the server.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class ObjectStorage(Model):
    """S3-compatible storage for recordings, transcripts and files."""

    rules = (
        _one_of("endpoint"),
        Rule(
            "!has(self.endpoint) || has(self.secretRef)",
            "secretRef is required beside endpoint",
            "name the Secret with the keys accessKeyId and secretAccessKey",
            lambda self: self.endpoint is None or self.secret_ref is not None,
        ),
        _NO_SECRET_BESIDE_EMBEDDED,
    )
    transitions = (
        _stays("endpoint"),
        Transition(
            "!has(self.embedded) || !has(oldSelf.embedded) || self.bucket == oldSelf.bucket",
            "the bucket of an embedded store cannot be changed, since its recordings would be lost",
            "restore the old value",
            "bucket",
        ),
    )

    embedded: Embedded | None = Field(
        None, description="Run a Garage object store inside the platform, for evaluation."
    )
    endpoint: HttpUrl | None = Field(None, description="URL of the S3 endpoint, with its scheme.")
    region: Word = Field("eu-west-2", description="Region of the bucket; the embedded store has its own.")
    bucket: Annotated[str, StringConstraints(pattern=BUCKET, max_length=63)] = Field(
        "meet-media-storage", description="Name of the bucket."
    )
    secret_ref: SecretRef | None = Field(
        None, description="Secret with the keys `accessKeyId` and `secretAccessKey`; its `key` is not used."
    )


class Mail(Model):
    """The SMTP relay for links to recordings."""

    rules = (
        Rule(
            "has(self.user) == has(self.secretRef)",
            "user and secretRef belong together",
            "set both to log in, or none",
            lambda self: (self.user is None) == (self.secret_ref is None),
        ),
        Rule(
            "self.security != 'none' || !has(self.user)",
            "the password would travel in clear text",
            "set security to startTLS or TLS",
            lambda self: self.security != "none" or self.user is None,
            "security",
        ),
    )

    host: HostName = Field(description="Host name of the SMTP relay.")
    port: Port = Field(587, description="Port of the SMTP relay.")
    security: Literal["none", "startTLS", "TLS"] = Field("startTLS", description="Transport security.")
    sender: Email = Field(description="Address in the From header.")
    user: Word | None = Field(None, description="User name at the relay.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class Docs(Model):
    """La Suite Docs, where transcripts are delivered."""

    url: HttpsUrl = Field(description="Base URL of the Docs instance.")
    secret_ref: SecretRef = Field(description="Secret with the server-to-server key; default key `apiKey`.")


class Llm(Model):
    """The language model that writes summaries, behind an OpenAI-compatible API."""

    url: HttpUrl = Field(description="Base URL of the API, such as https://albert.api.etalab.gouv.fr/v1.")
    model: Word = Field(description="Model name sent with each request.")
    secret_ref: SecretRef = Field(description="Secret with the API key; default key `apiKey`.")


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


class Gateway(Model):
    """How requests from outside reach the platform."""

    rules = (
        Rule(
            "has(self.className) != has(self.ingressClassName)",
            "exactly one of className and ingressClassName must be set",
            "name a GatewayClass, or an IngressClass",
            lambda self: (self.class_name is None) != (self.ingress_class_name is None),
        ),
    )

    class_name: ObjectName | None = Field(None, description="GatewayClass; a Gateway and its HTTPRoutes are made.")
    ingress_class_name: ObjectName | None = Field(None, description="IngressClass; Ingress objects are made.")
    tls: Tls = Field(description="Certificate of the public hosts.")


class Superuser(Model):
    """The first administrator of the Visio API, made by a Job."""

    email: Email = Field(description="E-mail address of the administrator.")
    secret_ref: SecretRef = Field(description="Secret with the password; default key `password`.")
