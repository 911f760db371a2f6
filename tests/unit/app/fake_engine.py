"""An engine process made of the standard library: the handshake, a deaf or polite server, and chosen ways to die.

Usage: fake_engine.py MODE [COUNTER_FILE]. The modes are the branches of `main`.
"""

import http.server
import json
import os
import signal
import sys
import threading
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer secret"
        self.send_response(200 if allowed and self.path == "/api/shutdown" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if allowed and "deaf" not in sys.argv[1]:
            print("asked to shut down", file=sys.stderr, flush=True)
            threading.Thread(target=self.server.shutdown).start()

    def log_message(self, *args: object) -> None:
        pass


def main() -> int:
    mode = sys.argv[1]
    if mode == "never-ready":
        print("llama: cannot allocate", file=sys.stderr, flush=True)
        return 9
    if mode == "refuse":
        error = {
            "code": "port_in_use",
            "what": "Port 1 is in use.",
            "why": "",
            "remedy": "Choose another.",
            "details": "",
        }
        print(json.dumps({"error": error}), flush=True)
        return 1
    if mode == "mute":
        sys.stdin.read()
        return 0
    if mode == "crash-once":
        marker = Path(sys.argv[2])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGABRT)
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("a line that is no handshake", flush=True)
    port = server.server_address[1]
    print(json.dumps({"port": port, "token": "secret", "pid": os.getpid(), "version": "0"}), flush=True)
    if mode != "deaf":
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
