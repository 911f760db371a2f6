from __future__ import annotations

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
