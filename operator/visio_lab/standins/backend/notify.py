"""What happens to a finished recording: a job for the summary service, a mail to its owner."""

import asyncio
import datetime as dt
import json
import smtplib
from email.message import EmailMessage
from typing import Any

import aiohttp

from visio_lab.standins.backend import livekit_calls as livekit
from visio_lab.standins.backend.http import Backend, Json
from visio_lab.standins.backend.login import trust
from visio_lab.standins.backend.rooms import Row

SUMMARY_TIMEOUT_S = 30
TIMES_TIMEOUT_S = 10


async def notify(server: Backend, connection: Any, recording: Row) -> bool:
    """Tell whom the recording concerns; whether everyone could be told."""
    owner = await connection.fetchrow(
        "SELECT u.* FROM meet_recording_access a JOIN meet_user u ON u.id = a.user_id"
        " WHERE a.recording_id = $1 AND a.role = 'owner' ORDER BY a.created_at LIMIT 1",
        recording["id"],
    )
    if owner is None:
        return False
    if recording["mode"] == "transcript":
        return await _ask_for_transcript(server, connection, recording, owner)
    told = True
    if json.loads(recording["options"]).get("transcribe"):
        told = await _ask_for_transcript(server, connection, recording, owner)
    return await asyncio.to_thread(_send_mail, server, recording, owner) and told


async def _times(server: Backend, egress: str) -> tuple[dt.datetime | None, dt.datetime | None]:
    try:
        began, ended = await asyncio.wait_for(livekit.egress_times(server.settings, egress), TIMES_TIMEOUT_S)
    except livekit.LIVEKIT_ERRORS as error:
        print(f"times of egress {egress} unknown: {type(error).__name__}", flush=True)
        return None, None
    seconds = [dt.datetime.fromtimestamp(each / 1e9, dt.UTC) if each else None for each in (began, ended)]
    return seconds[0], seconds[1]


async def _ask_for_transcript(server: Backend, connection: Any, recording: Row, owner: Row) -> bool:
    """One POST to the summary service, with links to the recording and to who spoke when."""
    options = server.settings.recording
    if not options.summary_url:
        print("Summary service not configured", flush=True)
        return False
    payload = await _payload(server, connection, recording, owner)
    headers = {"Authorization": f"Bearer {options.summary_token}"}
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=SUMMARY_TIMEOUT_S), connector=aiohttp.TCPConnector(ssl=trust())
            ) as session,
            session.post(options.summary_url, json=payload, headers=headers) as response,
        ):
            response.raise_for_status()
            job = (await response.json())["job_id"]
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"summary service at {options.summary_url}: {type(error).__name__}: {error}", flush=True)
        return False
    await connection.execute(
        "UPDATE meet_recording SET external_process_id = $2 WHERE id = $1", recording["id"], str(job)
    )
    return True


async def _payload(server: Backend, connection: Any, recording: Row, owner: Row) -> Json:
    options, settings, store = json.loads(recording["options"]), server.settings.recording, server.settings.base.storage
    began, ended = await _times(server, recording["worker_id"])
    key = f"{settings.folder}/{recording['id']}.{livekit.extension(recording['mode'])}"
    metadata = None
    if began and ended and settings.metadata and options.get("collect_metadata"):
        file = f"{settings.metadata_folder}/{recording['id']}-metadata.json"
        metadata = {
            "cloud_storage_url": store.link(file, settings.link_seconds),
            "started_at": began.isoformat(),
            "ended_at": ended.isoformat(),
        }
    name = await connection.fetchval("SELECT name FROM meet_room WHERE id = $1", recording["room_id"])
    when = f" on {began:%Y-%m-%d} at {began:%H:%M}" if began else ""
    return {
        "user_sub": owner["sub"],
        "user_email": owner["email"],
        "cloud_storage_url": store.link(key, settings.link_seconds),
        "language": options.get("language", server.settings.language.partition("-")[0]),
        "context_language": owner["language"],
        "push_to_docs_config": {
            "user_email": owner["email"],
            "title": f'Meeting "{name}"{when}',
            "download_link": f"{settings.download_url}/{recording['id']}",
            "form_link": None,
            "auto_create_summary": False,
        },
        "metadata": metadata,
    }


def _send_mail(server: Backend, recording: Row, owner: Row) -> bool:
    """A mail with the link. A server that refuses it is only said; one that is not there raises OSError (500)."""
    mail = server.settings.mail
    if not mail["host"]:
        # Without a host Django's mail library fails politely, so the recording is saved without a mail.
        print("notification could not be sent: no mail host", flush=True)
        return False
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Your recording is ready", mail["sender"], owner["email"]
    message.set_content(f"{mail['brand']}: {server.settings.recording.download_url}/{recording['id']}\n")
    kind = smtplib.SMTP_SSL if mail["ssl"] else smtplib.SMTP
    try:
        with kind(mail["host"], mail["port"], timeout=SUMMARY_TIMEOUT_S) as connection:
            if mail["tls"]:
                connection.starttls()
            if mail["user"]:
                connection.login(mail["user"], mail["password"])
            connection.send_message(message)
    except smtplib.SMTPException as error:
        print(f"notification could not be sent: {type(error).__name__}", flush=True)
        return False
    return True
