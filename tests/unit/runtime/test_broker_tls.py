"""The broker behind TLS, played by a server that knows as much of Redis' protocol as one question takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from visio_lab.certificates import host_certificate, new_authority
from visio_operator.api.routes import CaBundle
from visio_operator.runtime import trust
from visio_operator.runtime.media_signals import worker_queues
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.signals import Broker


@asynccontextmanager
async def a_broker(folder: Path, host: str, waiting: int) -> AsyncIterator[tuple[Path, int]]:
    """Where its authority's certificate is, and its port on this machine; it answers each question with a number."""
    authority = new_authority("test")
    pair = host_certificate(authority, [host])
    for name, text in (("ca", authority.pem), ("crt", pair.certificate), ("key", pair.key)):
        (folder / name).write_bytes(text)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "crt", folder / "key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].decode())
                answers = {"LLEN": f":{waiting}", "HLEN": ":0", "HVALS": "*0", "HELLO": "%1\r\n+proto\r\n:3"}
                writer.write(f"{answers.get(words[0], '+OK')}\r\n".encode())
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield folder / "ca", server.sockets[0].getsockname()[1]


BUNDLE = CaBundle(config_map="authorities")


@pytest.fixture(autouse=True)
def trusted_afresh() -> Iterator[None]:
    """Nobody after these tests trusts their authorities."""
    trust.system.cache_clear()
    yield
    trust.system.cache_clear()


async def _asked(port: int, authorities: ssl.SSLContext | None = None) -> tuple[int | None, str]:
    broker = Broker("localhost", port, tls=True, trust=authorities)
    found = (await worker_queues(broker, ["backend", "celery-backend"], Memory(), 1000.0))["celery-backend"]
    return found.waiting, found.error


async def test_queues_are_read_over_tls_time_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(tmp_path, "localhost", 7) as (authority, port):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert [await _asked(port) for _ in range(2)] == [(7, ""), (7, "")]


async def test_the_authorities_of_the_bundle_are_trusted_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_broker(tmp_path, "localhost", 7) as (authority, port):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        memory = Memory()
        assert await _asked(port, trust.only(BUNDLE, {"ca.crt": authority.read_text()}, memory)) == (7, "")
        other = {"ca.crt": new_authority("other").pem.decode()}
        assert await _asked(port, trust.only(BUNDLE, other, memory)) == (
            None,
            f"Redis at localhost:{port} cannot be read",
        )


@pytest.mark.parametrize("text", ["", " \n", "no certificate", "-----BEGIN CERTIFICATE-----\n????\n"])
def test_a_bundle_without_certificates_is_an_error_and_never_the_authorities_of_the_system(text: str) -> None:
    with pytest.raises(ValueError, match=r"the key ca\.crt of ConfigMap authorities holds no certificates"):
        trust.only(BUNDLE, {"ca.crt": text}, Memory())


async def test_a_broker_with_an_untrusted_certificate_is_not_read(tmp_path: Path) -> None:
    async with a_broker(tmp_path, "localhost", 7) as (_, port):
        assert await _asked(port) == (None, f"Redis at localhost:{port} cannot be read")


async def test_a_broker_with_the_certificate_of_another_host_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_broker(tmp_path, "other.example", 7) as (authority, port):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await _asked(port) == (None, f"Redis at localhost:{port} cannot be read")
