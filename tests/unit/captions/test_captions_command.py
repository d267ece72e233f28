"""The command: bad input in one line, and the life of the process."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from slot_server import KEY, STREAM, a_client, is_heard, servers

from visio_captions import main
from visio_captions.discovery import resolve

OPERATOR = Path(__file__).parents[3] / "operator"


@pytest.mark.parametrize(
    "arguments, names",
    [
        ([], "--servers --server is required"),
        (["--servers", "captions"], "'captions' is not HOST:PORT"),
        (["--servers", "captions:0"], "is not HOST:PORT"),
        (["--servers", "captions:99999"], "is not HOST:PORT"),
        (["--servers", "cap tions:8080"], "is not HOST:PORT"),
        (["--servers", "http://captions:8080"], "is not HOST:PORT"),
        (["--servers", "captions:8080", "--server", "a:1"], "not allowed with"),
        (["--server", "a:1", "--listen", "0.0.0.0:8090"], "reachable from outside the pod"),
        (["--server", "a:1", "--listen", "captions:8090"], "reachable from outside the pod"),
        (["--server", "a:1", "--metrics-listen", "8091"], "is not HOST:PORT"),
        (["--server", "a:1", "--sevrer", "b:1"], "unrecognized arguments"),
        (["--server", "a:1", "--replay", "0"], "not between 1 and 20 seconds"),
        (["--server", "a:1", "--replay", "21"], "not between 1 and 20 seconds"),
        (["--server", "a:1", "--grace", "-1"], "not a number of seconds"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(
    arguments: list[str], names: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KYUTAI_API_KEY", KEY)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert names in printed.err


@pytest.mark.parametrize("key", [None, "", "two\nlines", "clé"])
def test_a_missing_or_impossible_key_exits_2_without_showing_it(
    key: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KYUTAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("KYUTAI_API_KEY", key)
    assert main(["--server", "a:1"]) == 2
    error = capsys.readouterr().err
    assert "KYUTAI_API_KEY" in error and error.count("\n") == 1
    assert not key or key not in error


def test_help_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--metrics-listen" in capsys.readouterr().out


async def test_a_name_resolves_to_all_its_addresses() -> None:
    found = await resolve("localhost", 8080)
    assert found and found <= {"127.0.0.1:8080", "[::1]:8080"}


async def test_a_service_without_addresses_is_empty_and_no_error() -> None:
    assert not await resolve("no-such-captions.invalid", 8080)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    code = "import sys; from visio_captions import main; sys.exit(main(sys.argv[1:]))"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "KYUTAI_API_KEY": KEY, "PYTHONPATH": str(OPERATOR)},
    )  # fmt: skip


async def port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        if "accepting streams on" in line:
            return int(line.rpartition(":")[2])
    raise AssertionError("the proxy did not start")


async def test_sigterm_ends_the_process_when_the_last_stream_is_gone(unused_tcp_port_factory) -> None:
    ports = [f"127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2)]
    async with servers(2) as [server], a_client() as client:
        process = await start("--server", server.address, "--listen", ports[0], "--metrics-listen", ports[1])
        port = await port_of(process)
        talking = await client.ws_connect(f"http://127.0.0.1:{port}{STREAM}")
        await talking.receive_bytes()
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.4)
        assert process.returncode is None
        assert await is_heard(talking, 9)
        await talking.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_second_signal_ends_the_process_at_once(unused_tcp_port_factory) -> None:
    ports = [f"127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2)]
    async with servers(2) as [server], a_client() as client:
        process = await start("--server", server.address, "--listen", ports[0], "--metrics-listen", ports[1])
        talking = await client.ws_connect(f"http://127.0.0.1:{await port_of(process)}{STREAM}")
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 1
        await talking.close()


async def test_a_port_in_use_is_one_line_and_exit_1() -> None:
    async with servers(1) as [server]:
        process = await start("--server", server.address, "--metrics-listen", server.address)
        _, error = await process.communicate()
        assert process.returncode == 1
        assert error.decode().count("\n") == 1 and "address already in use" in error.decode().lower()
