"""How a Prometheus is reached, with which credentials, and that none of its answers breaks a pass."""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_world import ALL, CAPTIONS, Objects

from builders import a_deployment
from prometheus_stand_in import PrometheusStandIn, scraped
from visio_lab.certificates import host_certificate, new_authority
from visio_operator.plan.observed import Source
from visio_operator.runtime import prometheus_signals, signals
from visio_operator.runtime.memory import AtPrometheus, Memory
from visio_operator.runtime.prometheus import PrometheusError, Series, connect, parse
from visio_operator.runtime.prometheus_signals import by_pod


@pytest.mark.parametrize(
    ("given", "objects", "header"),
    [
        ({}, {}, None),
        ({"secretRef": {"name": "p"}}, {"p": {"token": "t0k\n"}}, "Bearer t0k"),
        ({"secretRef": {"name": "p", "key": "k"}}, {"p": {"k": "t0k"}}, "Bearer t0k"),
        ({"secretRef": {"name": "p"}, "user": "visio"}, {"p": {"password": "pass"}}, "Basic dmlzaW86cGFzcw=="),
    ],
)
async def test_credentials_come_from_the_secret_and_are_never_shown(
    given: dict[str, Any], objects: dict[str, dict[str, str]], header: str | None
) -> None:
    site = a_deployment().having(signals={"prometheus": {"url": "https://p.example.fr/visio/", **given}}).site()
    assert site.spec.signals.prometheus is not None
    found = await connect(Objects(**objects), site, site.spec.signals.prometheus, Memory())  # type: ignore[arg-type]
    assert found.url == "https://p.example.fr/visio"
    assert found.auth.get("Authorization") == header
    assert "t0k" not in repr(found)
    assert "dmlz" not in repr(found)


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({}, "Secret p with the key token for Prometheus does not exist"),
        ({"p": {"other": "x"}}, "Secret p with the key token for Prometheus does not exist"),
        ({"p": {"token": "a\r\nX-Header: b"}}, "the key token of Secret p is no token"),
    ],
)
async def test_without_credentials_the_servers_are_asked_themselves(
    objects: dict[str, dict[str, str]], said: str
) -> None:
    site = a_deployment().having(signals={"prometheus": {"url": "https://p.fr", "secretRef": {"name": "p"}}}).site()
    memory = Memory()
    async with signals.session() as session:
        told = await prometheus_signals.read(Objects(**objects), session, site, ALL, memory, 1.0)  # type: ignore[arg-type]
    assert told.sources["captionsSlots"] == Source("none", said)
    assert memory.prometheus == AtPrometheus(31.0, said)


@pytest.mark.parametrize("text", ["x", "", " "])
async def test_a_bundle_that_holds_no_certificates_is_said(text: str) -> None:
    spec = {"signals": {"prometheus": {"url": "https://p.fr"}}, "caBundle": {"configMap": "authorities"}}
    site = a_deployment().having(**spec).site()
    assert site.spec.signals.prometheus is not None
    with pytest.raises(PrometheusError, match=r"the key ca\.crt of ConfigMap authorities holds no certificates"):
        await connect(Objects(authorities={"ca.crt": text}), site, site.spec.signals.prometheus, Memory())  # type: ignore[arg-type]


async def test_a_token_goes_only_to_a_server_that_an_authority_of_the_bundle_vouches_for(tmp_path: Path) -> None:
    ours, foreign = new_authority("ours"), new_authority("foreign")
    pair = host_certificate(ours, ["localhost"])
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server = PrometheusStandIn(series=scraped("visio-captions-a", time.time(), {"asr_open_channels": 7}))
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    spec = {
        "signals": {"prometheus": {"url": url, "secretRef": {"name": "p"}}},
        "caBundle": {"configMap": "authorities"},
    }
    site = a_deployment().having(**spec).site()
    said = []
    async with signals.session() as session:
        for authority in (ours, foreign):
            objects = Objects(p={"token": "t0k"}, authorities={"ca.crt": authority.pem.decode()})
            read = prometheus_signals.read(objects, session, site, CAPTIONS, Memory(), time.time())  # type: ignore[arg-type]
            said.append((await read).sources["captionsSlots"])
    await runner.cleanup()
    [request] = server.asked
    assert request.headers["Authorization"] == "Bearer t0k"
    assert said[0].prometheus == "some", "one of the two pods is known"
    assert said[1] == Source(
        "none", f"the certificate of Prometheus at {url} is not trusted; put its authority into caBundle"
    )


@given(st.binary(max_size=200))
def test_no_answer_breaks_a_pass(body: bytes) -> None:
    try:
        parse(body)
    except ValueError as error:
        assert str(error).startswith("with something else")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metric", "values", "a"]), inner),
    max_leaves=10,
)


@given(st.lists(_json, max_size=4))
def test_no_result_breaks_a_pass(result: list[Any]) -> None:
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})
    by_pod(parse(body.encode()))


@given(
    st.lists(
        st.builds(
            Series,
            st.dictionaries(st.sampled_from(["__name__", "pod", "job"]), st.sampled_from(["up", "a", "b"])),
            st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1).map(tuple),
        )
    )
)
def test_no_labels_break_a_pass(series: list[Series]) -> None:
    for readings in by_pod(series).values():
        assert all(name in reading.values for name, reading in readings.items())
