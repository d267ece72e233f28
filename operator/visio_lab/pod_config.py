"""What a process pod's containers are started with: the objects the pod refers to, its tokens, files and commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visio_lab.api import Api, ApiError
from visio_lab.container_env import ConfigError, Ref, data_of, environment, expanded, quantity, references
from visio_lab.container_process import Launch, search_path, termination_log
from visio_lab.context import CLUSTER_DOMAIN, DNS_SERVICE_IP, LabContext
from visio_lab.programs import all_containers, has_program, image_files, missing_version, program
from visio_lab.volumes import Mount, audiences, make_volumes, mounts

Json = dict[str, Any]

TOKEN_S = 86400
TERMINATION_LOG = "/dev/termination-log"
TMP = "/tmp"  # noqa: S108 - the container's own, never the machine's


async def prepare(ctx: LabContext, api: Api, pod: Json, directory: Path) -> dict[str, Launch]:
    """Write the pod's volumes and files under `directory` and return how to start each container that has a program.

    Raises ConfigError or ApiError while something that the pod refers to is missing.
    """
    objects, tokens = await read_objects(api, pod), await request_tokens(api, pod)
    volumes = make_volumes(pod, directory, ctx.directory / "volumes", objects, tokens)
    files = write_files(pod, directory / "etc")
    launches = {}
    for spec in (each for each in all_containers(pod) if has_program(each, ctx)):
        if problem := missing_version(spec.get("image", ""), ctx):
            raise ConfigError(problem)
        variables = environment(spec, pod, objects)
        read_only = bool((spec.get("securityContext") or {}).get("readOnlyRootFilesystem"))
        user, group = user_of(pod, spec)
        found = [*mounts(spec, volumes, variables), *files, *write_users(directory / "etc" / spec["name"], user, group)]
        image = image_files(spec.get("image", ""), ctx)
        found += [Mount(str(source), target, read_only=True) for target, source in image.items()]
        if not read_only and all(each.target != TMP for each in found):
            private = directory / "tmp" / spec["name"]
            private.mkdir(parents=True, exist_ok=True)
            found.append(Mount(str(private), TMP))
        message = termination_log(directory, spec["name"])
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        found.append(Mount(str(message), spec.get("terminationMessagePath") or TERMINATION_LOG))
        command, args = expanded(spec.get("command"), variables), expanded(spec.get("args"), variables)
        launches[spec["name"]] = Launch(
            argv=program(spec.get("image", ""), command, args, ctx),
            environment={**_image_environment(ctx, pod, spec), **_cpu_limit(spec), **variables},
            directory=spec.get("workingDir") or "/",
            mounts=found,
            read_only=read_only,
            user=user,
            group=group,
            no_new_privileges=(spec.get("securityContext") or {}).get("allowPrivilegeEscalation") is False,
        )
    return launches


def _image_environment(ctx: LabContext, pod: Json, container: Json) -> dict[str, str]:
    """What an image or the container runtime would have set, and by which image a stand-in is to tell its release."""
    return {
        "PATH": search_path(ctx),
        "HOME": TMP,
        "HOSTNAME": pod["metadata"]["name"],
        "LAB_IMAGE": str(container.get("image", "")),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }


def _cpu_limit(container: Json) -> dict[str, str]:
    """The limit in cores for programs that go by it: the lab sets no cgroups in which they could read it."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("cpu")
    return {"LAB_CPU_LIMIT": f"{quantity(str(limit)):g}"} if limit else {}


def write_files(pod: Json, directory: Path) -> list[Mount]:
    """The files that a kubelet puts into every container; names resolve through cluster DNS and nothing else."""
    metadata = pod["metadata"]
    search = f"{metadata['namespace']}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}"
    contents = {
        "resolv.conf": f"nameserver {DNS_SERVICE_IP}\nsearch {search}\noptions ndots:5\n",
        "hosts": f"127.0.0.1 localhost\n{pod['status']['podIP']} {metadata['name']}\n",
        "hostname": f"{metadata['name']}\n",
        # The machine's own file may send look-ups to a resolver outside the lab.
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (directory / name).write_text(content)
    return [Mount(str(directory / name), f"/etc/{name}") for name in contents]


def user_of(pod: Json, container: Json) -> tuple[int, int]:
    """The user and group that a container runs as; what neither it nor its pod names is root's."""
    security = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    return int(security.get("runAsUser") or 0), int(security.get("runAsGroup") or 0)


def write_users(directory: Path, user: int, group: int) -> list[Mount]:
    """The container's users and groups, in place of the machine's: images name the user that they run as."""
    directory.mkdir(parents=True, exist_ok=True)
    users, groups = {0: "root", 65534: "nobody"}, {0: "root", 65534: "nogroup"}
    users.setdefault(user, "visio")
    groups.setdefault(group, "visio")
    homes = {0: "/root"}
    passwd = [
        f"{name}:x:{uid}:{group if uid == user else uid}::{homes.get(uid, TMP)}:/bin/sh" for uid, name in users.items()
    ]
    (directory / "passwd").write_text("\n".join(passwd) + "\n")
    (directory / "group").write_text("".join(f"{name}:x:{gid}:\n" for gid, name in groups.items()))
    return [Mount(str(directory / name), f"/etc/{name}") for name in ("passwd", "group")]


async def read_objects(api: Api, pod: Json) -> dict[Ref, Mapping[str, bytes]]:
    """The data of every Secret and ConfigMap that the pod refers to. Raises ApiError for a missing one."""
    found: dict[Ref, Mapping[str, bytes]] = {}
    for (kind, name), optional in references(pod).items():
        plural = "secrets" if kind == "Secret" else "configmaps"
        try:
            obj = await api.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/{plural}/{name}")
        except ApiError as error:
            if error.status == 404 and optional:
                continue
            raise
        found[kind, name] = data_of({**obj, "kind": kind})
    return found


async def request_tokens(api: Api, pod: Json) -> dict[str, str]:
    """A token of the pod's ServiceAccount, bound to the pod, for each audience its volumes ask for."""
    metadata, found = pod["metadata"], {}
    account = pod["spec"].get("serviceAccountName") or "default"
    for audience in audiences(pod):
        spec: Json = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": TOKEN_S,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]},
        }
        answer = await api.request(
            "POST",
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        found[audience] = answer["status"]["token"]
    return found
