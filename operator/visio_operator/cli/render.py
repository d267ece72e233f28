"""`visio-operator render`: every manifest of a deployment that is healthy and current, without a cluster."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from visio_operator.api.check import check_document
from visio_operator.api.documents import read_documents
from visio_operator.api.releases import ReleaseEntry, find_release, load_releases
from visio_operator.api.spec import KIND, VisioDeploymentSpec
from visio_operator.plan.decide import decide
from visio_operator.plan.images import as_release
from visio_operator.plan.observed import Observed, Pool, Queue, Workload
from visio_operator.plan.order import CRON_JOBS, IMAGE_KEYS, JOBS, fixed_size, part_set
from visio_operator.plan.policy import secrets_wanted
from visio_operator.workloads.common import Site
from visio_operator.workloads.render import render

from .files import UnreadableError, read

NO_UID = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the API server gives; so the output is the same every time."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `render`."""
    parser = subparsers.add_parser(
        "render",
        help="print the manifests of a healthy deployment",
        description="Print every manifest of a deployment that is healthy and current. Generated Secrets are not among "
        "them: their values exist in a cluster only.",
    )
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="YAML or JSON; - is standard input")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="format")
    parser.set_defaults(func=print_manifests)


def print_manifests(arguments: argparse.Namespace) -> int:
    """Print the manifests of all deployments in a file; exit code 2 when it is not valid."""
    try:
        text = read(arguments.file)
    except UnreadableError as error:
        print(f"visio-operator render: {error}", file=sys.stderr)
        return 2
    problems = [str(problem) for problem in check_document(text)]
    manifests: list[Mapping[str, Any]] = []
    if not problems:
        for document in _deployments(text):
            made, refused = manifests_of(document)
            manifests += made
            problems += refused
    for problem in problems:
        print(f"visio-operator render: {problem}", file=sys.stderr)
    if problems:
        return 2
    if arguments.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2, ensure_ascii=False))
    else:
        yaml.dump_all(manifests, sys.stdout, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True)
    return 0


def manifests_of(document: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """The manifests of one valid VisioDeployment, and what is refused."""
    meta = document["metadata"]
    spec = VisioDeploymentSpec.model_validate_json(json.dumps(document["spec"]))
    ladder = load_releases()
    observed = healthy(spec, meta["name"], meta.get("namespace") or "default", ladder)
    plan = decide(spec, observed, time.time(), ladder)
    if plan.invalid or plan.release is None:
        return (), plan.invalid
    return render(Site(observed.name, observed.namespace, observed.uid, spec), plan), ()


def healthy(spec: VisioDeploymentSpec, name: str, namespace: str, ladder: tuple[ReleaseEntry, ...]) -> Observed:
    """What would be observed if everything that the spec asks for were there and ready."""
    entry = find_release(ladder, spec.version)
    images = as_release(entry, spec.sovereignty.registries).images if entry else {}
    workloads = {
        part: Workload(
            kind="Job" if part in JOBS else "CronJob" if part in CRON_JOBS else "Deployment",
            name=f"{name}-{part}",
            part=part,
            desired=(size := fixed_size(spec, part)),
            ready=size,
            updated=size,
            images=tuple(images[key] for key in IMAGE_KEYS[part] if key in images),
            current=True,
            succeeded=part in JOBS,
        )
        for part in part_set(spec)
    }
    keys: dict[str, frozenset[str]] = {}
    for wanted in secrets_wanted(spec):
        keys[wanted.name] = keys.get(wanted.name, frozenset()) | frozenset(wanted.keys)
    pools = {
        pool.name: Pool(pool.name, found=True, minimum=pool.min, maximum=pool.max)
        for pool in spec.gpu_pools
        if pool.provider != "none"
    }
    return Observed(
        uid=NO_UID,
        namespace=namespace,
        name=name,
        workloads=workloads,
        secret_keys=keys,
        queue=Queue(waiting=0, read_at=time.time()),
        pools=pools,
    )


class _Dumper(yaml.SafeDumper):
    """Writes everything out: anchors would be right, but nobody wants to read them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _deployments(text: str) -> Iterator[Mapping[str, Any]]:
    for document in read_documents(text):
        if document.value.get("kind") == KIND:
            yield document.value
