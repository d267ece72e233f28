"""Where the signals of load come from, besides the servers themselves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from .fields import Model, ObjectName, Rule, SecretRef, Word, pattern

PROMETHEUS_URL = pattern(
    r"^https?://[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]{1,5})?(/[-a-zA-Z0-9._~/]*)?$",
    "use a URL such as https://prometheus.monitoring.svc:9090, without user, query and fragment",
)
LABEL_NAME = pattern(r"^[a-zA-Z_][a-zA-Z0-9_]*$", "use the name of a Prometheus label, such as cluster")

LabelName = Annotated[str, StringConstraints(pattern=LABEL_NAME, max_length=63)]


class Prometheus(Model):
    """A server with the HTTP API of Prometheus, such as Thanos or VictoriaMetrics."""

    rules = (
        Rule(
            "!has(self.user) || has(self.secretRef)",
            "user needs secretRef",
            "name the Secret with its password, or remove user",
            lambda self: self.user is None or self.secret_ref is not None,
            "user",
        ),
        Rule(
            "!has(self.secretRef) || self.url.startsWith('https://')",
            "the credentials of secretRef would go over the network in clear text",
            "use https, or remove secretRef",
            lambda self: self.secret_ref is None or self.url.startswith("https://"),
            "url",
        ),
    )

    url: Annotated[str, StringConstraints(pattern=PROMETHEUS_URL, min_length=8, max_length=1024)] = Field(
        description="Where its API is, without /api/v1. A certificate is checked against `caBundle` of this object."
    )
    user: Word | None = Field(None, description="User of basic authentication; without it secretRef is a token.")
    secret_ref: SecretRef | None = Field(
        None, description="Secret with the bearer token, default key `token`; beside user, its password, `password`."
    )
    labels: Annotated[dict[LabelName, Word], Field(max_length=4)] = Field(
        default={}, description="Labels that single out this cluster in a server of several, such as cluster."
    )
    scraped_from: ObjectName | None = Field(
        None,
        description="Namespace of the pods that scrape, which network policies let reach the metrics of the platform; "
        "by default that of the Service that url names.",
    )

    @property
    def scraper_namespace(self) -> str | None:
        """The namespace whose pods scrape the platform; None where nothing says so."""
        labels = self.url.partition("://")[2].partition("/")[0].partition(":")[0].split(".")
        is_service = len(labels) >= 3 and labels[2] == "svc" and labels[3:] in ([], ["cluster", "local"])
        return self.scraped_from or (labels[1] if is_service else None)


class Signals(Model):
    """Where the signals of load are read."""

    prometheus: Prometheus | None = Field(
        None,
        description="Asked before the servers themselves, which answer for what it does not know. Without it they are "
        "asked for everything.",
    )
