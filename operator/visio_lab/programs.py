"""Which containers of the lab run as real processes, and what runs in place of their images.

One rule decides whether a whole pod is real: at least one of its containers, sidecars included, has an image whose
repository is named in the lab's `real_images`. KWOK leaves such pods alone (stages.py uses the same names), the lab's
kubelet runs them. Their other containers count as running and ready unless the table below has a program for them.
Where KWOK plays the servers, it plays the checks of connections to them as well, since these would find nobody.
"""

import re
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from visio_lab import visio_source
from visio_lab.context import LabContext

STANDINS = {
    "moshi-server": "kyutai",
    "whisper-api": "whisperx",
    "meet-summary": "transcribe_worker",
    "meet-agents": "agent",
}
"""Image repository to the module of visio_lab.standins that plays it where the load driver works the platform."""

REAL_STANDINS = {
    "moshi-server": "kyutai",
    "whisper-api": "whisperx",
    "meet-backend": "backend",
    "meet-frontend": "frontend",
    "meet-summary": "summary",
    "meet-agents": "agents",
    "garage": "garage",
}
"""The same where all pods are real: each of these takes the image's command and arguments as they are."""

ENTRYPOINTS = {
    "livekit-server": "livekit-server",
    "egress": "egress-standin",
    "coturn": "turnserver",
    "traefik": "traefik",
    "redis": "redis-server",
}
"""Image repository to the program that its image starts when the container names no command."""

OLDER = {"livekit-server:v1.11.0": "livekit-server-1.11.0"}
"""Images for which the lab has a program of that very version, where it was started with it; any other tag runs the
program of ENTRYPOINTS."""

PLAIN = frozenset({"true", "sh"})
"""Programs of the system that any image has, and that a container may name as its command."""

CHECKS = "checks"
"""First argument of the operator's image where it looks whether servers can be reached."""

STOP_SIGNALS = {"postgres": signal.SIGINT}
"""What an image's STOPSIGNAL says where that is not SIGTERM."""


def image_pattern(images: Collection[str]) -> str:
    """A regular expression for images of these repositories that Python, Go and jq read alike."""
    return "(^|/)(" + "|".join(sorted(images)) + ")([:@]|$)"


def repository(image: str) -> str:
    """Last path component of an image's repository: `docker.io/lasuite/meet-agents:v1` is `meet-agents`."""
    return re.split("[:@]", image.rsplit("/", 1)[-1], maxsplit=1)[0]


def all_containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Init containers, then containers."""
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"]["containers"]


def is_process_pod(pod: dict[str, Any], ctx: LabContext) -> bool:
    """Whether the lab's kubelet, and not KWOK, plays this pod."""
    return any(
        repository(each.get("image", "")) in ctx.real_images and (ctx.real_pods or not _is_check(each))
        for each in all_containers(pod)
    )


def _is_check(container: dict[str, Any]) -> bool:
    return bool((container.get("args") or [""])[0] == CHECKS)


def has_program(container: dict[str, Any], ctx: LabContext) -> bool:
    """Whether a real process stands behind this container."""
    name = repository(container.get("image", ""))
    if name in ctx.real_images:
        # Debian's coturn is the one program that a system may lack and that nothing can stand in for.
        return name != "coturn" or (ctx.bin / ENTRYPOINTS["coturn"]).exists()
    words = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    if name == "meet-agents":
        # The image's own command is the subtitles agent; the metadata collector is not played.
        return "metadata_collector" not in words
    return name == "meet-summary" and "transcribe-queue" in words


def program(image: str, command: Sequence[str], args: Sequence[str], ctx: LabContext) -> list[str]:
    """The command line that stands in for a container with this image, command and arguments, already expanded."""
    name, words = repository(image), [*command, *args]
    if command and Path(command[0]).name in PLAIN:
        return words
    home = visio_source.home_for(image, ctx.visio_homes)
    if home is not None and (argv := visio_source.program(name, words, home, ctx.python)):
        return argv
    if name == "lab-process":
        return words
    if name == "visio-operator":
        if words and Path(words[0]).name == "visio-operator":
            words = words[1:]
        elif command:
            return words
        return [*ctx.visio_operator_command, *words]
    if name == "postgres":
        return words if command else [ctx.python, "-m", "visio_lab.postgres", *(words or ["postgres"])]
    if name in ENTRYPOINTS:
        return _entered(ENTRYPOINTS[name], command, args, _older(image))
    return _standin(name, words, ctx)


def image_files(image: str, ctx: LabContext) -> dict[str, Path]:
    """What every container of this image sees of it besides its programs: paths in the image to what lies there."""
    home = visio_source.home_for(image, ctx.visio_homes)
    return {} if home is None else visio_source.files(repository(image), home)


def stop_signal(image: str) -> signal.Signals:
    """The signal by which the kubelet asks a container of this image to end."""
    return STOP_SIGNALS.get(repository(image), signal.SIGTERM)


def _older(image: str) -> str:
    """The program of an older version that the image asks for; empty for the usual one."""
    return OLDER.get(image.rsplit("/", 1)[-1].partition("@")[0], "")


def missing_version(image: str, ctx: LabContext) -> str:
    """Why the image's very version cannot run in this lab, and what to do; empty when it can."""
    older = _older(image)
    if not older or (ctx.bin / older).exists():
        return ""
    return f"{image}: this lab has no program of that version; start it with --livekit {older.rpartition('-')[2]}"


def _entered(entrypoint: str, command: Sequence[str], args: Sequence[str], older: str = "") -> list[str]:
    """A program of the lab's own search path, whatever path it has in the image; `older` is the one to take for it."""
    words, program = [*command, *args], older or entrypoint
    if command:
        return [program, *words[1:]] if Path(words[0]).name == entrypoint else words
    # An image's entry script starts its program also where the arguments begin with it.
    return [program, *(words[1:] if words[:1] == [entrypoint] else words)]


def _standin(name: str, words: list[str], ctx: LabContext) -> list[str]:
    modules = REAL_STANDINS if ctx.real_pods else STANDINS
    argv = [ctx.python, "-m", f"visio_lab.standins.{modules[name]}"]
    if name == "moshi-server":
        return [*argv, *(words[1:] if words and Path(words[0]).name == "moshi-server" else words)]
    if name == "whisper-api":
        # `python3 main.py --model M` is the image's command up to 1.2.0: what follows main.py are the arguments.
        scripts = [index for index, word in enumerate(words) if word.endswith("main.py")]
        return [*argv, *(words[scripts[0] + 1 :] if scripts else words)]
    if name == "meet-summary" and not ctx.real_pods:
        return [*argv, *words[words.index("-Q") :]] if "-Q" in words else argv
    return [*argv, *words] if ctx.real_pods else argv
