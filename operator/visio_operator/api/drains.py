"""How calls end when their server has to go, who is told, and what status says of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Duration, HttpsUrl, Model, Rule, SecretRef, pattern, seconds
from .parts import Instant

CONTACT = pattern(
    r"^[0-9A-Za-z][-0-9A-Za-z @.,:/+_()]*$",
    "use an address, a telephone number or a page, such as visio@example.gouv.fr",
)

Policy = Literal["Wait", "Warn", "Force"]


class Drain(Model):
    """What becomes of calls whose media server has to go."""

    rules = (
        Rule(
            "self.policy != 'Force' || has(self.deadline)",
            "policy Force needs a deadline",
            "set deadline, such as 2h, or choose another policy",
            lambda self: self.policy != "Force" or self.deadline is not None,
            "deadline",
        ),
        Rule(
            "self.policy == 'Force' || !has(self.deadline)",
            "deadline has an effect with policy Force only",
            "set policy to Force, or remove it",
            lambda self: self.policy == "Force" or self.deadline is None,
            "deadline",
        ),
        Rule(
            "!has(self.deadline) || duration(self.deadline) >= duration('10s')"
            " && duration(self.deadline) <= duration('24h')",
            "deadline is outside 10s to 24h",
            "choose a time in which people can end their call",
            lambda self: self.deadline is None or 10 <= seconds(self.deadline) <= 86_400,
            "deadline",
        ),
    )

    policy: Policy = Field(
        "Wait",
        description="Wait: until the last room has ended, five hours at most. Warn: the same, and the rooms are told. "
        "Force: the rooms are told, and at the deadline the server is killed; people are back in their room on another "
        "server after about ten seconds.",
    )
    deadline: Duration | None = Field(
        None,
        description="With Force: how long a media server may take. It holds for servers that start after a change.",
    )


class AnnounceWebhook(Model):
    """Where announcements are posted."""

    url: HttpsUrl = Field(description="Receives a POST of JSON; redirects are not followed.")
    secret_ref: SecretRef = Field(
        description="Secret (key `secret`) that signs each post, as HMAC-SHA256 of time and body."
    )


class Announce(Model):
    """Who is told of maintenance, and how long before."""

    rules = (
        Rule(
            "duration(self.before) <= duration('24h')",
            "before is longer than 24h",
            "choose a shorter time; an upgrade waits for it",
            lambda self: seconds(self.before) <= 86_400,
            "before",
        ),
    )

    before: Duration = Field("15m", description="Time between the announcement and the replacement of media servers.")
    webhook: AnnounceWebhook | None = Field(None, description="The administration's own channel; without it, none.")
    contact: Annotated[str, StringConstraints(pattern=CONTACT, max_length=200)] | None = Field(
        None, description="Whom to ask; it is part of every announcement."
    )


MOST_DRAINS = 20
MOST_ANNOUNCEMENTS = 12

_Name = Annotated[str, StringConstraints(max_length=253)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]
_Message = Annotated[str, StringConstraints(max_length=1024)]


class DrainStatus(Model):
    """One pod that takes nothing new and ends with what it has."""

    pod: _Name = Field(description="The pod.")
    part: _Name = Field(description="sfu, egress, subtitles, metadata, captions or transcription.")
    node: _Name = Field("", description="Its node.")
    rooms: _Count | None = Field(
        None, description="Rooms, recordings, or transcriptions that it still has; unset while it cannot be read."
    )
    participants: _Count | None = Field(
        None, description="People in these rooms, or streams of captions; unset where it is not known."
    )
    since: Instant = Field(description="When it was told to end, or was first seen closed.")
    oldest: Instant | None = Field(None, description="When the oldest of its rooms began, as far as that is known.")
    expected_end: Instant | None = Field(
        None, description="An estimate from the age of all rooms, in steps of five minutes."
    )
    deadline: Instant | None = Field(None, description="When it is killed; unset while it is only closed.")
    policy: Policy = Field("Wait", description="The policy that it follows.")
    message: _Message = Field("", description="What it holds up, and the next step.")


class AnnouncementStatus(Model):
    """One announcement that was made, or tried."""

    id: _Name = Field(description="The same in every channel.")
    kind: Literal["maintenance", "drain"] = Field(description="An upgrade's maintenance, or one server that drains.")
    phase: _Name = Field(description="before, start, 15m or 5m: when it was due.")
    about: _Name = Field("", description="The release, or the pod.")
    at: Instant = Field(description="When it was last tried.")
    rooms: _Count | None = Field(None, description="Rooms that were told; unset where rooms are not told.")
    webhook: Literal["Sent", "Failed"] | None = Field(None, description="Unset where none is configured.")
    message: _Message = Field("", description="What failed, and what is done about it.")
