"""Bodies come from the socket where they can, from the HTTP library where not, and are the same."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from backend.hub.body import Body

CONTENT = bytes(range(256)) * 4000
Answer = Callable[[socket.socket], None]


def _plain(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT[:1000])
    line.sendall(CONTENT[1000:])


def _chunked(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(CONTENT), 70_000):
        piece = CONTENT[at : at + 70_000]
        line.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    line.sendall(b"0\r\n\r\n")


def _until_it_closes(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT)


def _more_than_announced(line: socket.socket) -> None:
    _plain(line)
    line.sendall(b"HTTP/1.1 200 OK\r\n")


@contextmanager
def _answer(answer: Answer, *, wait_s: float = 5.0) -> Iterator[httpx2.Response]:
    """What a client gets from a server that sends just this, and then closes or, where it blocks, does not."""

    def serve() -> None:
        line, _ = server.accept()
        with line:
            while not line.recv(65536).endswith(b"\r\n\r\n"):
                pass
            answer(line)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with httpx2.Client(timeout=wait_s, trust_env=False) as client, client.stream("GET", url) as response:
            yield response


def _read(body: Body, room: int) -> bytes:
    memory, found = bytearray(room), b""
    while count := body.read_into(memoryview(memory)):
        found += memory[:count]
    return found


@pytest.mark.parametrize("answer", [_plain, _chunked, _until_it_closes, _more_than_announced])
@pytest.mark.parametrize("room", [777, 1 << 16, 1 << 21])
def test_a_body_is_the_same_however_it_comes(answer: Answer, room: int) -> None:
    with _answer(answer) as response:
        body = Body(response)
        assert _read(body, room) == CONTENT
        assert body.read_into(memoryview(bytearray(8))) == 0


def test_it_comes_from_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the library comes one piece, what it has read on behind the headers; all of them cost twice as much."""
    pieces: list[int] = []
    with _answer(_plain) as response:
        through: Callable[[], Iterator[bytes]] = response.iter_raw

        def counted() -> Iterator[bytes]:
            for piece in through():
                pieces.append(len(piece))
                yield piece

        monkeypatch.setattr(response, "iter_raw", counted)
        assert _read(Body(response), 1 << 16) == CONTENT
    assert len(pieces) == 1


def test_nothing_is_a_body_too() -> None:
    with _answer(lambda line: line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as response:
        assert _read(Body(response), 10) == b""


def test_an_end_before_the_length_is_an_error() -> None:
    with _answer(lambda line: line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nshort")) as response:
        body, room = Body(response), memoryview(bytearray(100))
        assert body.read_into(room) == 5
        with pytest.raises(httpx2.RemoteProtocolError, match="before its announced length"):
            body.read_into(room)


def test_silence_is_an_error_after_as_long_as_the_client_waits() -> None:
    done = threading.Event()

    def silent(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nshort")
        done.wait(10)

    with _answer(silent, wait_s=0.2) as response:
        body, room = Body(response), memoryview(bytearray(100))
        assert body.read_into(room) == 5
        with pytest.raises(httpx2.ReadTimeout):
            body.read_into(room)
    done.set()


def test_a_reset_is_an_error_of_the_line() -> None:
    def reset(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nshort")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends RST

    with _answer(reset) as response:
        body, room = Body(response), memoryview(bytearray(100))
        with pytest.raises(httpx2.HTTPError):  # ReadError, or earlier: the reset throws away what had arrived
            list(iter(lambda: body.read_into(room), 0))


class _Wrapped:
    """A stream in TLS inside of a proxy's TLS: its socket carries the proxy's records."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def get_extra_info(self, info: str) -> Any:
        return object() if info == "ssl_object" else self._inner.get_extra_info(info)


def test_a_socket_that_carries_something_else_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with _answer(_plain) as response:
        response.extensions["network_stream"] = _Wrapped(response.extensions["network_stream"])
        body = Body(response)
        line = response.extensions["network_stream"].get_extra_info("socket")
        assert isinstance(line, socket.socket)
        assert not isinstance(line, ssl.SSLSocket)
        monkeypatch.setattr(Body, "_receive", lambda *_: pytest.fail("read past the proxy"))
        assert _read(body, 1 << 16) == CONTENT
