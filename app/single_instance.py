"""One window per data folder: a second start raises the first window and ends.

A lock file decides who is first. The system drops the lock when its process ends in whatever way, so that a crash
leaves nothing to clean up, and asking it needs no Qt: a second start costs no engine. The second one then knocks at
a local socket (a named pipe on Windows) that the first one serves.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backend.storage.locks import FileLock

__all__ = ["Doorbell", "claim", "knock", "server_name"]

_KNOCK = b"raise\n"
_ANSWER = b"raised\n"


def claim(data: Path) -> FileLock | None:
    """The lock of the one window on the folder `data`, or None where another process has it."""
    for folder in (data, Path(tempfile.gettempdir())):
        lock = FileLock(folder / _lock_name(data, folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return lock if lock.try_acquire() else None
        except OSError:  # the folder cannot be written: the other place serves as well, for every start alike
            continue
    return FileLock(data / "window.lock")  # nowhere to write at all: two windows are better than none


def server_name(data: Path) -> str:
    """Name of the local socket for the folder `data`: short, as Unix sockets allow about 100 characters."""
    return f"nutshell-{_digest(data)}"


def knock(data: Path, *, patience_s: float = 5.0) -> bool:
    """Asks the first window on `data` to come to the front; whether it answered."""
    from PySide6.QtNetwork import QLocalSocket

    deadline = time.monotonic() + patience_s
    while True:
        socket = QLocalSocket()
        socket.connectToServer(server_name(data))
        if socket.waitForConnected(500):
            socket.write(_KNOCK)
            socket.waitForBytesWritten(500)
            # The answer may be here already, and waiting is for further bytes only: so count first.
            while socket.bytesAvailable() < len(_ANSWER):
                left = int((deadline - time.monotonic()) * 1000)
                if left <= 0 or not socket.waitForReadyRead(left):
                    break
            answered = bytes(socket.readAll().data()) == _ANSWER
            socket.disconnectFromServer()
            return answered
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # the first one holds the lock but does not listen yet: it is still starting


class Doorbell:
    """Listens for other starts on the same data folder.

    Args:
        data: the data folder.
        raise_window: called for each knock.
    """

    def __init__(self, data: Path, raise_window: Callable[[], None]) -> None:
        from PySide6.QtNetwork import QLocalServer

        self._raise_window = raise_window
        name = server_name(data)
        QLocalServer.removeServer(name)  # what a killed process left behind; the lock says that it is not alive
        self._server = QLocalServer()
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._answer)
        self.listening = self._server.listen(name)

    def close(self) -> None:
        """Stops listening."""
        self._server.close()

    def _answer(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            socket.disconnected.connect(socket.deleteLater)
            self._raise_window()
            socket.write(_ANSWER)
            socket.flush()


def _digest(data: Path) -> str:
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]


def _lock_name(data: Path, folder: Path) -> str:
    return "window.lock" if folder == data else f"nutshell-{_digest(data)}.lock"
