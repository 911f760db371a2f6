"""Ctrl+C and SIGTERM end the window in order.

Python runs a signal handler only between two of its instructions, and Qt's loop spends its time elsewhere. So the
interpreter also writes a byte to a socket when a signal comes, and Qt wakes up for that.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier

__all__ = ["QuitSignals"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP") if sys.platform != "win32" else ("SIGINT", "SIGBREAK")


class QuitSignals:
    """Calls `on_quit` in Qt's loop for each of the signals. `close` puts everything back."""

    def __init__(self, on_quit: Callable[[], None], parent: QObject | None = None) -> None:
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        self._on_quit = on_quit
        self._old_descriptor = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._old = {
            number: signal.signal(number, lambda *_: None)
            for name in _NAMES
            if (number := getattr(signal, name, None)) is not None
        }
        self._notifier = QSocketNotifier(self._reading.fileno(), QSocketNotifier.Type.Read, parent)
        self._notifier.activated.connect(self._came)

    def close(self) -> None:
        """Restores the former handlers."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._old_descriptor)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._reading.close()
        self._writing.close()

    def _came(self, *_: object) -> None:
        # set_wakeup_fd writes for every signal that has a handler, also for those that are not ours (a timer's).
        with contextlib.suppress(BlockingIOError):
            if set(self._reading.recv(64)) & {int(number) for number in self._old}:
                self._on_quit()
