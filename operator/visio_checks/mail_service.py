"""Check of the SMTP relay."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping

from visio_checks.fault import Fault, unreachable

ANSWER_S = 6.0


async def mail(environ: Mapping[str, str]) -> str:
    """Greet the relay, encrypt and log in as the API will; no mail is sent."""
    return await asyncio.to_thread(_log_in, environ)


def _log_in(environ: Mapping[str, str]) -> str:
    host, port, security = environ["MAIL_HOST"], int(environ["MAIL_PORT"]), environ["MAIL_SECURITY"]
    where, context = f"{host}:{port}", ssl.create_default_context()
    try:
        with _opened(host, port, security, context) as relay:
            relay.ehlo()
            if security == "startTLS":
                relay.starttls(context=context)
                relay.ehlo()
            if environ.get("MAIL_USER"):
                relay.login(environ["MAIL_USER"], environ["MAIL_PASSWORD"])
                return "logged in"
            return "greeted"
    except smtplib.SMTPAuthenticationError:
        problem = f"{where} does not accept the user {environ['MAIL_USER']} with this password"
        raise Fault("spec.mail.secretRef", problem, "put the password into the Secret, or correct user") from None
    except smtplib.SMTPNotSupportedError as error:
        problem = f"{where} does not offer what is asked of it: {error}"
        raise Fault("spec.mail.security", problem, "choose startTLS, TLS or none as the relay has it") from None
    except ssl.SSLCertVerificationError as error:
        raise unreachable("spec.mail.host", where, error) from None
    except ssl.SSLError:
        raise Fault("spec.mail.security", f"{where} does not speak TLS at once", "set startTLS, or its port") from None
    except (smtplib.SMTPException, OSError) as error:
        raise unreachable("spec.mail.host", where, error) from None


def _opened(host: str, port: int, security: str, context: ssl.SSLContext) -> smtplib.SMTP:
    if security == "TLS":
        return smtplib.SMTP_SSL(host, port, timeout=ANSWER_S, context=context)
    return smtplib.SMTP(host, port, timeout=ANSWER_S)
