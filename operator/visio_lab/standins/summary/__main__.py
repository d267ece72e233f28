"""`uvicorn ...` or `celery ...`, as the container's command says; without one, the API."""

import sys

from visio_lab.standins.summary import api, queues

DEFAULT = ["uvicorn", "summary.main:app", "--proxy-headers", "--host", "0.0.0.0", "--port", "8000"]  # noqa: S104


def main(argv: list[str]) -> None:
    """Run what the image would run."""
    words = argv or DEFAULT
    programs = {"uvicorn": api.run, "celery": queues.run}
    if words[0] not in programs:
        raise SystemExit(f"{words[0]}: not found")
    programs[words[0]](words)


if __name__ == "__main__":
    main(sys.argv[1:])
