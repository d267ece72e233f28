"""What opens LiveKit: tokens made from its key pair, and its URL for clients."""

from __future__ import annotations

from datetime import timedelta

from livekit import api

from .settings import Livekit


def token(livekit: Livekit, room: str, identity: str) -> str:
    """A token with which one participant may join one room and publish there, for a quarter of an hour."""
    grants = api.VideoGrants(room=room, room_join=True, can_publish=True, can_subscribe=True, can_publish_data=True)
    made = api.AccessToken(livekit.key, livekit.secret).with_identity(identity).with_name(identity)
    return made.with_grants(grants).with_ttl(timedelta(minutes=15)).to_jwt()


def websocket_url(livekit: Livekit) -> str:
    """The public URL with the scheme of websockets."""
    return "ws" + livekit.url.removeprefix("http")
