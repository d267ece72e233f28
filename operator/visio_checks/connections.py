"""Whether every server outside the platform answers as its configuration says, before anything is rolled out.

Each check logs in as the parts will, changes nothing and names the field of the VisioDeployment that has to change.
The environment says what to check: CHECKS lists the names, the other variables are those of `REQUIRED`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from visio_checks import http_services, mail_service, stores
from visio_checks.fault import Fault
from visio_checks.result import Result

Environ = Mapping[str, str]
LONGEST_S = 8.0
"""A server that takes longer to answer a log-in is as good as absent to a web page."""
AGAIN_AFTER_S = 1.0


@dataclass(frozen=True)
class Check:
    """One connection: what it asks, and the field to look at when nothing more exact is known."""

    ask: Callable[[Environ], Awaitable[str]]
    field: str


CHECKS: dict[str, Check] = {
    "oidc": Check(http_services.oidc, "spec.oidc"),
    "database": Check(stores.database, "spec.database"),
    "redis": Check(stores.redis_server, "spec.redis"),
    "objectStorage": Check(stores.object_storage, "spec.objectStorage"),
    "mail": Check(mail_service.mail, "spec.mail"),
    "docs": Check(http_services.docs, "spec.docs"),
    "llm": Check(http_services.llm, "spec.llm"),
    "users": Check(stores.users, "spec.version"),
}


async def check_connections(environ: Environ) -> AsyncIterator[Result]:
    """Check what CHECKS names, all at once, and give each result as it comes. Raises ValueError for an unknown name."""
    names = [name for name in environ.get("CHECKS", "").split(",") if name]
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ValueError(f"CHECKS names {', '.join(unknown)}; known are {', '.join(CHECKS)}")
    for next_result in asyncio.as_completed([_checked(name, environ) for name in names]):
        yield await next_result


async def _checked(name: str, environ: Environ) -> Result:
    """One check; a failure is tried once more, since a single lost packet must not hold a rollout."""
    check, started = CHECKS[name], time.monotonic()
    fault = Fault(check.field, "", "")
    for attempt in range(2):
        try:
            async with asyncio.timeout(LONGEST_S):
                detail = await check.ask(environ)
        except TimeoutError:
            fault = Fault(
                check.field, f"no answer within {LONGEST_S:.0f} s", "open the way to it in the firewall, or correct it"
            )
        except Fault as found:
            fault = found
        except KeyError as missing:
            fault = Fault(check.field, f"the variable {missing.args[0]} is not set", "report this as a fault of ours")
        except Exception as error:
            # Its text could hold a password; and without a result nobody would learn which connection it is.
            problem = f"what answers is not understood ({type(error).__name__})"
            fault = Fault(check.field, problem, "correct the address and the values in its Secret")
        else:
            return Result(name, True, time.monotonic() - started, detail)
        if attempt == 0:
            await asyncio.sleep(AGAIN_AFTER_S)
    return Result(name, False, time.monotonic() - started, fault.problem, fault.field, fault.next_step)
