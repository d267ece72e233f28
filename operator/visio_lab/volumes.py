"""A pod's volumes as directories of the lab, and where each container sees them."""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visio_lab.container_env import ConfigError, Ref, expand, field
from visio_lab.storage import claim_directory

Json = dict[str, Any]
Files = dict[str, bytes]

DEFAULT_MODE = 0o644
TOKEN = "serviceAccountToken"  # noqa: S105 - the name of a field


@dataclass(frozen=True)
class Mount:
    """`source` (a file or directory of the lab) seen by a container at `target`."""

    source: str
    target: str
    read_only: bool = False

    def as_json(self) -> Json:
        """For the container's own file."""
        return asdict(self)


def volume_files(
    source: Json, pod: Json, objects: Mapping[Ref, Mapping[str, bytes]], tokens: Mapping[str, str]
) -> Files:
    """Relative path and content of every file in one source: secret, configMap, downwardAPI, serviceAccountToken.

    `tokens` holds a token per audience, the API server's own under "". Raises ConfigError for a key that is not there.
    """
    if TOKEN in source:
        token = source[TOKEN]
        return {token["path"]: tokens[token.get("audience", "")].encode()}
    if "downwardAPI" in source:
        items = source["downwardAPI"].get("items") or []
        return {
            item["path"]: field(pod, item["fieldRef"]["fieldPath"]).encode() for item in items if "fieldRef" in item
        }
    for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
        if key in source:
            name = source[key].get("secretName") or source[key].get("name")
            return _chosen(source[key], f"{kind} {name}", objects.get((kind, name), {}))
    return {}


def _chosen(source: Json, called: str, entries: Mapping[str, bytes]) -> Files:
    """The entries that `items` picks, or all of them."""
    if not source.get("items"):
        return dict(entries)
    files = {}
    for item in source["items"]:
        if item["key"] in entries:
            files[item["path"]] = entries[item["key"]]
        elif not source.get("optional"):
            raise ConfigError(f"{called} has no key {item['key']}")
    return files


def audiences(pod: Json) -> set[str]:
    """The audiences of all tokens that the pod's volumes ask for; "" is the API server's own."""
    projected = [volume["projected"] for volume in pod["spec"].get("volumes") or [] if "projected" in volume]
    sources = [source for each in projected for source in each.get("sources") or []]
    return {source[TOKEN].get("audience", "") for source in sources if TOKEN in source}


def make_volumes(
    pod: Json,
    pod_directory: Path,
    claims: Path,
    objects: Mapping[Ref, Mapping[str, bytes]],
    tokens: Mapping[str, str],
) -> dict[str, Path]:
    """Make the directory of each volume and return them by name. `claims` is where volumes of claims lie.

    Raises ConfigError for a kind of volume that the lab does not have.
    """
    directories: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or []:
        name, namespace = volume["name"], pod["metadata"]["namespace"]
        if "persistentVolumeClaim" in volume:
            directory = claim_directory(claims, namespace, volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            directory = claim_directory(claims, namespace, f"{pod['metadata']['name']}-{name}")
        else:
            directory = pod_directory / "volumes" / name
        directory.mkdir(parents=True, exist_ok=True)
        directories[name] = directory
        _fill(volume, directory, pod, objects, tokens)
    return directories


def _fill(
    volume: Json, directory: Path, pod: Json, objects: Mapping[Ref, Mapping[str, bytes]], tokens: Mapping[str, str]
) -> None:
    if "projected" in volume:
        sources, body = volume["projected"].get("sources") or [], volume["projected"]
    elif kinds := [key for key in ("secret", "configMap", "downwardAPI") if key in volume]:
        sources, body = [volume], volume[kinds[0]]
    elif {"emptyDir", "persistentVolumeClaim", "ephemeral"} & set(volume):
        return
    else:
        raise ConfigError(f"volume {volume['name']}: the lab has no volumes of this kind")
    files: Files = {}
    for source in sources:
        files |= volume_files(source, pod, objects, tokens)
    # The lab's one user stands for every user of a pod, so a file that some user may read must be its own.
    publish(directory, files, int(body.get("defaultMode") or DEFAULT_MODE) | 0o400)


def publish(directory: Path, files: Files, mode: int) -> None:
    """Show `files` in a volume's directory, all of them changing in one moment, as a kubelet does.

    They lie in a folder beside, which the link `..data` names; each name in the volume is a link through that one.
    """
    data = directory / "..data"
    before = data.resolve() if data.is_symlink() else None
    if before and files == {
        str(each.relative_to(before)): each.read_bytes() for each in before.rglob("*") if each.is_file()
    }:
        return
    fresh = directory / f"..{time.time_ns()}"
    for relative, content in files.items():
        file = fresh / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
    fresh.mkdir(exist_ok=True)
    coming = directory / "..data_tmp"
    coming.symlink_to(fresh.name)
    coming.replace(data)
    names = {Path(relative).parts[0] for relative in files}
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and entry.name not in names and entry != data:
            entry.unlink()
    if before:
        shutil.rmtree(before, ignore_errors=True)


def mounts(container: Json, directories: Mapping[str, Path], variables: Mapping[str, str]) -> list[Mount]:
    """Where a container sees its volumes. A subPath that does not exist becomes a directory, as a kubelet makes it."""
    found = []
    for mount in container.get("volumeMounts") or []:
        source = directories[mount["name"]]
        sub_path = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            sub_path = expand(mount["subPathExpr"], variables)
        if sub_path:
            source = Path(os.path.normpath(source / sub_path))
            if not source.is_relative_to(directories[mount["name"]]):
                raise ConfigError(f"subPath {sub_path} leads out of volume {mount['name']}")
            if not source.exists():
                source.mkdir(parents=True)
        found.append(Mount(str(source), mount["mountPath"], bool(mount.get("readOnly"))))
    return found
