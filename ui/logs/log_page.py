"""The logs on a page: the engine's and the window's, filtered, followed and copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from backend.api.schemas import HardwareReport
from ui.bridge.engine_link import EngineLink
from ui.theme import metrics, theme_changed
from ui.widgets.buttons import HoverButton
from ui.widgets.labels import text_label

__all__ = ["About", "LogPage", "tail"]

_MOST_BYTES = 256 * 1024  # 2,500 lines: more than anybody reads, and laid out in 20 ms
_LOOK_MS = 1000


@dataclass(frozen=True)
class About:
    """What the program knows of itself.

    Attributes:
        logs: the folder with the log files. describe: versions, machine, settings and last errors as text that may be
            shown to others; it is given what the engine says of the machine, None where it cannot be asked.
    """

    logs: Path
    describe: Callable[[HardwareReport | None], str]


def tail(path: Path, most: int = _MOST_BYTES) -> list[str]:
    """The last lines of a file, at most `most` bytes of them; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > most else lines


class LogPage(QWidget):
    """Shows one log at a time. It looks for new lines once a second, while it is on the screen and told to follow.

    Signals:
        close_requested: back to the chat. copied(str): something was copied, in words.
    """

    close_requested = Signal()
    copied = Signal(str)

    def __init__(self, about: About, link: EngineLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._about, self._link = about, link
        self._lines: list[str] = []
        self.close_button = HoverButton(self.tr("Close"), icon="close")
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Logs"), "title"), 1)
        head.addWidget(self.close_button)
        self.source = QComboBox()
        self.source.setAccessibleName(self.tr("Log"))
        self.source.addItem(self.tr("Engine"), "engine.log")
        self.source.addItem(self.tr("Window"), "window.log")
        self.source.currentIndexChanged.connect(self._read)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Only lines with…"))
        self.filter.setAccessibleName(self.tr("Only lines with"))
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._show)
        self.follow = QCheckBox(self.tr("Follow"))
        self.follow.setChecked(True)
        self.follow.toggled.connect(self._follow)
        self.copy = HoverButton(self.tr("Copy what is shown"), icon="copy")
        self.copy.clicked.connect(self._copy)
        self.diagnostics = HoverButton(self.tr("Copy diagnostics"), icon="copy")
        self.diagnostics.clicked.connect(self.copy_diagnostics)
        tools = QHBoxLayout()
        tools.setSpacing(metrics.s)
        tools.addWidget(self.source)
        tools.addWidget(self.filter, 1)
        tools.addWidget(self.follow)
        tools.addWidget(self.copy)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setAccessibleName(self.tr("Log"))
        self.text.setUndoRedoEnabled(False)
        self.text.setTabChangesFocus(True)
        self.state = text_label("", "muted")
        foot = QHBoxLayout()
        foot.addWidget(
            text_label(
                self.tr("Diagnostics hold versions, the machine and the last errors; no chats, titles or paths."),
                "muted",
                wrap=True,
            ),
            1,
        )
        foot.addWidget(self.diagnostics)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xl, metrics.l, metrics.xl, metrics.l)
        column.setSpacing(metrics.m)
        for part in (head, tools):
            column.addLayout(part)
        column.addWidget(self.text, 1)
        column.addWidget(self.state)
        column.addLayout(foot)
        self._clock = QTimer(self)
        self._clock.setInterval(_LOOK_MS)
        self._clock.timeout.connect(self._read)
        theme_changed.connect(self._restyle)
        self._restyle()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._read()
        self._follow(self.follow.isChecked())

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._clock.stop()

    def copy_diagnostics(self) -> None:
        """Copy what can be shown to others; the machine is asked for where the engine answers."""

        def copy(report: HardwareReport | None) -> None:
            QGuiApplication.clipboard().setText(self._about.describe(report))
            self.copied.emit(self.tr("Diagnostics were copied. They hold no chats, titles or paths."))

        if self._link.ready:
            self._link.run(lambda engine: engine.hardware(), success=copy, failure=lambda _error: copy(None))
        else:
            copy(None)

    def _read(self) -> None:
        lines = tail(self._about.logs / str(self.source.currentData()))
        if lines != self._lines:
            self._lines = lines
            self._show()
        elif not lines:
            self._show()

    def _show(self) -> None:
        wanted = self.filter.text().strip().casefold()
        shown = [line for line in self._lines if wanted in line.casefold()] if wanted else self._lines
        bar = self.text.verticalScrollBar()
        place = bar.value()
        text = "\n".join(shown)
        if text != self.text.toPlainText():
            self.text.setPlainText(text)
        bar.setValue(bar.maximum() if self.follow.isChecked() else min(place, bar.maximum()))
        if not self._lines:
            self.state.setText(self.tr("Nothing was written yet."))
        elif wanted:
            self.state.setText(self.tr("{0} of {1} lines").format(len(shown), len(self._lines)))
        else:
            self.state.setText(self.tr("{0} lines").format(len(self._lines)))

    def _follow(self, follow: bool) -> None:
        if follow and self.isVisible():
            self._clock.start()
            self._show()
        else:
            self._clock.stop()

    def _copy(self) -> None:
        chosen = self.text.textCursor().selectedText().replace("\u2029", "\n")
        QGuiApplication.clipboard().setText(chosen or self.text.toPlainText())
        self.copied.emit(self.tr("The lines were copied."))

    def _restyle(self) -> None:
        self.text.setFont(metrics.font("code"))
