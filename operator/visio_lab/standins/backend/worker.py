"""The Celery worker of the API's own queue, a real one: removal of files and of rooms of connection tests."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from celery import Celery
from livekit.api import DeleteRoomRequest, TwirpError

from visio_lab.standins.backend import schema
from visio_lab.standins.backend.livekit_calls import client
from visio_lab.standins.backend.settings import Base, base, server

DELETE_FILE = "core.tasks.file.process_file_deletion"
DELETE_TEST_ROOM = "core.tasks.connection_test.delete_connection_test_room"
TEST_ROOM_PREFIX = "connection-test"


def application(settings: Base) -> Any:
    """Celery with the tasks under the names that the API enqueues."""
    app = Celery("meet", broker=settings.broker_url, set_as_current=False)
    app.conf.update(task_default_queue=settings.queue, task_ignore_result=True)

    def process_file_deletion(file_id: str) -> None:
        asyncio.run(delete_file(settings, file_id))

    def delete_connection_test_room(room_name: str) -> None:
        asyncio.run(_delete_room(room_name))

    app.task(name=DELETE_FILE)(process_file_deletion)
    app.task(name=DELETE_TEST_ROOM)(delete_connection_test_room)
    return app


async def delete_file(settings: Base, file_id: str) -> None:
    """Remove one file that was marked for it, from the store and from the database."""
    connection = await schema.connect(settings)
    try:
        row = await connection.fetchrow(
            "SELECT filename FROM meet_file WHERE id = $1 AND hard_deleted_at IS NOT NULL", UUID(file_id)
        )
        if row is None:
            return
        extension = row["filename"].rpartition(".")[2]
        store = settings.storage
        await asyncio.to_thread(store.client().remove_object, store.bucket, f"files/{file_id}.{extension}")
        await connection.execute("DELETE FROM meet_file WHERE id = $1", UUID(file_id))
    finally:
        await connection.close()


async def _delete_room(name: str) -> None:
    if not name.startswith(TEST_ROOM_PREFIX):
        return
    async with client(server(os.environ)) as livekit:
        try:
            await livekit.room.delete_room(DeleteRoomRequest(room=name))
        except TwirpError as error:
            if error.code != "not_found":
                raise


def run(argv: Sequence[str]) -> int:
    """`-A meet.celery_app worker ...`: Celery itself from here on; it ends by itself."""
    settings = base(os.environ)
    if not settings.celery_enabled:
        raise SystemExit("CELERY_ENABLED must be True: otherwise the API does this work itself")
    words = list(argv)
    if words[:2] != ["-A", "meet.celery_app"]:
        raise SystemExit(f"celery: no application {' '.join(words[:2])}")
    application(settings).worker_main(words[2:])
    return 0
