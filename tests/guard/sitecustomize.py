"""Holds every Python process of the tests to the loopback: child processes find this through PYTHONPATH.

A connection, a datagram or a name look-up that leaves the machine raises in the process that tries it, and is written
to the file in NUTSHELL_GUARD_REPORT, so that the test run fails even where the exception is swallowed.
"""

import contextlib
import ipaddress
import os
import sys

_LOCAL_NAMES = {"", "localhost", "testserver"}


def _is_local(address: object) -> bool:
    if isinstance(address, (str, bytes)):  # a Unix socket's path
        return True
    if not isinstance(address, tuple) or not address:
        return False
    return _is_local_host(address[0])


def _is_local_host(host: object) -> bool:
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return False
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified


def _watch(event: str, arguments: tuple) -> None:
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        allowed = _is_local(address) or address is None
    elif event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}:
        address = arguments[0]
        allowed = _is_local_host(address)
    else:
        return
    if allowed:
        return
    words = f"{event} {address!r} in process {os.getpid()}: {' '.join(sys.argv[:3])}"
    report = os.environ.get("NUTSHELL_GUARD_REPORT")
    if report:
        with contextlib.suppress(OSError), open(report, "a", encoding="utf-8") as file:  # noqa: PTH123 - runs in site
            file.write(words + "\n")
    raise PermissionError(f"The tests allow no connection beyond this machine: {words}")


if os.environ.get("NUTSHELL_GUARD_REPORT"):
    sys.addaudithook(_watch)
