"""How the API server is reached."""

from __future__ import annotations

import asyncio

import pytest
from kubernetes.aio.client.configuration import Configuration

from visio_operator.runtime.kube import Kube


@pytest.mark.parametrize(
    ("server", "environment", "given", "proxy"),
    [
        ("https://api.example:6443", {}, None, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://proxy.example:3128"}, None, "http://proxy.example:3128"),
        ("https://api.example:6443", {"HTTP_PROXY": "http://proxy.example:3128"}, None, None),
        (
            "https://api.example:6443",
            {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "localhost,.example"},
            None,
            None,
        ),
        ("https://10.0.0.1:6443", {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "10.0.0.1"}, None, None),
        (
            "https://api.example:6443",
            {"HTTPS_PROXY": "http://proxy.example:3128"},
            "http://of-the-kubeconfig.example:80",
            "http://of-the-kubeconfig.example:80",
        ),
    ],
)
def test_both_clients_use_the_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, server: str, environment: dict[str, str], given: str | None, proxy: str | None
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def ask() -> tuple[str | None, str | None]:
        configuration = Configuration(host=server, proxy=given)
        kube = Kube(configuration)
        try:
            return configuration.proxy, (await kube.connection()).proxy
        finally:
            await kube.close()

    assert asyncio.run(ask()) == (proxy, proxy)
