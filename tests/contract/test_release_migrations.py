"""The stand-in of the API plays its image's release: that release's migrations, each once, and its commands alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import pytest
from visio_stack import Services

from rendered_environment import SECRETS, rendered_environment
from visio_lab.standins.backend import commands
from visio_operator.api.releases import load_releases

MIGRATING = {entry.version: entry.migrations for entry in load_releases() if entry.migrations}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Database:
    """A database of its own, and the commands of one release after the other on it."""

    def __init__(self, around: Services, folder: Path) -> None:
        self.name = f"ladder_{uuid.uuid4().hex[:8]}"
        self.login = {"host": "127.0.0.1", "port": around.postgres, "user": "meet", "password": SECRETS["password"]}
        self.variables = rendered_environment("backend", folder) | around.variables() | {"DB_NAME": self.name}
        self.sql(f"CREATE DATABASE {self.name}", database="meet")

    def sql(self, statement: str, *arguments: Any, database: str = "") -> list[Any]:
        """The rows of one statement."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(**self.login, database=database or self.name)
            try:
                return list(await connection.fetch(statement, *arguments))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def manage(self, version: str, *words: str, **changes: str) -> Done:
        """`manage.py` in the image of a release."""
        image = f"registry.example.fr/lasuite/meet-backend:v{version}@sha256:{'0' * 64}"
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.variables, "LAB_IMAGE": image, **changes}),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            code = commands.run(list(words))
        return Done(code, output.getvalue(), errors.getvalue())

    def applied(self) -> dict[str, int]:
        """How often each migration was recorded, by its number."""
        rows = self.sql("SELECT left(name, 4) AS number, count(*) AS times FROM django_migrations GROUP BY 1")
        return {row["number"]: row["times"] for row in rows}

    def add_person(self, email: str) -> None:
        self.sql("INSERT INTO meet_user (id, email) VALUES ($1, $2)", uuid.uuid4(), email)


@pytest.fixture
def database(around: Services, folder: Path) -> Iterator[Database]:
    made = Database(around, folder)
    yield made
    made.sql(f"DROP DATABASE {made.name}", database="meet")


def test_each_migration_runs_once_on_the_way_up(database: Database) -> None:
    assert "core.0001_initial" in database.manage("1.17.0", "migrate", "--plan").stdout
    assert database.sql("SELECT to_regclass('django_migrations') AS found")[0]["found"] is None, "a plan writes nothing"

    for version in ("1.17.0", "1.18.0", "1.22.0", "1.23.0", "1.24.0", "1.25.2", "1.25.2", "1.33.0"):
        planned = database.manage(version, "migrate", "--plan").stdout
        expected = MIGRATING.get(version, ()) if version != "1.17.0" else ("0001",)
        if version == "1.25.2" and "0022" in database.applied():
            expected = ()
        assert all(f"core.{number}_" in planned for number in expected)
        assert ("No planned migration operations." in planned) == (not expected)
        ran = database.manage(version, "migrate", "--no-input")
        assert ran.returncode == 0, ran.stderr
        assert all(f"Applying core.{number}_" in ran.stdout for number in expected)
        assert ("No migrations to apply." in ran.stdout) == (not expected)

    assert database.applied() == {f"{number:04}": 1 for number in range(1, 24)}
    runs = database.sql("SELECT release, count(*) AS times FROM lab_migrate_run GROUP BY 1")
    assert {row["release"]: row["times"] for row in runs}["1.25"] == 2


def test_an_older_image_shows_and_applies_what_it_knows(database: Database) -> None:
    assert database.manage("1.24.0", "migrate", "--no-input").returncode == 0
    shown = database.manage("1.25.2", "showmigrations").stdout.splitlines()
    assert shown[0] == "core"
    assert shown[-2:] == [
        " [X] 0021_recording_external_process_id_alter_recording_status",
        " [ ] 0022_user_default_room_access_level_and_more",
    ]
    in_order = database.manage("1.24.0", "showmigrations", "--plan").stdout.splitlines()
    assert in_order[-1] == "[X]  core.0021_recording_external_process_id_alter_recording_status"


def test_people_who_are_there_twice_stop_the_migration_until_they_are_merged(database: Database) -> None:
    assert database.manage("1.17.0", "migrate", "--no-input").returncode == 0
    for email in ("ada@example.fr", "Ada@example.fr", "bob@example.fr"):
        database.add_person(email)

    failed = database.manage("1.18.0", "migrate", "--no-input")
    assert failed.returncode == 1
    assert "django.db.utils.IntegrityError" in failed.stderr
    assert "0019" not in database.applied()

    tried = database.manage("1.18.0", "merge_duplicate_users", "--dry-run")
    assert tried.stdout == "1 duplicate users would be merged\n"
    assert len(database.sql("SELECT 1 FROM meet_user")) == 3
    assert database.manage("1.18.0", "merge_duplicate_users").returncode == 0
    assert [row["email"] for row in database.sql("SELECT email FROM meet_user ORDER BY 1")] == [
        "ada@example.fr",
        "bob@example.fr",
    ]

    assert database.manage("1.18.0", "migrate", "--no-input").returncode == 0
    assert {"0019", "0020"} <= database.applied().keys()


@pytest.mark.parametrize(
    "version, command, code",
    [
        ("1.17.0", "merge_duplicate_users", 1),
        ("1.21.0", "clean_pending_files", 1),
        ("1.22.0", "clean_pending_files", 0),
        ("1.22.0", "check", 0),
    ],
)
def test_commands_exist_from_their_release_on(database: Database, version: str, command: str, code: int) -> None:
    assert database.manage(version, "migrate", "--no-input").returncode == 0
    assert database.manage(version, command).returncode == code


def test_a_check_asks_the_database_only_where_it_is_told_to(database: Database) -> None:
    assert database.manage("1.27.0", "check", DB_PORT="1").returncode == 0
    assert database.manage("1.27.0", "check", "--database", "default", DB_PORT="1").returncode == 1
