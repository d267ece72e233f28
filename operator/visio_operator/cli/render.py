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
from visio_operator.plan.observed import Observed, Pool, Preflight, Queue, WorkerQueue, Workload
from visio_operator.plan.order import CHECKS, CRON_JOBS, IMAGE_KEYS, JOBS, fixed_size, part_set
from visio_operator.plan.plan import Plan
from visio_operator.plan.policy import secrets_wanted
from visio_operator.plan.preflight import connections_digest
from visio_operator.plan.providers import PROVIDERS
from visio_operator.plan.workers import BACKLOG
from visio_operator.workloads.common import Site
from visio_operator.workloads.firewall import openings, table
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
    parser.add_argument(
        "--flows",
        action="store_true",
        help="print what firewalls have to let through instead: to the platform, inside it and out of it",
    )
    parser.add_argument(
        "-o", "--output", choices=("yaml", "json", "table"), help="format; yaml, and a table with --flows"
    )
    parser.set_defaults(func=print_manifests)


def print_manifests(arguments: argparse.Namespace) -> int:
    """Print the manifests of all deployments in a file; exit code 2 when it is not valid."""
    try:
        text = read(arguments.file)
    except UnreadableError as error:
        print(f"visio-operator render: {error}", file=sys.stderr)
        return 2
    if arguments.output == "table" and not arguments.flows:
        print("visio-operator render: manifests are no table; use -o yaml or json, or add --flows", file=sys.stderr)
        return 2
    problems = [str(problem) for problem in check_document(text)]
    planned: list[tuple[Site, Plan]] = []
    if not problems:
        for document in _deployments(text):
            site, plan = _planned(document)
            planned.append((site, plan))
            problems += plan.invalid
    for problem in problems:
        print(f"visio-operator render: {problem}", file=sys.stderr)
    if problems:
        return 2
    if arguments.flows:
        _print_flows(planned, arguments.output or "table")
        return 0
    manifests = [manifest for site, plan in planned for manifest in render(site, plan)]
    if arguments.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=2, ensure_ascii=False))
    else:
        yaml.dump_all(manifests, sys.stdout, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True)
    return 0


def _print_flows(planned: list[tuple[Site, Plan]], form: str) -> None:
    found = [(site, openings(site, plan.release)) for site, plan in planned if plan.release is not None]
    if form == "table":
        tables = [f"{site.namespace}/{site.name}\n{table(lines)}" for site, lines in found]
        print("\n\n".join(tables))
        return
    items = [
        {
            "deployment": f"{site.namespace}/{site.name}",
            "zone": line.zone,
            "from": line.source,
            "to": line.target,
            "protocol": line.protocol,
            "ports": line.ports,
            "purpose": line.purpose,
        }
        for site, lines in found
        for line in lines
    ]
    if form == "json":
        print(json.dumps({"items": items}, indent=2, ensure_ascii=False))
    else:
        yaml.dump({"items": items}, sys.stdout, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def manifests_of(document: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """The manifests of one valid VisioDeployment, and what is refused."""
    site, plan = _planned(document)
    if plan.invalid or plan.release is None:
        return (), plan.invalid
    return render(site, plan), ()


def _planned(document: Mapping[str, Any]) -> tuple[Site, Plan]:
    meta = document["metadata"]
    spec = VisioDeploymentSpec.model_validate_json(json.dumps(document["spec"]))
    ladder = load_releases()
    observed = healthy(spec, meta["name"], meta.get("namespace") or "default", ladder)
    plan = decide(spec, observed, time.time(), ladder)
    return Site(observed.name, observed.namespace, observed.uid, spec), plan


def healthy(spec: VisioDeploymentSpec, name: str, namespace: str, ladder: tuple[ReleaseEntry, ...]) -> Observed:
    """What would be observed if everything that the spec asks for were there and ready."""
    entry = find_release(ladder, spec.version)
    images = as_release(entry, spec.sovereignty.registries).images if entry else {}
    workloads = {
        part: Workload(
            kind="Job" if part in JOBS | CHECKS else "CronJob" if part in CRON_JOBS else "Deployment",
            name=f"{name}-{part}",
            part=part,
            desired=(size := fixed_size(spec, part)),
            ready=size,
            updated=size,
            images=tuple(images[key] for key in IMAGE_KEYS[part] if key in images),
            current=True,
            succeeded=part in JOBS | CHECKS,
        )
        for part in part_set(spec, entry.settings if entry else None)
    }
    keys: dict[str, frozenset[str]] = {}
    for wanted in secrets_wanted(spec):
        keys[wanted.name] = keys.get(wanted.name, frozenset()) | frozenset(wanted.keys)
    pools = {
        pool.name: Pool(
            pool.name,
            found=True,
            minimum=pool.min,
            maximum=pool.max,
            placeholders=None if PROVIDERS[pool.provider].abilities.sets_size else 0,
        )
        for pool in spec.gpu_pools
        if pool.provider in PROVIDERS
    }
    return Observed(
        uid=NO_UID,
        namespace=namespace,
        name=name,
        workloads=workloads,
        bundle_keys=frozenset({spec.ca_bundle.key}) if spec.ca_bundle is not None else None,
        secret_keys=keys,
        preflight=Preflight(connections_digest(spec, {}), succeeded=True),
        queue=Queue(waiting=0, read_at=time.time()),
        worker_queues={part: WorkerQueue(waiting=0, read_at=time.time()) for part in BACKLOG},
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
