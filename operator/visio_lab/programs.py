"""Which containers of the lab run as real processes, and what runs in place of their images.

One rule decides whether a whole pod is real: at least one of its containers, sidecars included, has an image whose
repository is named like one of PROCESS_IMAGES. KWOK leaves such pods alone (stages.py uses the same tuple), the lab's
kubelet runs them. Their other containers count as running and ready unless the table below has a program for them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from visio_lab.context import LabContext

PROCESS_IMAGES = ("redis", "visio-operator", "moshi-server", "whisper-api")
"""Last path component of the image repositories that make a pod a real one."""

PROCESS_IMAGE_PATTERN = "(^|/)(" + "|".join(PROCESS_IMAGES) + ")([:@]|$)"
"""The same as a regular expression that Python, Go and jq read alike."""

STANDINS = {
    "moshi-server": "kyutai",
    "whisper-api": "whisperx",
    "meet-summary": "transcribe_worker",
    "meet-agents": "agent",
}
"""Image repository to the module of visio_lab.standins that plays it."""


def repository(image: str) -> str:
    """Last path component of an image's repository: `docker.io/lasuite/meet-agents:v1` is `meet-agents`."""
    return re.split("[:@]", image.rsplit("/", 1)[-1], maxsplit=1)[0]


def all_containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Init containers, then containers."""
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"]["containers"]


def is_process_pod(pod: dict[str, Any]) -> bool:
    """Whether the lab's kubelet, and not KWOK, plays this pod."""
    return any(re.search(PROCESS_IMAGE_PATTERN, each.get("image", "")) for each in all_containers(pod))


def has_program(container: dict[str, Any]) -> bool:
    """Whether a real process stands behind this container."""
    name = repository(container.get("image", ""))
    words = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    if name == "meet-agents":
        # The image's own command is the subtitles agent; the metadata collector has no stand-in.
        return "metadata_collector" not in words
    if name == "meet-summary":
        return "transcribe-queue" in words
    return name in PROCESS_IMAGES


def program(image: str, command: Sequence[str], args: Sequence[str], ctx: LabContext) -> list[str]:
    """The command line that stands in for a container with this image, command and arguments, already expanded."""
    name, words = repository(image), [*command, *args]
    if name == "redis":
        return words if command or words[:1] == ["redis-server"] else ["redis-server", *words]
    if name == "visio-operator":
        if words and Path(words[0]).name == "visio-operator":
            words = words[1:]
        elif command:
            return words
        return [*ctx.visio_operator_command, *words]
    standin = [ctx.python, "-m", f"visio_lab.standins.{STANDINS[name]}"]
    if name == "moshi-server":
        return [*standin, *(words[1:] if words and Path(words[0]).name == "moshi-server" else words)]
    if name == "whisper-api":
        # `python3 main.py --model M` is the image's command up to 1.2.0: what follows main.py are the arguments.
        scripts = [index for index, word in enumerate(words) if word.endswith("main.py")]
        return [*standin, *(words[scripts[0] + 1 :] if scripts else words)]
    return [*standin, *words[words.index("-Q") :]] if "-Q" in words else standin
