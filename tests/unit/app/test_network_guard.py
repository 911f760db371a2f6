"""The guard that guards: it must bite, here and in child processes, or the promise of no network is not tested."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests import network_guard


def test_this_process_may_not_connect_outside() -> None:
    with socket.socket() as plug, pytest.raises(PermissionError, match="beyond this machine"):
        plug.connect(("192.0.2.1", 80))
    with pytest.raises(PermissionError):
        socket.getaddrinfo("example.org", 443)
    assert network_guard.take_report().count("\n") == 2


def test_a_child_process_may_not_either_and_is_reported_when_it_swallows_the_error() -> None:
    script = (
        "import socket, contextlib\n"
        "with contextlib.suppress(OSError): socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", script], check=True)
    assert "192.0.2.1" in network_guard.take_report()


def test_the_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass
    assert network_guard.take_report() == ""
