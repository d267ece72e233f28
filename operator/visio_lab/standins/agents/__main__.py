"""`python SCRIPT start`, as the container's command says; without one, the subtitles agent."""

import sys

from visio_lab.standins.agents import metadata, subtitles

SCRIPTS = {
    "multi_user_transcriber.py": subtitles.run,
    # Its name up to 1.14.
    "multi-user-transcriber.py": subtitles.run,
    "metadata_collector.py": metadata.run,
}


def main(argv: list[str]) -> None:
    """Run what the image would run."""
    words = argv or ["python", "multi_user_transcriber.py", "start"]
    if words[0] != "python" or len(words) != 3 or words[1] not in SCRIPTS or words[2] != "start":
        raise SystemExit(f"{' '.join(words)}: no such program")
    # livekit-agents reads the command line itself.
    sys.argv = [words[1], words[2]]
    SCRIPTS[words[1]]()


if __name__ == "__main__":
    main(sys.argv[1:])
