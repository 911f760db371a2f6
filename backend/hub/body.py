"""The body of an answer, received into memory that is there already.

The HTTP library makes new memory for each piece and copies it three times on its way: .43 s of a core for a gigabyte.
Its headers, redirects, proxies and certificates stay its own; the bytes behind the headers are read from its socket,
which it hands out (`network_stream`): .22 s. Where they are not simply so many bytes of HTTP/1.1, they are taken from
the library as ever.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

__all__ = ["Body"]


class Body:
    """Reads one answer, once.

    Args:
        response: streamed, and nothing read of it.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._piece = memoryview(b"")
        self._socket = _socket_of(response)
        self._left = int(response.headers["Content-Length"]) if self._socket is not None else 0
        self._begun = False

    def read_into(self, room: memoryview) -> int:
        """Bytes that were put at the beginning of `room`; 0 at the end.

        Raises:
            httpx2.HTTPError: the connection broke, or nothing came for as long as the client waits.
        """
        if not self._piece and not (self._begun and self._socket is not None):
            # the first piece in any case: the library has read on behind the headers
            self._piece, self._begun = memoryview(next(self._pieces, b"")), True
            self._left -= len(self._piece)
        if self._piece:
            count = min(len(room), len(self._piece))
            room[:count] = self._piece[:count]
            self._piece = self._piece[count:]
            return count
        if self._socket is None or self._left <= 0:
            return 0
        return self._receive(self._socket, room[: self._left])

    def _receive(self, line: socket.socket, room: memoryview) -> int:
        import httpx2

        request = self._response.request
        try:
            line.settimeout(request.extensions.get("timeout", {}).get("read"))
            count = line.recv_into(room)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error), request=request) from error
        except OSError as error:
            raise httpx2.ReadError(str(error), request=request) from error
        if not count:
            raise httpx2.RemoteProtocolError("the answer ended before its announced length", request=request)
        self._left -= count
        return count


def _socket_of(response: httpx2.Response) -> socket.socket | None:
    """The socket whose next bytes are the answer's; None where they are wrapped in anything."""
    stream = response.extensions.get("network_stream")
    if (
        stream is None
        or response.http_version != "HTTP/1.1"
        or "Transfer-Encoding" in response.headers
        or not response.headers.get("Content-Length", "").isdecimal()
    ):
        return None
    line = stream.get_extra_info("socket")
    # through a proxy that is itself spoken to in TLS, the socket carries that proxy's records
    inner = stream.get_extra_info("ssl_object") is not None and not isinstance(line, ssl.SSLSocket)
    return line if isinstance(line, socket.socket) and not inner else None
