"""Keys of the platform's own: generated, or taken from Secrets that External Secrets, SOPS or Vault keep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Model, SecretRef, Transition


class Secrets(Model):
    """Keys that the parts share among themselves."""

    keys_secret_ref: SecretRef | None = Field(
        None,
        description="Secret to use instead of a generated one, with the keys `djangoSecretKey`, and where the parts "
        "exist `summaryApiToken`, `summaryWebhookToken`, `whisperxApiKey`, `kyutaiApiKey`, `turnSecret`, "
        "`applicationJwtKey`; its `key` is not used.",
    )


class Livekit(Model):
    """The key pair that signs admission to meetings.

    A new pair never cuts a call: media servers accept both until nobody signs with the old one any more.
    """

    transitions = (
        Transition(
            "self.keyGeneration >= oldSelf.keyGeneration",
            "keyGeneration cannot go back, since an older key pair may be known to others",
            "raise it to get a new pair",
            "keyGeneration",
        ),
    )

    key_generation: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="Raise it by one to have a new key pair generated and brought into use."
    )
    keys_secret_ref: SecretRef | None = Field(
        None,
        description="Secret with the keys `apiKey` and `apiSecret` to use instead of a generated one; to change the "
        "pair, name another Secret. Its `key` is not used.",
    )
