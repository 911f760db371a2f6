"""Who may talk to the server: checked for every request before any route sees it.

Loopback is not a wall. Any web page can make the browser send requests to 127.0.0.1, and a name that the page's owner
controls can be pointed there (DNS rebinding). So a request must name one of our own hosts, must not come from a web
page (no Origin, no cross-site fetch metadata) unless that origin was allowed by name, and must carry a token.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.errors import (
    ForbiddenError,
    MediaTypeError,
    MethodError,
    NutshellError,
    RequestTooLargeError,
    UnauthorizedError,
)
from backend.api.failures import failure

__all__ = ["MAX_BODY", "Access", "Guard", "is_loopback"]

#: Bytes of a request body. A full context of 128 K tokens is about 0.5 MB of text.
MAX_BODY = 16 * 1024 * 1024

_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether binding to `host` is reachable from this machine only. A name other than localhost counts as reachable:
    it is not looked up, because that would be a call to the outside.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Access:
    """The rules of one server.

    Attributes:
        token: made per run; opens every route.
        port: the port that Host must name.
        api_key: opens /v1 only; None: there is none.
        open_v1: /v1 takes any key or none (a server for other programs on loopback, without a key).
        loopback: bound to loopback addresses only.
        hosts: further host names that this machine is reached by.
        origins: web origins that may call, as "scheme://host[:port]"; never a wildcard.
        max_body: bytes of a request body.
    """

    token: str
    port: int
    api_key: str | None = None
    open_v1: bool = False
    loopback: bool = True
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    max_body: int = MAX_BODY
    _own_names: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        names = {host.lower().rstrip(".") for host in self.hosts}
        if not self.loopback:
            own = socket.gethostname().lower()
            names |= {own, f"{own}.local"}
        object.__setattr__(self, "_own_names", frozenset(names))

    def host_allowed(self, value: str) -> bool:
        """Whether a Host header is ours.

        On loopback: a loopback name with our port. Beyond it: also any IP address (rebinding needs a name), this
        machine's own name and those given, with any port, because a router or container may map it.
        """
        host, port = _split_host(value)
        if not host:
            return False
        if host in _LOOPBACK_NAMES or host in self._own_names:
            return not self.loopback or port == self.port
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if self.loopback:
            return address.is_loopback and port == self.port
        return True

    def key_allowed(self, value: str, path: str) -> bool:
        """Whether an Authorization header opens `path`."""
        public = path == "/v1" or path.startswith("/v1/")
        if public and self.open_v1:
            return True
        scheme, _, given = value.partition(" ")
        if scheme.lower() != "bearer":
            return False
        key = given.strip().encode()
        if hmac.compare_digest(key, self.token.encode()):
            return True
        return public and self.api_key is not None and hmac.compare_digest(key, self.api_key.encode())


def _split_host(value: str) -> tuple[str, int]:
    """Host in lower case without brackets, and port (80 where none is said); ("", 0) if malformed."""
    value = value.strip().lower()
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return "", 0
        port = rest[1:]
    else:
        host, _, port = value.partition(":")
    if not port:
        return host.rstrip("."), 80
    return (host.rstrip("."), int(port)) if port.isascii() and port.isdigit() and len(port) <= 5 else ("", 0)


class Guard:
    """Pure ASGI middleware that applies `Access`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through, or answers it with the reason."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        origin = ""
        try:
            self._check_host(_values(headers, b"host"))
            origin = self._check_origin(headers)
            if origin:
                send = _with_origin(send, origin)
            if scope["method"] == "OPTIONS" and origin:
                await _preflight(send)
                return
            if scope["method"] not in _METHODS:
                raise MethodError(f"The method {scope['method']} is not used here.")
            self._check_key(_values(headers, b"authorization"), path)
            length = self._check_body(scope["method"], headers)
        except NutshellError as error:
            await failure(error, path, {"connection": "close"})(scope, receive, send)
            return
        if length is None:
            receive = self._limited(receive)
        await self.app(scope, receive, send)

    def _check_host(self, hosts: list[str]) -> None:
        if len(hosts) != 1 or not self.access.host_allowed(hosts[0]):
            raise ForbiddenError(
                "This address is not one of Nutshell's own.",
                why="The Host of the request is not this machine's name with Nutshell's port.",
                remedy="Use http://127.0.0.1 with the port that Nutshell shows.",
            )

    def _check_origin(self, headers: list[tuple[bytes, bytes]]) -> str:
        """The allowed origin that the request comes from, or "" for a program that is not a web page."""
        origins = _values(headers, b"origin")
        if len(origins) == 1 and origins[0] in self.access.origins:
            return origins[0]
        # A page can send some requests without an Origin (images, links); browsers then still say where from.
        foreign = any(site not in ("none", "same-origin") for site in _values(headers, b"sec-fetch-site"))
        if origins or foreign:
            raise ForbiddenError(
                "Web pages may not use this server.",
                why="The request comes from a web page that has not been allowed.",
                remedy="Start the server with --allow-origin and the page's address to allow it.",
            )
        return ""

    def _check_key(self, keys: list[str], path: str) -> None:
        if len(keys) > 1 or not self.access.key_allowed(keys[0] if keys else "", path):
            raise UnauthorizedError(
                "The key is missing or wrong.",
                why="Every request needs the key in its Authorization header, as 'Bearer KEY'.",
                remedy="Give the program the API key that this server was started with.",
            )

    def _check_body(self, method: str, headers: list[tuple[bytes, bytes]]) -> int | None:
        """Declared bytes of the body; None where it comes in chunks of unknown sum."""
        lengths = _values(headers, b"content-length")
        chunked = bool(_values(headers, b"transfer-encoding"))
        length = int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
        if length > self.access.max_body:
            raise self._too_large()
        if length or chunked:
            kind = ",".join(_values(headers, b"content-type")).partition(";")[0].strip().lower()
            if kind != "application/json":
                raise MediaTypeError(
                    "The body must be JSON.",
                    why=f"It is declared as {kind[:80]}." if kind else "The request does not say what its body is.",
                    remedy="Send it with the header 'Content-Type: application/json'.",
                )
        return None if chunked else length

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            "The request is too large.",
            why=f"At most {self.access.max_body / 1e6:.0f} MB are taken in one request.",
            remedy="Send less text at once.",
        )

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self.access.max_body:
                    raise self._too_large()
            return message

        return limited


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _with_origin(send: Send, origin: str) -> Send:
    # `origin` is an entry of the allowlist, and Vary keeps caches from showing it to others.
    extra = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sending


async def _preflight(send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
