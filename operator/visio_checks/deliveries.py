"""What the platform hands results to: the SMTP relay, La Suite Docs, the language model."""

from __future__ import annotations

from . import http_services, mail_service
from .call import Call
from .fault import Fault
from .web import answer


async def check_mail(call: Call) -> str:
    """The relay greets, encrypts and knows the user; no mail is sent."""
    mail = call.settings.mail
    if mail is None:
        raise Fault("spec.mail", "there is no relay", "configure one")
    environ = {
        "MAIL_HOST": mail.host,
        "MAIL_PORT": str(mail.port),
        "MAIL_SECURITY": "startTLS" if mail.start_tls else "TLS" if mail.tls else "none",
    }
    if mail.user:
        environ |= {"MAIL_USER": mail.user, "MAIL_PASSWORD": mail.password}
    return await mail_service.mail(environ)


async def check_docs(call: Call) -> str:
    """Docs knows the server-to-server key: it complains about an empty document, not about who sends it."""
    docs = call.settings.docs
    if docs is None:
        raise Fault("spec.docs", "there is no Docs", "configure it")
    url = f"{docs.url.rstrip('/')}/api/v1.0/documents/create-for-owner/"
    headers = {"Authorization": f"Bearer {docs.key}"}
    status, _, _ = await answer(call.http, "POST", url, "spec.docs.url", json={}, headers=headers)
    if status in (401, 403):
        problem = f"{docs.url} does not accept the key ({status})"
        raise Fault("spec.docs.secretRef", problem, "put the server-to-server key of Docs into the Secret")
    if status != 400:
        problem = f"POST {url} gives {status} to an empty document, where Docs gives 400"
        raise Fault("spec.docs.url", problem, "correct the URL: it is that of the page, without a path")
    return "Docs accepts the key"


async def check_llm(call: Call) -> str:
    """The model is offered for the key."""
    llm = call.settings.llm
    if llm is None:
        raise Fault("spec.llm", "there is no language model", "configure one")
    return await http_services.llm({"LLM_URL": llm.url, "LLM_API_KEY": llm.key, "LLM_MODEL": llm.name})
