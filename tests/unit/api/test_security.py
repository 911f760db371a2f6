from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.errors import InvalidRequestError
from backend.api.security import Access, is_loopback
from tests.fakes.models import scripted
from tests.fakes.server import RunningServer, running_server
from tests.unit.api.raw import Answer, ask

PAGE = "https://example.org"


def get(server: RunningServer, path: str = "/api/status", **options: Any) -> Answer:
    options.setdefault("token", server.token)
    return ask(server.port, "GET", path, **options)


def test_the_run_token_opens_everything(server: RunningServer) -> None:
    assert get(server).status == 200
    assert get(server, "/v1/models").status == 200


@pytest.mark.parametrize("path", ["/api/status", "/api/events", "/v1/models", "/", "/v2", "/api/nothing"])
@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", "Bearer", "Basic {token}", "{token}", "Bearer {token}x", "bearer\xff"]
)
def test_without_the_token_nothing_opens(server: RunningServer, path: str, header: str | None) -> None:
    headers = [("Authorization", header.format(token=server.token))] if header else []
    answer = get(server, path, token=None, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert server.token.encode() not in answer.body


def test_two_keys_are_no_key(server: RunningServer) -> None:
    assert get(server, headers=[("Authorization", "Bearer other")]).status == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.0.0.2"])
def test_own_hosts_with_our_port(server: RunningServer, host: str) -> None:
    assert get(server, host=f"{host}:{server.port}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:{other}",
        "localhost:80",
        "evil.example",
        "192.168.1.5:{port}",
        "127.0.0.1:{port}:1",
        "127.0.0.1:{port}x",
        "[::1:{port}",
        "[::1]x:{port}",
        "@127.0.0.1:{port}",
        "",
    ],
)
def test_dns_rebinding_and_malformed_hosts_are_refused(server: RunningServer, host: str) -> None:
    answer = get(server, host=host.format(port=server.port, other=server.port % 65535 + 1) if host else "")
    # Without any Host the HTTP parser may refuse first, with a 400.
    assert answer.status in ({403} if host else {400, 403})


def test_two_hosts_are_refused(server: RunningServer) -> None:
    assert get(server, headers=[("Host", f"127.0.0.1:{server.port}")]).status in (400, 403)


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://127.0.0.1:{port}", "http://localhost:{port}", "*", ""]
)
def test_a_web_page_is_refused_even_with_the_token(server: RunningServer, origin: str) -> None:
    answer = get(server, headers=[("Origin", origin.format(port=server.port))])
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("none", 200)])
def test_fetch_metadata_of_browsers(server: RunningServer, site: str, status: int) -> None:
    assert get(server, headers=[("Sec-Fetch-Site", site)]).status == status


def test_preflights_get_nothing(server: RunningServer) -> None:
    headers = [("Origin", PAGE), ("Access-Control-Request-Method", "POST")]
    answer = ask(server.port, "OPTIONS", "/v1/chat/completions", headers=headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_a_body_must_be_declared_as_json(server: RunningServer, kind: str | None) -> None:
    headers = [("Content-Type", kind)] if kind is not None else []
    answer = ask(server.port, "POST", "/api/conversations", token=server.token, headers=headers, body=b"{}")
    assert answer.status == 415
    assert answer.json["error"]["code"] == "unsupported_media_type"


def test_json_with_a_charset_is_json(server: RunningServer) -> None:
    headers = [("Content-Type", "Application/JSON; charset=utf-8")]
    answer = ask(server.port, "POST", "/api/conversations", token=server.token, headers=headers, body=b"{}")
    assert answer.status == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/models/load"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/api/status"),
        ("PATCH", "/api/conversations"),
        ("HEAD", "/api/status"),
        ("TRACE", "/api/status"),
        ("PUT", "/api/conversations/x"),
    ],
)
def test_wrong_methods(server: RunningServer, method: str, path: str) -> None:
    answer = ask(server.port, method, path, token=server.token)
    assert answer.status == 405


def test_the_allow_header_names_all_methods_of_a_path(server: RunningServer) -> None:
    answer = ask(server.port, "PATCH", "/api/conversations", token=server.token)
    assert answer.headers["allow"] == "GET, POST"
    answer = ask(server.port, "POST", "/api/conversations/x", token=server.token)
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize("path", ["/", "/api", "/v1", "/api/status/", "/docs", "/api/../etc/passwd", "//api/status"])
def test_unknown_paths(server: RunningServer, path: str) -> None:
    answer = get(server, path)
    assert answer.status == 404
    if path.startswith("/v1"):
        assert answer.json["error"]["type"] == "invalid_request_error"
    else:
        assert answer.json["error"]["code"] == "not_found"


@pytest.fixture(scope="module")
def small(data: Path) -> Iterator[RunningServer]:
    with running_server(data, lambda: scripted("x"), max_body=1000) as running:
        yield running


@pytest.mark.parametrize(("size", "status"), [(1000, 201), (1001, 413), (10_000_000, 413)])
def test_a_large_body_is_refused(small: RunningServer, size: int, status: int) -> None:
    body = json.dumps({"title": "x" * (size - len(json.dumps({"title": ""})))}).encode()
    assert len(body) == size
    # The answer comes before the body is read: only its declared length is sent here where it is too large.
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(
            f"POST /api/conversations HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n"
            f"Authorization: Bearer {small.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {size}\r\n\r\n".encode()
            + (body if status == 201 else b"")
        )
        assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode())


def test_a_large_body_in_chunks_is_refused_too(small: RunningServer) -> None:
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(
            f"POST /api/conversations HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n"
            f"Authorization: Bearer {small.token}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
            + chunk * 4
        )
        answer = b""
        while b"request_too_large" not in answer:
            piece = connection.recv(4096)
            assert piece, answer
            answer += piece
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_small_body_in_chunks_is_taken(small: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(
            f"POST /api/conversations HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n"
            f"Authorization: Bearer {small.token}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 201")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for other programs, on loopback, without a key."""
    folder = tmp_path_factory.mktemp("serving")
    with running_server(folder, lambda: scripted("x"), serve=True, origins=[PAGE]) as running:
        yield running


@pytest.mark.parametrize("header", [None, "Bearer anything", "Bearer sk-1234"])
def test_any_key_opens_v1_and_only_that(serving: RunningServer, header: str | None) -> None:
    headers = [("Authorization", header)] if header else []
    assert get(serving, "/v1/models", token=None, headers=headers).status == 200
    assert get(serving, "/api/status", token=None, headers=headers).status == 401
    assert get(serving, "/v1/../api/status", token=None, headers=headers).status == 404


def test_serving_keeps_pages_and_foreign_hosts_out(serving: RunningServer) -> None:
    page = get(serving, "/v1/models", token=None, headers=[("Origin", "https://other.example")])
    assert page.status == 403
    assert get(serving, "/v1/models", token=None, host=f"evil.example:{serving.port}").status == 403
    image = get(serving, "/v1/models", token=None, headers=[("Sec-Fetch-Site", "cross-site")])
    assert image.status == 403


def test_an_allowed_page_gets_its_own_name_back(serving: RunningServer) -> None:
    answer = get(serving, "/v1/models", headers=[("Origin", PAGE), ("Sec-Fetch-Site", "cross-site")])
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    preflight = ask(serving.port, "OPTIONS", "/v1/chat/completions", headers=[("Origin", PAGE)])
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in preflight.headers["access-control-allow-headers"]


def test_with_a_key_v1_takes_the_key_or_the_token(tmp_path: Path) -> None:
    with running_server(tmp_path, lambda: scripted("x"), serve=True, api_key="sk-right") as running:
        assert get(running, "/v1/models", token="sk-right").status == 200
        assert get(running, "/v1/models").status == 200
        assert get(running, "/v1/models", token="sk-wrong").status == 401
        assert get(running, "/v1/models", token=None).status == 401
        assert get(running, "/api/status", token="sk-right").status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_a_key_is_needed(tmp_path: Path, host: str) -> None:
    with (
        pytest.raises(InvalidRequestError, match="An API key is needed"),
        running_server(tmp_path, lambda: scripted("x"), serve=True, host=host),
    ):
        raise AssertionError("it must not start")


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example.org", "example.org", "https://example.org/page", "https://"]
)
def test_no_wildcard_origins(tmp_path: Path, origin: str) -> None:
    with (
        pytest.raises(InvalidRequestError),
        running_server(tmp_path, lambda: scripted("x"), origins=[origin]),
    ):
        raise AssertionError("it must not start")


def test_hosts_beyond_loopback() -> None:
    access = Access(token="t", port=9460, api_key="k", loopback=False, hosts=frozenset({"MyBox.lan"}))
    for host in ["192.168.1.5:9460", "10.0.0.1:8000", "localhost:9460", "mybox.lan:1", "[2001:db8::1]:9460", "1.2.3.4"]:
        assert access.host_allowed(host), host
    assert access.host_allowed(f"{socket.gethostname()}:9460")
    for host in ["evil.example:9460", "mybox.lan.evil.example", "", "[", "1.2.3.4:99999999"]:
        assert not access.host_allowed(host), host
    assert not access.key_allowed("", "/v1/models")
    assert not access.key_allowed("Bearer k", "/api/status")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("x", False),
    ],
)
def test_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
