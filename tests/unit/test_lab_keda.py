"""KEDA in the lab and what stands in for it: manifests, readings, and the pace of the real autoscaler."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509

from visio_lab import keda, tools
from visio_lab.context import load_context
from visio_lab.control_plane import kube_apiserver, kube_controller_manager
from visio_lab.external_metrics import objects as standin_objects
from visio_lab.programs import is_process_pod
from visio_lab.standins import external_metrics


def test_only_the_images_and_the_programs_of_its_deployments_are_changed(tmp_path: Path) -> None:
    container = {
        "name": "keda-operator",
        "image": "ghcr.io/kedacore/keda:latest",
        "command": ["/keda"],
        "args": ["--x"],
    }
    deployment = {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}}
    made = keda.changed(deployment, tmp_path)["spec"]["template"]
    assert made["spec"]["containers"] == [
        {**container, "image": "lab/lab-process:keda", "command": [str(tmp_path / "keda-operator")]}
    ]
    assert is_process_pod(made, load_context(tmp_path))
    service = {"kind": "Service", "spec": {"ports": []}}
    assert keda.changed(dict(service), tmp_path) == service


def test_its_manifests_are_of_the_release_that_is_built() -> None:
    tool = next(each for each in tools.TOOLS if each.name == "keda")
    assert tool.asked_for
    wanted = json.loads((tool.module / "crds.json").read_text())
    required = (tool.module / "go.mod").read_text()
    assert {f"{each['module']} {each['version']}" in required for each in wanted} == {True}
    assert {each.get("into", "crds") for each in wanted} == set(keda.PARTS)
    assert set(keda.PROGRAMS.values()) == set(tool.binaries)


def test_a_lab_of_compressed_time_looks_at_its_autoscalers_more_often(tmp_path: Path) -> None:
    assert not any("horizontal" in word for word in kube_controller_manager(tmp_path).argv)
    assert "--horizontal-pod-autoscaler-sync-period=0.25s" in kube_controller_manager(tmp_path, 0.25).argv
    (tmp_path / "lab.json").write_text(json.dumps({"hpa_sync_s": 0.25}))
    assert load_context(tmp_path).hpa_sync_s == 0.25


def test_extension_servers_may_be_asked_through_the_api_server(tmp_path: Path) -> None:
    words = kube_apiserver(tmp_path).argv
    for flag in ("--requestheader-client-ca-file=", "--proxy-client-cert-file=", "--proxy-client-key-file="):
        assert sum(word.startswith(flag) for word in words) == 1


def behind(text: str) -> web.Application:
    """Captions proxies and servers at one address, saying the same at both paths."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    made = web.Application()
    for path in ("/metrics", "/api/modules_info"):
        made.router.add_get(path, answer)
    return made


@pytest.mark.parametrize(
    ("metric", "text", "status", "value"),
    [
        ("proxies", "visio_captions_streams 7.0\nvisio_captions_waiting_streams 2.0\n", 200, "9"),
        ("proxies", "visio_captions_streams 7.0\n", 503, None),
        ("servers", '[{"used_slots": "5", "total_slots": "16"}]', 200, "5"),
        ("servers", "not json", 503, None),
        ("others", "", 404, None),
    ],
)
async def test_the_stand_in_tells_what_it_reads_and_fails_where_it_cannot(
    metric: str, text: str, status: int, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestServer(behind(text), host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        for port in ("PROXY_METRICS_PORT", "CAPTIONS_PORT"):
            monkeypatch.setattr(external_metrics, port, server.port)
        made = {name: (read, "127.0.0.1") for name, (read, _) in external_metrics.METRICS.items()}
        monkeypatch.setattr(external_metrics, "METRICS", made)
        monkeypatch.setattr(external_metrics, "host_of", lambda service, _: service)
        async with TestClient(TestServer(external_metrics.application(session))) as client:
            answer = await client.get(f"{external_metrics.ROOT}/namespaces/visio/{metric}")
            assert answer.status == status
            if value is not None:
                assert [item["value"] for item in (await answer.json())["items"]] == [value]


def test_the_api_server_is_given_the_authority_of_the_stand_in() -> None:
    made = {each["kind"]: each for each in standin_objects()}
    authority = x509.load_pem_x509_certificate(b64decode(made["APIService"]["spec"]["caBundle"]))
    server = x509.load_pem_x509_certificate(b64decode(made["Secret"]["data"]["tls.crt"]))
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    service = made["APIService"]["spec"]["service"]
    assert names.get_values_for_type(x509.DNSName) == [f"{service['name']}.{service['namespace']}.svc"]
