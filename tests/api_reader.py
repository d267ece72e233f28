"""Reads of a laboratory's API server: tests look often, and each kubectl costs a core a tenth of a second."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config
from urllib3.exceptions import HTTPError

from visio_lab.errors import LabError

Json = dict[str, Any]


def read(lab: Any, kind: str, namespace: str | None, name: str, **query: str) -> Json | None:
    """One object by any word that kubectl knows its kind by; None when there is none. With an empty name the list of
    all. Raises LabError.
    """
    path, namespaced = _place(lab.kubeconfig, kind)
    within = f"/namespaces/{namespace or 'default'}" if namespaced else ""
    place, _, plural = path.rpartition("/")
    return _get(lab.kubeconfig, f"{place}{within}/{plural}{f'/{name}' if name else ''}", query)


def read_list(lab: Any, kind: str, namespace: str | None, **query: str) -> list[Json]:
    """All objects of a kind, each with its kind as kubectl prints it. Raises LabError."""
    found = read(lab, kind, namespace, "", **{key: value for key, value in query.items() if value})
    if found is None:
        raise LabError(f"{kind} cannot be listed in {namespace}")
    told = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
    return [told | item for item in found["items"]]


@cache
def _client(kubeconfig: Path) -> ApiClient:
    return new_client_from_config(str(kubeconfig))


def _get(kubeconfig: Path, path: str, query: Json | None = None) -> Json | None:
    client = _client(kubeconfig)
    method, url, headers, _, _ = client.param_serialize(
        "GET",
        path,
        query_params=list((query or {}).items()),
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
    )
    try:
        answer = client.call_api(method, url, headers, _request_timeout=30)
        text = answer.read()
    except (ApiException, HTTPError) as error:
        raise LabError(f"the API server was asked for {path}: {error}") from None
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise LabError(f"the API server was asked for {path}: {answer.status} {answer.reason}")
    return dict(json.loads(text))


_KNOWN: dict[Path, dict[str, tuple[str, bool]]] = {}


def _place(kubeconfig: Path, kind: str) -> tuple[str, bool]:
    """The path of a kind and whether it lives in namespaces."""
    word = kind.lower()
    if word not in _KNOWN.get(kubeconfig, {}):
        _KNOWN[kubeconfig] = _discovered(kubeconfig)
    try:
        return _KNOWN[kubeconfig][word]
    except KeyError:
        raise LabError(f"the API server knows no {kind}") from None


def _discovered(kubeconfig: Path) -> dict[str, tuple[str, bool]]:
    """All kinds by every word for them; of two with the same word the older group has it, as in kubectl."""
    found = (_get(kubeconfig, "/apis") or {})["groups"]
    groups = [(group["name"], f"/apis/{group['preferredVersion']['groupVersion']}") for group in found]
    known: dict[str, tuple[str, bool]] = {}
    for group, path in [("", "/api/v1"), *groups]:
        for one in (_get(kubeconfig, path) or {}).get("resources", ()):
            if "/" in one["name"]:
                continue
            words = {one["name"], one["singularName"], one["kind"].lower(), *one.get("shortNames", ())} - {""}
            for word in words:
                known.setdefault(word, (f"{path}/{one['name']}", one["namespaced"]))
                known.setdefault(f"{word}.{group}", (f"{path}/{one['name']}", one["namespaced"]))
    return known
