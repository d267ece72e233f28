"""What the checks of a call share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from uuid import uuid4

import aiohttp
from livekit import api

from .participants import Meeting
from .settings import Settings

_ROOM_PREFIX = "connection-test"
"""From 1.25 on the API takes LiveKit's events about such rooms and does nothing about them; about a room that it does
not know it would answer with an error (CONNECTION_TEST_ROOM_PREFIX)."""

_LEAST_PATIENCE = 5.0


class NotTriedError(Exception):
    """A check cannot say anything, for the reason that is its text."""


class Call:
    """The settings, one HTTP session, one room, and what a check leaves to those after it."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession, patience: float) -> None:
        self.settings = settings
        self.http = http
        self._waits_until = time.monotonic() + patience
        self.room = f"{_ROOM_PREFIX}-smoke-{uuid4()}"
        self.meeting = Meeting(settings.livekit, self.room)
        self.livekit = api.LiveKitAPI(settings.livekit.url, settings.livekit.key, settings.livekit.secret, session=http)
        self.recorded = ""
        """Key of the recording in the bucket; empty until there is one."""
        self.left_over: list[str] = []
        """Keys in the bucket that are removed at the end, whatever became of them."""
        self.delivered: Mapping[str, float] | None = None
        """Webhooks that LiveKit had delivered before the call, by outcome."""
        self.storage_works: bool | None = None
        """Whether the bucket takes objects; None until somebody tried."""
        self.say: Callable[[str], None] = lambda waiting: None
        """Tells what the check that runs waits for."""

    @property
    def patience(self) -> float:
        """Seconds that a check may still wait for a GPU node; all of them share what the call was given."""
        return max(_LEAST_PATIENCE, self._waits_until - time.monotonic())
