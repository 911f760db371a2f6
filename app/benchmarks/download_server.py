"""A hub with one file, in a process of its own, for `nutshell bench download`. What it serves is made up in memory.

`python -m app.benchmarks.download_server BYTES` prints one line of JSON with its port, and ends with its input.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["FILE", "REPOSITORY"]

REPOSITORY, FILE = "bench/one-file", "bench-Q8_0.gguf"
_COMMIT = "b" * 40
_BLOCK = 1 << 20


def _content(size: int) -> tuple[bytes, str]:
    """A block that is repeated, and the SHA-256 of `size` bytes of it."""
    block = random.Random(0).randbytes(_BLOCK)
    digest = hashlib.sha256()
    for at in range(0, size, _BLOCK):
        digest.update(block[: min(_BLOCK, size - at)])
    return block, digest.hexdigest()


def _handler(size: int) -> type[BaseHTTPRequestHandler]:
    block, sha256 = _content(size)
    lfs = {"sha256": sha256, "size": size, "pointerSize": 130}
    file = {"rfilename": FILE, "size": size, "blobId": "a" * 40, "lfs": lfs}
    told = json.dumps({"id": REPOSITORY, "sha": _COMMIT, "siblings": [file], "private": False, "tags": []}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            whole = not self.path.startswith("/api/")
            self.send_response(200)
            self.send_header("Content-Length", str(size if whole else len(told)))
            self.end_headers()
            if not whole:
                self.wfile.write(told)
                return
            view = memoryview(block)
            for at in range(0, size, _BLOCK):
                self.wfile.write(view[: min(_BLOCK, size - at)])

    return Handler


def main() -> None:
    """Serves until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(int(sys.argv[1])))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
