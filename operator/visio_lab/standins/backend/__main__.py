"""`gunicorn ...`, `celery ...` or `python manage.py ...`, as the container's command says; without one, gunicorn."""

import sys

from visio_lab.standins.backend import commands, worker
from visio_lab.standins.backend.server import serve


def main(argv: list[str]) -> int:
    """Run what the image's entrypoint would run; returns the exit code."""
    words = argv or ["gunicorn"]
    if words[0] == "gunicorn":
        serve()
        return 0
    if words[0] == "celery":
        return worker.run(words[1:])
    if words[0] == "python" and words[1:2] == ["manage.py"]:
        return commands.run(words[2:])
    raise SystemExit(f"{words[0]}: not found")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
