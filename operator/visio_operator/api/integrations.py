"""What others may connect to the platform: telephones, room systems, applications, and who hears of errors.

All of it is off until its section is there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Model, SecretRef, Text, pattern

COUNTRY = pattern(r"^[A-Z]{2}$", "use two capital letters, such as FR")
PHONE = pattern(r"^\+[0-9]{6,15}$", "use the international form, such as +33123456789")


class Telephony(Model):
    """Dialling into meetings by telephone; the LiveKit SIP server and its trunk are not part of the platform."""

    phone_number: Annotated[str, StringConstraints(pattern=PHONE, max_length=16)] = Field(
        description="Number that people dial, in the international form."
    )
    country: Annotated[str, StringConstraints(pattern=COUNTRY, max_length=2)] = Field(
        "FR", description="Country in whose form the number is shown."
    )
    pin_length: Annotated[int, Field(ge=6, le=20)] = Field(10, description="Digits of a room's code.")


class RoomKits(Model):
    """Meeting-room systems that join by SIP."""

    secret_ref: SecretRef = Field(description="Secret with the token that the SIP server shows; default key `token`.")


class ExternalApi(Model):
    """The API by which other applications open rooms, with credentials that administrators hand out."""

    audience: Text | None = Field(None, description="Audience of the tokens; default is the platform's URL.")
    default_access: Literal["public", "trusted", "restricted"] = Field(
        "trusted", description="Who enters at once a room that an application has opened."
    )
    create_users: bool = Field(
        False, description="Let applications make users by e-mail address; they are matched when they first sign in."
    )


class Sentry(Model):
    """Where the programs report their errors; addresses outside need an entry of sovereignty.egressAllow."""

    secret_ref: SecretRef = Field(description="Secret with the URL to report to; default key `dsn`.")
