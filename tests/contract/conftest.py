"""Visio's API, summary service and workers, running beside what they use.

By default the stand-ins play them; with `--visio-source DIR` they are Visio's own, held to the same suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from visio_fakes import Others, others
from visio_stack import HOST, Programs, Services, Visio, answers, free_port, services, wait_until

from rendered_environment import rendered_environment
from visio_lab.progress import open_progress
from visio_lab.visio_source import checkouts, prepare

CELERY = ["celery", "-A", "summary.core.celery_worker", "worker", "--pool=solo", "--loglevel=info", "-Q"]
QUEUES = ("TRANSCRIBE_QUEUE_V2", "SUMMARIZE_QUEUE_V2", "CALL_WEBHOOK_QUEUE_V2")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Unix sockets have short names, and other users start some of the programs.
    path = tmp_path_factory.mktemp("c")
    for each in (path, *path.parents[:2]):
        each.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def around(folder: Path) -> Iterator[Services]:
    with services(folder) as running:
        yield running


@pytest.fixture(scope="session")
def recorded() -> Iterator[Others]:
    with others() as running:
        yield running


@pytest.fixture(scope="session")
def visio_home(request: pytest.FixtureRequest) -> Path | None:
    """Where Visio's own programs are, those of the newest release given; None where the stand-ins play them."""
    sources = list(checkouts(request.config.getoption("--visio-source")).values())
    if not sources:
        return None
    with open_progress() as progress:
        return prepare(sources[-1], progress)


@pytest.fixture(scope="session")
def programs(folder: Path, visio_home: Path | None) -> Iterator[Programs]:
    """The programs under test; the session ends them."""
    run = Programs(folder, visio_home)
    try:
        yield run
    finally:
        run.stop()


@pytest.fixture(scope="session")
def visio(around: Services, recorded: Others, programs: Programs, folder: Path) -> Visio:
    backend_port, summary_port = free_port(), free_port()
    addresses = around.variables() | {
        "LIVEKIT_API_URL": recorded.url,
        "SUMMARY_SERVICE_ENDPOINT": f"http://127.0.0.1:{summary_port}/api/v2/async-jobs/transcribe",
        "WHISPERX_BASE_URL": f"{recorded.url}/v1/",
        "LASUITE_DOCS_BASE_URL": recorded.url,
        "LLM_BASE_URL": f"{recorded.url}/v1",
        "DJANGO_EMAIL_HOST": "",
        "FILE_UPLOAD_ENABLED": "True",
        "FILE_PURGE_GRACE_DAYS": "0",
    }
    backend = rendered_environment("backend", folder) | addresses
    summary = rendered_environment("transcribe", folder) | addresses
    # The tenant's webhook is Visio's public URL, which leads to nobody here.
    summary["AUTHORIZED_TENANTS"] = summary["AUTHORIZED_TENANTS"].replace(
        f"https://{HOST}/api/v1.0/recordings/external-process-hook/", f"{recorded.url}/webhook/"
    )
    migration = programs.run("meet-backend", ["python", "manage.py", "migrate", "--no-input"], backend)
    assert migration.returncode == 0, migration.stderr
    servers = [
        programs.start(
            "meet-backend",
            ["gunicorn", "-c", "/usr/local/etc/gunicorn/meet.py", "meet.wsgi:application"],
            backend,
            backend_port,
        ),
        programs.start(
            "meet-summary",
            ["uvicorn", "summary.main:app", "--proxy-headers", "--host", "127.0.0.1", "--port", str(summary_port)],
            summary,
            summary_port,
        ),
    ]
    worker = ["celery", "-A", "meet.celery_app", "worker", "--pool=solo", "--loglevel=info", "-Q", "meet-backend"]
    programs.start("meet-backend", worker, backend)
    for name in QUEUES:
        programs.start("meet-summary", [*CELERY, summary[name]], summary)
    for port, process in zip((backend_port, summary_port), servers, strict=True):
        wait_until(lambda port=port: answers(f"http://127.0.0.1:{port}/__lbheartbeat__"), f"port {port}", process)  # type: ignore[misc]
    return Visio(f"http://127.0.0.1:{backend_port}", f"http://127.0.0.1:{summary_port}", programs, backend, summary)
