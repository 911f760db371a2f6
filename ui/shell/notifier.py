"""Says, outside the window, that something long has ended while another program is in front."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from backend.api.schemas import Job, TurnEnded, TurnStarted
from ui.bridge.engine_link import EngineLink

__all__ = ["Notifier"]

#: Who waits for less is still looking.
_LONG_S = 8.0
_SHOWN_MS = 10_000


class Notifier(QObject):
    """Watches answers and jobs of one engine. It never says a word of a chat, a title or a file's name.

    Args:
        wanted: whether the person wants to be told. raise_window: what a click on the message does.
        show: shows a sentence; None: the system's own way. clock: seconds.
    """

    def __init__(
        self,
        link: EngineLink,
        wanted: Callable[[], bool],
        raise_window: Callable[[], object],
        parent: QObject | None = None,
        *,
        show: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(parent)
        self._wanted, self._raise, self._show, self._now = wanted, raise_window, show or self._tell, clock
        self._begun: dict[str, float] = {}  # id of an answer or a job -> when it was first heard of
        self._tray: QSystemTrayIcon | None = None
        self._put_away = QTimer(self)
        self._put_away.setSingleShot(True)
        self._put_away.setInterval(_SHOWN_MS)
        self._put_away.timeout.connect(self.hide)
        link.turn_started.connect(self._turn_started)
        link.turn_ended.connect(self._turn_ended)
        link.job_changed.connect(self._job_changed)

    def hide(self) -> None:
        """Take the icon away; it is there only while it has something to say."""
        if self._tray is not None:
            self._tray.hide()

    def _turn_started(self, event: TurnStarted) -> None:
        self._begun[event.assistant.id] = self._now()

    def _turn_ended(self, event: TurnEnded) -> None:
        sentences = {
            "complete": self.tr("The answer is ready."),
            "failed": self.tr("The answer could not be finished."),
            "interrupted": self.tr("The answer was interrupted."),
        }
        self._ended(event.message.id, sentences.get(event.message.status, ""))

    def _job_changed(self, job: Job) -> None:
        if job.state in ("started", "progress"):
            self._begun.setdefault(job.id, self._now())
            return
        finished = {
            "compress": self.tr("The smaller model is ready."),
            "download": self.tr("The download is finished."),
            "export": self.tr("The export is finished."),
            "load_model": self.tr("The model is ready."),
        }
        failed = self.tr("A long task could not be finished. Nutshell says why.")
        self._ended(job.id, {"finished": finished.get(job.kind, ""), "failed": failed}.get(job.state, ""))

    def _ended(self, key: str, sentence: str) -> None:
        begun = self._begun.pop(key, None)
        if sentence and begun is not None and self._now() - begun >= _LONG_S and self._wanted() and not _in_front():
            self._show(sentence)

    def _tell(self, sentence: str) -> None:
        for window in QApplication.topLevelWidgets():
            if window.isVisible() and window.isWindow():
                QApplication.alert(window)  # the task bar; systems without one ignore it
                break
        if not QSystemTrayIcon.isSystemTrayAvailable():
            return
        if self._tray is None:
            self._tray = QSystemTrayIcon(QGuiApplication.windowIcon(), self)
            self._tray.messageClicked.connect(self._clicked)
            self._tray.activated.connect(self._clicked)
        if self._tray.icon().isNull():
            self._tray.setIcon(QApplication.style().standardIcon(QApplication.style().StandardPixmap.SP_ComputerIcon))
        self._tray.show()
        self._tray.showMessage("Nutshell", sentence, self._tray.icon(), _SHOWN_MS)
        self._put_away.start()

    def _clicked(self, _reason: object = None) -> None:
        self.hide()
        self._raise()


def _in_front() -> bool:
    active: QWidget | None = QApplication.activeWindow()
    return active is not None and not active.isMinimized()
