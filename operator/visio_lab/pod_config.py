"""What a process pod's containers are started with: the objects the pod refers to, its tokens, files and commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visio_lab.api import Api, ApiError
from visio_lab.container_env import Ref, data_of, environment, expanded, references
from visio_lab.container_process import Launch, search_path
from visio_lab.context import CLUSTER_DOMAIN, DNS_SERVICE_IP, LabContext
from visio_lab.programs import all_containers, has_program, program
from visio_lab.volumes import Mount, audiences, make_volumes, mounts

Json = dict[str, Any]

TOKEN_S = 86400
TMP = "/tmp"  # noqa: S108 - the container's own, never the machine's


async def prepare(ctx: LabContext, api: Api, pod: Json, directory: Path) -> dict[str, Launch]:
    """Write the pod's volumes and files under `directory` and return how to start each container that has a program.

    Raises ConfigError or ApiError while something that the pod refers to is missing.
    """
    objects, tokens = await read_objects(api, pod), await request_tokens(api, pod)
    volumes = make_volumes(pod, directory, ctx.directory / "volumes", objects, tokens)
    files = write_files(pod, directory / "etc")
    launches = {}
    for spec in filter(has_program, all_containers(pod)):
        variables = environment(spec, pod, objects)
        read_only = bool((spec.get("securityContext") or {}).get("readOnlyRootFilesystem"))
        found = [*mounts(spec, volumes, variables), *files]
        if not read_only and all(each.target != TMP for each in found):
            private = directory / "tmp" / spec["name"]
            private.mkdir(parents=True, exist_ok=True)
            found.append(Mount(str(private), TMP))
        command, args = expanded(spec.get("command"), variables), expanded(spec.get("args"), variables)
        launches[spec["name"]] = Launch(
            argv=program(spec.get("image", ""), command, args, ctx),
            environment={**_image_environment(ctx, pod), **variables},
            directory=spec.get("workingDir") or "/",
            mounts=found,
            read_only=read_only,
        )
    return launches


def _image_environment(ctx: LabContext, pod: Json) -> dict[str, str]:
    """What an image or the container runtime would have set."""
    return {
        "PATH": search_path(ctx),
        "HOME": TMP,
        "HOSTNAME": pod["metadata"]["name"],
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }


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
