from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from backend.api.errors import InvalidRequestError, PortInUseError
from backend.api.listening import listen, port_holder


def close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def test_a_free_port() -> None:
    sockets = listen("127.0.0.1", 0)
    try:
        assert [one.getsockname()[0] for one in sockets] == ["127.0.0.1"]
        assert sockets[0].getsockname()[1] > 0
    finally:
        close(sockets)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_both_loopbacks_share_the_port(host: str) -> None:
    sockets = listen(host, 0, both_loopbacks=True)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        assert [one.getsockname()[0] for one in sockets] in (["127.0.0.1", "::1"], ["127.0.0.1"])
    finally:
        close(sockets)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)) as caught:
            listen("127.0.0.1", port)
        assert caught.value.remedy
        if sys.platform == "linux":
            assert "process" in port_holder(port)
    assert port_holder(port) == ""


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_ports_that_are_none(port: int) -> None:
    with pytest.raises(InvalidRequestError, match="not a port"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["300.1.1.1", "203.0.113.7", "example.org", "", "\xff" * 70])
def test_addresses_that_are_not_ours(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        listen(host, 0)


@pytest.mark.parametrize("both", [False, True])
def test_answers_do_not_wait_for_acknowledgements(both: bool) -> None:
    """Nagle's algorithm must be off on what is accepted; else the second half of every answer comes 40 ms late."""

    async def delays(listener: socket.socket) -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            seen.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(accepted, sock=listener)
        async with server:
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            nodelay = await seen
            writer.close()
            await writer.wait_closed()
        return nodelay

    for listener in listen("127.0.0.1", 0, both_loopbacks=both):
        assert asyncio.run(delays(listener)) != 0
