"""`manage.py`: migration, check, first administrator and regular cleaning, with Django's exit codes."""

import asyncio
import base64
import hashlib
import os
import secrets
import sys
import types
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg

from visio_lab.standins.backend import schema, worker
from visio_lab.standins.backend.release import has_command, has_migration, played
from visio_lab.standins.backend.settings import Base, base

Work = Callable[[Any, Base, Sequence[str]], AsyncIterator[str]]
"""Takes a connection, the settings and the options of a command; yields the lines that it prints."""
PENDING_HOURS = 24
NO_ISSUES = "System check identified no issues (0 silenced)."
ROUNDS = 1_000
"""Few, for a password that guards nothing; the real one takes a thousand times as many."""


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    command, arguments = (argv[0] if argv else "help"), list(argv[1:])
    settings = base(os.environ)
    if command == "shell":
        return _shell(settings, arguments)
    if command == "createsuperuser":
        options = dict(zip(arguments[::2], arguments[1::2], strict=False))
        return _superuser(settings, options.get("--email", ""), options.get("--password", ""))
    work = COMMANDS.get(command)
    if work is None or not has_command(played(os.environ), command):
        print(f"Unknown command: '{command}'", file=sys.stderr)
        return 1
    if command == "check" and "--database" not in arguments:
        # Django asks no database then: what there is to find, reading the settings has found.
        print(NO_ISSUES, flush=True)
        return 0
    return asyncio.run(_with_database(settings, work, arguments))


async def _with_database(settings: Base, work: Work, arguments: Sequence[str]) -> int:
    try:
        connection = await schema.connect(settings)
        try:
            async for line in work(connection, settings, arguments):
                print(line, flush=True)
        finally:
            await connection.close()
    except schema.FAILURES as error:
        # Django prints a stack trace that ends in this line.
        kind = "IntegrityError" if isinstance(error, asyncpg.IntegrityConstraintViolationError) else "OperationalError"
        print(f"django.db.utils.{kind}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


async def _migrate(connection: Any, _: Base, arguments: Sequence[str]) -> AsyncIterator[str]:
    release = played(os.environ)
    if "--plan" in arguments:
        names = await schema.pending(connection, release)
        yield "Planned operations:"
        for name in names:
            yield f"{schema.APP}.{name}"
        if not names:
            yield "  No planned migration operations."
        return
    yield "Running migrations:"
    done = False
    async for name in schema.migrate(connection, release):
        done = True
        yield f"  Applying {schema.APP}.{name}... OK"
    if not done:
        yield "  No migrations to apply."


async def _show_migrations(connection: Any, _: Base, arguments: Sequence[str]) -> AsyncIterator[str]:
    """Both forms that Django has: grouped by application, and with `--plan` in order of application."""
    applied = await schema.applied_migrations(connection)
    in_order = "--plan" in arguments
    if not in_order:
        yield schema.APP
    for name in schema.MIGRATIONS:
        if has_migration(played(os.environ), name):
            mark = "X" if name in applied else " "
            yield f"[{mark}]  {schema.APP}.{name}" if in_order else f" [{mark}] {name}"


async def _check(connection: Any, _: Base, __: Sequence[str]) -> AsyncIterator[str]:
    await connection.execute("SELECT 1")
    yield NO_ISSUES


async def _merge_duplicate_users(connection: Any, _: Base, arguments: Sequence[str]) -> AsyncIterator[str]:
    dry_run = "--dry-run" in arguments
    found = await schema.merge_duplicates(connection, dry_run=dry_run)
    yield f"{found} duplicate users {'would be' if dry_run else 'were'} merged"


async def _clean_pending_files(connection: Any, _: Base, __: Sequence[str]) -> AsyncIterator[str]:
    query = "DELETE FROM meet_file WHERE upload_state = 'pending' AND created_at < now() - make_interval(hours => $1)"
    yield f"Pending files: {await connection.execute(query, PENDING_HOURS)}"


async def _purge_deleted_files(connection: Any, settings: Base, _: Sequence[str]) -> AsyncIterator[str]:
    rows = await connection.fetch(
        "UPDATE meet_file SET hard_deleted_at = now() WHERE hard_deleted_at IS NULL"
        " AND deleted_at < now() - make_interval(days => $1) RETURNING id",
        settings.purge_grace_days,
    )
    application = worker.application(settings)
    for row in rows:
        if settings.celery_enabled:
            application.send_task(worker.DELETE_FILE, args=[str(row["id"])], queue=settings.queue)
        else:
            await worker.delete_file(settings, str(row["id"]))
    yield f"Purged {len(rows)} files"


COMMANDS: dict[str, Work] = {
    "migrate": _migrate,
    "showmigrations": _show_migrations,
    "check": _check,
    "merge_duplicate_users": _merge_duplicate_users,
    "clean_pending_files": _clean_pending_files,
    "purge_deleted_files": _purge_deleted_files,
}


def _superuser(settings: Base, email: str, password: str) -> int:
    """Create or promote the account, and set its password again."""
    if not email or not password:
        print("CommandError: createsuperuser needs an email and a password", file=sys.stderr)
        return 1

    async def work(connection: Any, _: Base, __: Sequence[str]) -> AsyncIterator[str]:
        found = await connection.fetchval("SELECT id FROM meet_user WHERE lower(email) = lower($1)", email)
        hashed = _hashed(password)
        if found is None:
            await connection.execute(
                "INSERT INTO meet_user (id, email, password, is_staff, is_superuser) VALUES ($1, $2, $3, true, true)",
                uuid.uuid4(),
                email,
                hashed,
            )
            yield "Superuser created successfully."
            return
        await connection.execute(
            "UPDATE meet_user SET password = $2, is_staff = true, is_superuser = true WHERE id = $1", found, hashed
        )
        yield "User already existed and was upgraded to superuser."

    return asyncio.run(_with_database(settings, work, ()))


def _hashed(password: str) -> str:
    salt = secrets.token_hex(8)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ROUNDS)
    return f"pbkdf2_sha256${ROUNDS}${salt}${base64.b64encode(digest).decode()}"


def _shell(settings: Base, arguments: Sequence[str]) -> int:
    """`shell -c CODE`: the code is really run, with as much of Django's management as it may call."""
    if len(arguments) != 2 or arguments[0] != "-c":
        print("manage.py shell: only -c CODE is played", file=sys.stderr)
        return 1
    result = 1

    def call_command(name: str, **options: str) -> None:
        nonlocal result
        if name != "createsuperuser":
            raise SystemExit(f"Unknown command: '{name}'")
        result = _superuser(settings, options.get("email", ""), options.get("password", ""))

    management = types.ModuleType("django.core.management")
    management.__dict__["call_command"] = call_command
    for name in ("django", "django.core"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["django.core.management"] = management
    try:
        exec(arguments[1], {"__name__": "__main__"})  # noqa: S102 - what `shell -c` is for
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return result
