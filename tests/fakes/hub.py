"""A hub on loopback that speaks what the real client asks for, keeps its files elsewhere, and fails as told.

Files are served by a second server, as the real hub leaves that to a CDN: `/OWNER/NAME/resolve/COMMIT/PATH` redirects
there. Everything that is asked is noted, with the token that came along.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request for a file; each is used once, in order.

    status: answer with it. retry_after: seconds, beside the status. cut: close after so many bytes. flip: change one
    byte. length: announce another length. drip: bytes a write, with `pause` seconds between. no_ranges: send it all.
    hold: wait for this event after the first half.
    """

    status: int = 0
    retry_after: str = ""
    cut: int | None = None
    flip: bool = False
    length: int | None = None
    drip: int = 0
    pause: float = 0.0
    no_ranges: bool = False
    hold: threading.Event | None = None


@dataclass(frozen=True)
class Asked:
    """One request. `server` is "hub" or "cdn"; `sent` the bytes of the body that went out."""

    server: str
    method: str
    path: str
    range: str
    token: str
    agent: str
    sent: list[int] = field(default_factory=lambda: [0])


class FakeHub:
    """Use as a context; `endpoint` goes into HF_ENDPOINT."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.small: set[str] = set()  # names of files that git itself keeps
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.info_faults: deque[Fault] = deque()
        self.spoil: dict[str, Any] = {}  # over the answer about a repository
        self.facts: dict[str, dict[str, Any]] = {}  # of a repository, in the answer to a search
        self.next_page = ""  # address of the rest of a search's answer
        self.asked: list[Asked] = []
        self._moved = threading.Condition()
        self._servers = [self._server("hub"), self._server("cdn")]

    def __enter__(self) -> FakeHub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        """Of the hub."""
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def cdn(self) -> str:
        """Of the other host."""
        return f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def put(self, repository: str, path: str, content: bytes, *, small: bool = False) -> bytes:
        """A file of a repository."""
        self.files.setdefault(repository, {})[path] = content
        if small:
            self.small.add(path)
        return content

    def sent(self, path: str) -> int:
        """Bytes of a file that went out, over all requests."""
        return sum(one.sent[0] for one in self.asked if one.server == "cdn" and one.path.endswith("/" + path))

    def wait_sent(self, path: str, least: int, timeout: float = 30.0) -> bool:
        """Waits until so many bytes of a file went out."""
        with self._moved:
            return self._moved.wait_for(lambda: self.sent(path) >= least, timeout)

    def information(self, repository: str) -> dict[str, Any]:
        """What the hub says of a repository with `blobs=true`."""
        siblings = []
        for path, content in self.files[repository].items():
            sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
            if path not in self.small:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        told = {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "gated": "manual" if repository in self.gated else False,
            "private": False,
            "tags": [],
            "downloads": 10,
            "likes": 1,
            "cardData": {"license": "apache-2.0"},
        }
        return told | self.spoil

    def _server(self, name: str) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                address = urlsplit(self.path)
                asked = Asked(
                    name, self.command, unquote(address.path), self.headers.get("Range", ""),
                    self.headers.get("Authorization", ""), self.headers.get("User-Agent", ""),
                )  # fmt: skip
                hub.asked.append(asked)
                if name == "cdn" and address.path.startswith("/api/"):
                    self._json([])
                elif name == "cdn":
                    self._file(asked)
                elif address.path == "/api/models":
                    wanted = parse_qs(address.query).get("search", [""])[0]
                    self._json([hub.information(one) | hub.facts.get(one, {}) for one in hub.files if wanted in one])
                elif address.path.startswith("/api/models/"):
                    self._information("/".join(asked.path.split("/")[3:5]))
                else:
                    self._resolve(asked.path)

            def _information(self, repository: str) -> None:
                fault = hub.info_faults.popleft() if hub.info_faults else Fault()
                if fault.status:
                    self._refuse(fault.status, fault.retry_after)
                elif repository in hub.files:
                    self._json(hub.information(repository))
                else:
                    self._refuse(404, code="RepoNotFound")

            def _resolve(self, path: str) -> None:
                owner, model, _, _, *rest = path.strip("/").split("/")
                repository, file = f"{owner}/{model}", "/".join(rest)
                if file not in hub.files.get(repository, {}):
                    self._refuse(404, code="EntryNotFound")
                elif repository in hub.gated and self.headers.get("Authorization") != "Bearer accepted":
                    self._refuse(403 if self.headers.get("Authorization") else 401, code="GatedRepo")
                else:
                    self.send_response(302)
                    self.send_header("Location", f"{hub.cdn}/{repository}/{file}")
                    self.send_header("X-Repo-Commit", COMMIT)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def _file(self, asked: Asked) -> None:
                owner, model, *rest = asked.path.strip("/").split("/")
                file = "/".join(rest)
                content = hub.files[f"{owner}/{model}"][file]
                fault = hub.faults[file].popleft() if hub.faults[file] else Fault()
                if fault.status:
                    self._refuse(fault.status, fault.retry_after)
                    return
                start, ranged, whole = 0, bool(asked.range) and not fault.no_ranges, len(content)
                if ranged:
                    first, _, last = asked.range.removeprefix("bytes=").partition("-")
                    start = int(first)
                    if start >= len(content):
                        self._refuse(416)
                        return
                    content = content[: int(last) + 1] if last else content
                if fault.flip:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                self.send_response(206 if ranged else 200)
                if ranged:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{whole}")
                self.send_header("Content-Length", str(fault.length or len(content) - start))
                self.end_headers()
                self._body(asked, content, start, fault)

            def _body(self, asked: Asked, content: bytes, start: int, fault: Fault) -> None:
                stop = len(content) if fault.cut is None else min(start + fault.cut, len(content))
                piece = fault.drip or 1 << 18
                half = threading.Event()
                try:
                    for at in range(start, stop, piece):
                        if fault.hold is not None and at >= (start + stop) // 2 and not half.is_set():
                            half.set()
                            self.wfile.flush()
                            fault.hold.wait(30)
                        part = content[at : min(at + piece, stop)]
                        self.wfile.write(part)
                        with hub._moved:
                            asked.sent[0] += len(part)
                            hub._moved.notify_all()
                        if fault.pause:
                            threading.Event().wait(fault.pause)
                    if fault.length is not None and fault.length > len(content):
                        self.wfile.write(b"?" * (fault.length - len(content)))
                except OSError:
                    self.close_connection = True
                if fault.cut is not None or fault.length is not None:
                    self.close_connection = True

            def _json(self, told: object) -> None:
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                if isinstance(told, list) and name == "hub" and hub.next_page:
                    self.send_header("Link", f'<{hub.next_page}>; rel="next"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _refuse(self, status: int, retry_after: str = "", code: str = "") -> None:
                self.send_response(status)
                if retry_after:
                    self.send_header("Retry-After", retry_after)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return server


def git_sha1(content: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
