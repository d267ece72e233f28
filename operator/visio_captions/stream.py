"""One participant's stream: the client's audio to whichever server it has now, and that server's words back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Any

import msgpack
from aiohttp import WSCloseCode, WSMsgType, web

from visio_captions.messages import FRAME_SAMPLES, SAMPLE_RATE, Sound, is_step, read_client, unpack
from visio_captions.metrics import Metrics
from visio_captions.seats import Cause, Seat, Seats
from visio_captions.tape import Tape
from visio_captions.timeline import Timeline
from visio_captions.upstream import end, next_message

BACKLOG_S = 2.0
"""Seconds of audio kept beyond the replay. A server that is later than this makes the client wait, by TCP: its audio
stays in the agent, and the proxy's memory bounded."""
STALL_S = 2.0
"""Seconds without a step of the model, in spite of audio, after which a server counts as stalled."""
HEARTBEAT_S = 15.0
"""Seconds without a word from a server after which it is pinged: a node that vanished shall end its streams instead of
holding them forever, also where its model tells no steps."""
PONG_S = 7.5
"""Seconds that a server has for its answer."""
PAUSE_S = 0.6
"""Seconds of quiet that make a pause of speech: longer than the model's delay, so that all before it has been said."""
PAUSE_WAIT_S = 5.0
"""Seconds that a stream which must leave its server waits for a pause."""
_PAUSE_CHECK_S = 0.05
_MAX_MARKERS = 1000

log = logging.getLogger(__name__)


class Stream:
    """A stream from its first server to its client's end."""

    def __init__(
        self, client: web.WebSocketResponse, seats: Seats, metrics: Metrics, replay_s: float, patience_s: float
    ) -> None:
        self._client = client
        self._seats = seats
        self._metrics = metrics
        self._replay = round(replay_s * SAMPLE_RATE)
        self._patience_s = patience_s
        self._tape = Tape(round((replay_s + BACKLOG_S) * SAMPLE_RATE))
        self._timeline = Timeline()
        self._markers: deque[int] = deque(maxlen=_MAX_MARKERS)
        self._heard = 0
        self._repeated = False
        self._next: Seat | None = None
        self._relocation: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self.seat: Seat | None = None
        """Where the stream is now; None while it waits for another server."""

    async def run(self, seat: Seat, ticket: int) -> None:
        """Carry the stream until its client ends it, or until no server took it over within the client's patience."""
        reading = asyncio.create_task(self._read())
        self.seat = seat
        try:
            await self._client.send_bytes(seat.ready)
            while self.seat is not None:
                cause = await self._serve(self.seat, reading)
                if cause is None:
                    return
                await self._move(self.seat, cause, ticket, reading)
            if not reading.done():
                self._metrics.lost.inc()
                log.warning("a stream found no other server within %.0f s and was lost", self._patience_s)
        except ConnectionError:
            log.info("a client left")
        finally:
            for task in (reading, self._relocation, self._pinging):
                if task is not None:
                    task.cancel()
            for left in (self.seat, self._next):
                if left is not None:
                    self._seats.leave(left)
            self.seat = self._next = None
            # What became of them is known: a client that is gone, or a stream that ends.
            await asyncio.gather(reading, return_exceptions=True)

    def check(self, now: float) -> None:
        """Look after the stream, a few times in a second: does its server still work, and still serve?"""
        seat = self.seat
        if seat is None:
            return
        outstanding = seat.sent - seat.heard >= FRAME_SAMPLES
        if seat.server.stepping and outstanding and not seat.delivering and now - seat.progress_at > STALL_S:
            seat.judge("stall")
        if seat.delivering:
            seat.told_at = now
        if now - seat.told_at > HEARTBEAT_S + PONG_S:
            seat.judge("closed")
        elif now - seat.told_at > HEARTBEAT_S and seat.pinged_at <= seat.told_at:
            seat.pinged_at = now
            self._pinging = asyncio.create_task(_ping(seat))
        if not seat.server.serving and self._relocation is None:
            self._relocation = asyncio.create_task(self._relocate(seat))
        elif seat.server.serving and self._relocation is not None and self._next is None:
            self._relocation.cancel()
            self._relocation = None

    def excuse(self, now: float) -> None:
        """Count the server's stall from now on."""
        if self.seat is not None:
            self.seat.progress_at = self.seat.told_at = now

    def lag_s(self) -> float:
        """Seconds of the client's audio that no server has heard yet, of what has reached the proxy."""
        seat = self.seat
        return (self._tape.end - (self._heard if seat is None else seat.heard)) / SAMPLE_RATE

    async def _read(self) -> None:
        """Put what the client says on the tape, until it leaves."""
        while True:
            await self._tape.room()
            message = await self._client.receive()
            if message.type is WSMsgType.BINARY:
                try:
                    content = read_client(message.data)
                except ValueError as error:
                    log.warning("a client was sent away: %s", error)
                    reason = b"only Audio and Marker messages are understood here"
                    await end(self._client, WSCloseCode.UNSUPPORTED_DATA, reason)
                    return
                if isinstance(content, Sound):
                    self._tape.append(message.data, content)
                else:
                    self._markers.append(content)
                    self._tape.append(message.data, None)
            elif message.type is not WSMsgType.TEXT:
                return

    async def _serve(self, seat: Seat, reading: asyncio.Task[None]) -> Cause | None:
        """Serve from this seat until it must be left, and say why; None when the client has left."""
        working = [asyncio.create_task(self._hear(seat)), asyncio.create_task(self._send(seat))]
        try:
            ends: set[asyncio.Future[Any]] = {seat.verdict, reading, working[0]}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in working:
                task.cancel()
            results = await asyncio.gather(*working, return_exceptions=True)
        for failure in results:
            if isinstance(failure, Exception):
                raise failure
        if reading.done():
            reading.result()
            return None
        return seat.verdict.result()

    async def _send(self, seat: Seat) -> None:
        """Send the tape to a server, from the seat's origin on."""
        number, position = self._tape.seek(seat.origin)
        while True:
            self._tape.grown.clear()
            while number < self._tape.next:
                message, following = self._tape.message(number, position)
                number += 1
                if seat.sent - seat.heard < FRAME_SAMPLES:
                    seat.progress_at = time.monotonic()
                seat.sent = position = following
                if not seat.server.stepping:
                    self._tape.forget(seat.sent - self._replay)
                try:
                    await seat.socket.send_bytes(message)
                except ConnectionError:
                    return  # what the server said last may still be there to read; `_hear` meets the end after it
            await self._tape.grown.wait()

    async def _hear(self, seat: Seat) -> None:
        """Pass a server's words on until it ends."""
        while True:
            message = await next_message(seat.socket)
            seat.told_at = time.monotonic()
            if message.type is WSMsgType.TEXT or message.type is WSMsgType.PONG:
                continue
            if message.type is not WSMsgType.BINARY:
                return seat.judge("closed")
            if is_step(message.data):
                self._stepped(seat)
                continue
            try:
                content = unpack(message.data)
            except ValueError:
                return seat.judge("error")
            match content:
                case {"type": "Step"}:
                    self._stepped(seat)
                    continue
                case {"type": "Error"}:
                    log.warning("%s said: %s", seat.server.address, str(content.get("message"))[:200])
                    return seat.judge("error")
            answer = self._translate(content)
            if answer is not None:
                seat.delivering = True
                await self._client.send_bytes(msgpack.packb(answer))
                seat.delivering = False

    def _stepped(self, seat: Seat) -> None:
        seat.stepped(seat.told_at)
        self._tape.forget(seat.heard - self._replay)

    def _translate(self, content: Any) -> Any:
        """A server's message as the client may have it; None for one that it has had, from another server."""
        match content:
            case {"type": "Word", "text": str(text), "start_time": float() | int() as start}:
                at = self._timeline.word(text, float(start))
                self._repeated = at is None
                if at is None:
                    self._metrics.repeated.inc()
                    return None
                return content | {"start_time": at}
            case {"type": "EndWord", "stop_time": float() | int() as stop}:
                return None if self._repeated else content | {"stop_time": self._timeline.shift(float(stop))}
            case {"type": "Marker", "id": int(identity)}:
                if identity not in self._markers:
                    return None
                self._markers.remove(identity)
        return content

    async def _move(self, old: Seat, cause: Cause, ticket: int, reading: asyncio.Task[None]) -> None:
        """Leave a seat and take another one, the one already found if there is one; None is left when there is none."""
        began = time.monotonic()
        if cause != "cordon":
            old.server.pause(began)
            log.warning("%s: a stream leaves it: %s", old.server.address, cause)
        self.seat = None
        self._seats.leave(old)
        new, self._next = self._next, None
        if self._relocation is not None:
            self._relocation.cancel()
            self._relocation = None
        self._heard = old.heard
        if new is None:
            new = await self._another(ticket, reading)
        if new is None:
            return
        _, origin = self._tape.seek(self._heard - self._replay)
        new.origin = new.sent = origin
        new.progress_at = time.monotonic()
        self._timeline.move(origin / SAMPLE_RATE)
        self.seat = new
        self._metrics.moves.labels(cause).inc()
        self._metrics.move_seconds.observe(time.monotonic() - began)

    async def _another(self, ticket: int, reading: asyncio.Task[None]) -> Seat | None:
        """Another seat, in the stream's old place in the line; None when the client leaves or its patience ends."""
        taking = asyncio.create_task(self._seats.take(ticket))
        try:
            await asyncio.wait({taking, reading}, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not taking.done() or reading.done():
                taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await taking
        return None

    async def _relocate(self, seat: Seat) -> None:
        """Find a seat elsewhere while the old one still serves, and leave it at a pause of speech."""
        self._next = await self._seats.take(self._seats.ticket(), served=True)
        give_up = time.monotonic() + PAUSE_WAIT_S
        while self._tape.quiet < PAUSE_S * SAMPLE_RATE and time.monotonic() < give_up:
            await asyncio.sleep(_PAUSE_CHECK_S)
        seat.judge("cordon")


async def _ping(seat: Seat) -> None:
    # One that cannot be sent is one that is not answered.
    with contextlib.suppress(ConnectionError):
        await seat.socket.ping()
