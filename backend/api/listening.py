"""Sockets to listen on, and a sentence where a port is taken."""

from __future__ import annotations

import errno
import ipaddress
import socket

from backend.api.errors import InvalidRequestError, PortInUseError

__all__ = ["listen", "port_holder"]

#: Windows has its own number for "address in use", and says "access denied" for some taken ports.
_TAKEN = {errno.EADDRINUSE, 10048}
_DENIED = {errno.EACCES, 10013}


def listen(host: str, port: int, *, both_loopbacks: bool = False) -> list[socket.socket]:
    """Listening sockets on `host`; port 0 takes a free one.

    Args:
        host: an IP address, or "localhost".
        port: 0..65535.
        both_loopbacks: listen on ::1 too where `host` is 127.0.0.1 or localhost, because some programs try it first.

    Raises:
        PortInUseError: another program listens there; it is named if the system tells.
        InvalidRequestError: the address is not this machine's, or the port is not for us.
    """
    if not 0 <= port <= 65535:
        raise InvalidRequestError(f"{port} is not a port.", why="A port is a number from 0 to 65535.")
    name = "127.0.0.1" if host == "localhost" else host
    try:
        # Numbers only: looking a name up would be a call to the outside.
        family = socket.AF_INET6 if ipaddress.ip_address(name).version == 6 else socket.AF_INET
        first = _for_tcp(socket.create_server((name, port), family=family))
    except ValueError as error:
        raise _not_ours(host, error) from error
    except OSError as error:
        raise _refused(host, port, error) from error
    sockets = [first]
    if both_loopbacks and name == "127.0.0.1" and socket.has_ipv6:
        try:
            sockets.append(_for_tcp(socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6)))
        except OSError:
            return sockets  # no IPv6 here, or the port is taken there: the first address is the one that we show
    return sockets


def port_holder(port: int) -> str:
    """Who listens on `port`, as "name (process 123)"; "" where the system does not tell."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        return ""  # macOS tells root only
    return ""


def _refused(host: str, port: int, error: OSError) -> PortInUseError | InvalidRequestError:
    if error.errno in _TAKEN:
        holder = port_holder(port)
        return PortInUseError(
            f"Port {port} is already in use.",
            why=f"It is held by {holder}." if holder else "Another program listens on it.",
            remedy="Close that program, or choose another port.",
            details=str(error),
        )
    if error.errno in _DENIED:
        return InvalidRequestError(
            f"Port {port} may not be used.",
            why="The system keeps it for itself.",
            remedy="Choose a port above 1024.",
            details=str(error),
        )
    return _not_ours(host, error)


def _not_ours(host: str, error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"Nutshell cannot listen on '{host}'.",
        why="It is not an address of this machine.",
        remedy="Use 127.0.0.1 for this machine only, or 0.0.0.0 for the whole network.",
        details=str(error),
    )


def _for_tcp(listener: socket.socket) -> socket.socket:
    """The same socket, with its protocol said out loud.

    asyncio switches Nagle's algorithm off for connections whose protocol number is TCP's, and `create_server` leaves it
    at 0, which accepted connections inherit. Then the second half of every answer waits 40 ms for an acknowledgement.
    """
    return socket.socket(listener.family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())
