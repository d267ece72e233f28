"""The checks of a whole call: in which order, and which needs which."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
from livekit import api

from .bucket import Bucket
from .call import Call, NotTriedError
from .captions import check_captions
from .deliveries import check_docs, check_llm, check_mail
from .fault import Fault
from .media import check_data, check_media
from .recording import check_recording
from .result import Result, print_progress
from .settings import Settings
from .signalling import check_join
from .transcription import check_transcription
from .web import check_api, check_sign_in, check_web
from .webhook import check_webhook, delivered

_LEAVE_S = 7.0
_ANSWER_S = 15.0
"""Seconds that a server may take for an answer."""


@dataclass(frozen=True)
class Check:
    """One check: how it is called, what it needs, how long it may take."""

    name: str
    ask: Callable[[Call], Awaitable[str]]
    field: str
    """The field to look at when the check runs out of time."""
    needs: tuple[str, ...] = ()
    limit: float = 30.0
    """Seconds."""
    on_gpu: bool = False
    """It may wait for a GPU node, so that `limit` is for what comes besides."""
    enabled: Callable[[Settings], bool] = lambda settings: True


CHECKS = (
    Check("web", check_web, "spec.host"),
    Check("api", check_api, "spec.host"),
    Check("sign-in", check_sign_in, "spec.oidc", needs=("api",)),
    Check("join", check_join, "spec.livekitHost"),
    Check("media", check_media, "spec.sfu.network", needs=("join",), limit=60),
    Check("data", check_data, "spec.sfu", needs=("media",)),
    Check("webhook", check_webhook, "spec.host", needs=("join", "api"), limit=60),
    Check(
        "captions",
        check_captions,
        "spec.captions",
        needs=("media",),
        limit=90,
        on_gpu=True,
        enabled=lambda settings: bool(settings.captions_agent),
    ),
    Check(
        "recording",
        check_recording,
        "spec.recording",
        needs=("media",),
        limit=180,
        enabled=lambda settings: settings.recording,
    ),
    Check(
        "transcription",
        check_transcription,
        "spec.transcription",
        limit=180,
        on_gpu=True,
        enabled=lambda settings: settings.summary is not None,
    ),
    Check("mail", check_mail, "spec.mail", enabled=lambda settings: settings.mail is not None),
    Check("docs", check_docs, "spec.docs", enabled=lambda settings: settings.docs is not None),
    Check("llm", check_llm, "spec.llm", enabled=lambda settings: settings.llm is not None),
)


async def check_call(settings: Settings, *, only: Sequence[str], patience: float) -> AsyncIterator[Result]:
    """Make a call and give each result as it comes; `only` names checks, whose needs are checked too.

    A check whose need failed is not tried. Raises ValueError for a name in `only` that there is not.
    """
    wanted = _wanted(settings, only)
    context = ssl.create_default_context()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=True
    ) as http:
        call = Call(settings, http, patience)
        call.delivered = await delivered(http, settings.livekit.metrics)
        passed: set[str] = set()
        try:
            for check in wanted:
                result = await _checked(check, call, passed)
                if result.ok:
                    passed.add(check.name)
                yield result
        finally:
            # Within the pod's grace, so that the results are still written.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await _leave(call)


def _wanted(settings: Settings, only: Sequence[str]) -> list[Check]:
    known = {check.name: check for check in CHECKS}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"there is no check {', '.join(unknown)}; there are {', '.join(known)}")
    chosen, queue = set(), list(only or known)
    while queue:
        name = queue.pop()
        if name not in chosen:
            chosen.add(name)
            queue += known[name].needs
    return [check for check in CHECKS if check.name in chosen and (check.name in only or check.enabled(settings))]


async def _leave(call: Call) -> None:
    """Leave nothing behind: no participant, no agent in the room, no recording."""
    await call.meeting.close()
    with contextlib.suppress(api.TwirpError, aiohttp.ClientError, TimeoutError, OSError):
        await call.livekit.room.delete_room(api.DeleteRoomRequest(room=call.room))
    if call.settings.storage is not None:
        for key in call.left_over:
            with contextlib.suppress(Fault):
                await Bucket(call.settings.storage).remove(key)


async def _checked(check: Check, call: Call, passed: set[str]) -> Result:
    if missing := [name for name in check.needs if name not in passed]:
        detail = f"not tried, since {' and '.join(missing)} did not pass"
        return Result(check.name, False, 0.0, detail, skipped=True)
    if not check.enabled(call.settings):
        return Result(check.name, False, 0.0, "not tried, since the deployment has not enabled it", skipped=True)
    print_progress(check.name, "")
    call.say = lambda waiting: print_progress(check.name, waiting)
    begun = time.monotonic()
    limit = check.limit + (call.patience if check.on_gpu else 0)
    try:
        async with asyncio.timeout(limit):
            detail = await check.ask(call)
    except NotTriedError as reason:
        return Result(check.name, False, 0.0, str(reason), skipped=True)
    except Fault as fault:
        return Result(check.name, False, time.monotonic() - begun, fault.problem, fault.field, fault.next_step)
    except api.TwirpError as error:
        problem = f"LiveKit refuses: {error.message}"
        return Result(check.name, False, time.monotonic() - begun, problem, check.field, "look at the logs of sfu")
    except TimeoutError:
        problem = f"not done within {limit:.0f} s"
        next_step = "run it again with a longer --timeout, or look at the logs"
        return Result(check.name, False, time.monotonic() - begun, problem, check.field, next_step)
    except Exception as error:
        # Its text could hold a URL with a password or a token.
        problem = f"unexpected {type(error).__name__}"
        return Result(check.name, False, time.monotonic() - begun, problem, check.field, "report it as a fault of ours")
    return Result(check.name, True, time.monotonic() - begun, detail)
