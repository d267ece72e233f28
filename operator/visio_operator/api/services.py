"""What the platform is connected to: sign-in, database, Redis, object storage, mail, documents, language model, routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from .fields import Embedded, HostName, HttpsUrl, HttpUrl, Model, ObjectName, Port, SecretRef, Text, cel


class Oidc(Model):
    """The OpenID Connect provider that people sign in with."""

    jwks_endpoint: HttpsUrl = Field(description="URL of the provider's signing keys.")
    authorization_endpoint: HttpsUrl = Field(description="URL to which browsers are sent to sign in.")
    token_endpoint: HttpsUrl = Field(description="URL where codes are exchanged for tokens.")
    user_endpoint: HttpsUrl = Field(description="URL of the user information endpoint.")
    logout_endpoint: HttpsUrl | None = Field(None, description="URL that ends the provider's session.")
    client_id: Text = Field(description="Client identifier registered at the provider.")
    secret_ref: SecretRef = Field(description="Secret with the client secret; default key `clientSecret`.")
    scopes: Text = Field("openid email", description="Scopes asked for, separated by blanks.")
    pro_connect: bool = Field(False, description="Show the ProConnect button and ask for its assurance level.")


class Database(Model):
    """PostgreSQL for the API."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.embedded) != has(self.host)", "set exactly one of embedded and host"),
            ("!has(self.host) || has(self.secretRef)", "secretRef with the password is required beside host"),
        )
    )
    embedded: Embedded | None = Field(None, description="Run PostgreSQL inside the platform, for evaluation.")
    host: HostName | None = Field(None, description="Host name of the PostgreSQL server.")
    port: Port = Field(5432, description="Port of the PostgreSQL server.")
    name: Text = Field("meet", description="Name of the database.")
    user: Text = Field("meet", description="Role that owns the database.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class Redis(Model):
    """Redis for sessions, task queues and the LiveKit bus."""

    model_config = ConfigDict(
        json_schema_extra=cel(("has(self.embedded) != has(self.host)", "set exactly one of embedded and host"))
    )
    embedded: Embedded | None = Field(None, description="Run Redis inside the platform, for evaluation.")
    host: HostName | None = Field(None, description="Host name of the Redis server.")
    port: Port = Field(6379, description="Port of the Redis server.")
    tls: bool = Field(False, description="Talk TLS to the server.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class ObjectStorage(Model):
    """S3-compatible storage for recordings, transcripts and files."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.embedded) != has(self.endpoint)", "set exactly one of embedded and endpoint"),
            (
                "!has(self.endpoint) || has(self.secretRef)",
                "secretRef with the keys accessKeyId and secretAccessKey is required beside endpoint",
            ),
        )
    )
    embedded: Embedded | None = Field(
        None, description="Run a Garage object store inside the platform, for evaluation."
    )
    endpoint: HttpUrl | None = Field(None, description="URL of the S3 endpoint, with its scheme.")
    region: Text = Field("eu-west-2", description="Region of the bucket.")
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", max_length=63)] = Field(
        "meet-media-storage", description="Name of the bucket."
    )
    secret_ref: SecretRef | None = Field(
        None, description="Secret with the keys `accessKeyId` and `secretAccessKey`; its `key` is not used."
    )


class Mail(Model):
    """The SMTP relay for links to recordings."""

    host: HostName = Field(description="Host name of the SMTP relay.")
    port: Port = Field(587, description="Port of the SMTP relay.")
    security: Literal["none", "startTLS", "TLS"] = Field("startTLS", description="Transport security.")
    sender: Text = Field(description="Address in the From header.")
    user: Text | None = Field(None, description="User name at the relay.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")


class Docs(Model):
    """La Suite Docs, where transcripts are delivered."""

    url: HttpsUrl = Field(description="Base URL of the Docs instance.")
    secret_ref: SecretRef = Field(description="Secret with the server-to-server key; default key `apiKey`.")


class Llm(Model):
    """The language model that writes summaries, behind an OpenAI-compatible API."""

    url: HttpUrl = Field(description="Base URL of the API, such as https://albert.api.etalab.gouv.fr/v1.")
    model: Text = Field(description="Model name sent with each request.")
    secret_ref: SecretRef = Field(description="Secret with the API key; default key `apiKey`.")


class Tls(Model):
    """Where the certificate of the public hosts comes from."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.issuerRef) != has(self.secretRef)", "set exactly one of issuerRef and secretRef")
        )
    )
    issuer_ref: ObjectName | None = Field(None, description="cert-manager ClusterIssuer that signs the certificate.")
    secret_ref: SecretRef | None = Field(None, description="Secret of type kubernetes.io/tls; its `key` is not used.")


class Gateway(Model):
    """How requests from outside reach the platform."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.className) != has(self.ingressClassName)", "set exactly one of className and ingressClassName")
        )
    )
    class_name: ObjectName | None = Field(None, description="GatewayClass; a Gateway and its HTTPRoutes are made.")
    ingress_class_name: ObjectName | None = Field(None, description="IngressClass; Ingress objects are made.")
    tls: Tls = Field(description="Certificate of the public hosts.")


class Superuser(Model):
    """The first administrator of the Visio API, made by a Job."""

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)] = Field(
        description="E-mail address of the administrator."
    )
    secret_ref: SecretRef = Field(description="Secret with the password; default key `password`.")
