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
    Port,
    Rule,
    SecretRef,
    Transition,
    Unique,
    Word,
    pattern,
)

BUCKET = pattern(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "use 3 to 63 lower-case letters, digits, dots and dashes")
SQL_NAME = pattern(r"^[a-z_][a-z0-9_-]{0,62}$", "use lower-case letters, digits, dashes and underscores")
CLAIM = pattern(r"^[A-Za-z0-9_.:/-]+$", "use the name of a claim, such as given_name")
HOST_PORT = pattern(
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?:[0-9]{1,5}$", "use a host name and a port, such as sentinel.example.fr:26379"
)
REDIS_NAME = pattern(r"^[A-Za-z0-9_.@:-]+$", "use letters, digits and the signs _ . @ : -")
SCOPES = pattern(r"^[!-~]+( [!-~]+)*$", "use scope names separated by single blanks")

Claim = Annotated[str, StringConstraints(pattern=CLAIM, max_length=128)]
HostPort = Annotated[str, StringConstraints(pattern=HOST_PORT, max_length=260)]
RedisName = Annotated[str, StringConstraints(pattern=REDIS_NAME, max_length=128)]
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


def _only_outside(field: str, cel: str, problem: str, attribute: str) -> Rule:
    return Rule(
        f"!has(self.embedded) || {cel}",
        f"{field} is for a server of yours; {problem}",
        f"remove {field}",
        lambda self: self.embedded is None or not getattr(self, attribute),
        field,
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
    acr_values: Word | None = Field(
        None, description="Assurance asked for at sign-in; with proConnect the default is eidas1, its lowest level."
    )
    sign_algorithm: Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "HS256"] = Field(
        "RS256", description="Algorithm with which the provider signs identity tokens."
    )
    pkce: bool = Field(False, description="Use proof keys for code exchange (RFC 7636, S256).")
    name_claims: Annotated[list[Claim], Field(max_length=5), Unique()] = Field(
        default=[], description="Claims that make a person's full name, in order; default given_name and usual_name."
    )
    short_name_claim: Claim | None = Field(None, description="Claim with the short name; default given_name.")
    silent_login: bool = Field(
        True, description="Sign visitors in without asking when the provider knows them; it has to know prompt=none."
    )
    identify_by_email: bool = Field(
        False, description="Match people by e-mail address when the provider's identifier is new, as after a move."
    )


class Database(Model):
    """PostgreSQL for the API."""

    rules = (
        _one_of("host"),
        Rule(
            "!has(self.host) || has(self.secretRef) != has(self.urlSecretRef)",
            "exactly one of secretRef and urlSecretRef is required beside host",
            "name the Secret with the password, or the one with the whole URL",
            lambda self: self.host is None or (self.secret_ref is None) != (self.url_secret_ref is None),
        ),
        _NO_SECRET_BESIDE_EMBEDDED,
        _only_outside("urlSecretRef", "!has(self.urlSecretRef)", "the embedded one has no other URL", "url_secret_ref"),
        _only_outside("tls", "!self.tls", "the embedded one has no certificate", "tls"),
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
    url_secret_ref: SecretRef | None = Field(
        None,
        description="Secret with a postgresql:// URL instead, as CloudNativePG writes it; default key `uri`. It wins "
        "over name and user; host and port are still needed, for network policies and checks.",
    )
    tls: bool = Field(False, description="Demand TLS, and a certificate of the server's name that is trusted.")


class Sentinel(Model):
    """Redis Sentinels, which LiveKit and its recorders ask for the server; Visio itself knows one host only."""

    master_name: RedisName = Field(description="Name of the watched server.")
    addresses: Annotated[list[HostPort], Field(min_length=1, max_length=9), Unique()] = Field(
        description="Sentinels, as host:port."
    )
    secret_ref: SecretRef | None = Field(
        None, description="Secret with the Sentinels' own password; default key `password`."
    )


class Redis(Model):
    """Redis for sessions, task queues and the LiveKit bus."""

    rules = (
        _one_of("host"),
        _NO_SECRET_BESIDE_EMBEDDED,
        _only_outside("tls", "!self.tls", "the embedded one has no certificate", "tls"),
        _only_outside("user", "!has(self.user)", "the embedded one has one user", "user"),
        _only_outside("sentinel", "!has(self.sentinel)", "nothing watches the embedded one", "sentinel"),
        Rule(
            "!has(self.host) || !has(self.user) || has(self.secretRef)",
            "user needs secretRef",
            "name the Secret with the user's password",
            lambda self: self.host is None or self.user is None or self.secret_ref is not None,
            "user",
        ),
    )

    embedded: Embedded | None = Field(None, description="Run Redis inside the platform, for evaluation.")
    host: HostName | None = Field(None, description="Host name of the Redis server.")
    port: Port = Field(6379, description="Port of the Redis server.")
    tls: bool = Field(False, description="Talk TLS to the server.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the password; default key `password`.")
    user: RedisName | None = Field(None, description="User of an access list; without it the password alone is sent.")
    sentinel: Sentinel | None = Field(
        None, description="Sentinels for LiveKit; `host` has to lead Visio to the same server, also after a failover."
    )


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
        _only_outside("publicHost", "!has(self.publicHost)", "browsers do not reach the embedded one", "public_host"),
        _only_outside("fileUploads", "!self.fileUploads", "browsers do not reach the embedded one", "file_uploads"),
        Rule(
            "!has(self.endpoint) || !self.fileUploads || has(self.publicHost) || self.endpoint.startsWith('https://')",
            "fileUploads needs a store that browsers reach by https",
            "name its public host in publicHost, or use an endpoint with https",
            lambda self: (
                self.endpoint is None
                or not self.file_uploads
                or self.public_host is not None
                or self.endpoint.startswith("https://")
            ),
            "fileUploads",
        ),
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
    public_host: HostName | None = Field(
        None, description="Host under which browsers reach the store by https, where it is not the endpoint's own."
    )
    file_uploads: bool = Field(
        False,
        description="Let people upload backgrounds; the bucket has to allow requests (CORS) from the platform's host.",
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


class Superuser(Model):
    """The first administrator of the Visio API, made by a Job."""

    email: Email = Field(description="E-mail address of the administrator.")
    secret_ref: SecretRef = Field(description="Secret with the password; default key `password`.")
