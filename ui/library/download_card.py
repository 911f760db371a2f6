"""One download: how far it is, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from backend.api.downloads import Download
from ui.theme import metrics
from ui.viewmodels.download_session import state_words
from ui.viewmodels.words import error_words, quantization_words
from ui.widgets import ElidedLabel, IconButton, text_label

__all__ = ["DownloadCard"]

_STEPS = 1000


class DownloadCard(QFrame):
    """Signals: pause_requested, resume_requested, delete_requested (str: its id); use_requested(str): its path."""

    pause_requested = Signal(str)
    resume_requested = Signal(str)
    delete_requested = Signal(str)
    use_requested = Signal(str)

    def __init__(self, one: Download, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "surface")
        self.id = one.id
        self._path = one.path
        self.name = ElidedLabel(
            f"{one.repository.split('/')[-1]} · {quantization_words(one.choice)}", "heading",
            mode=Qt.TextElideMode.ElideMiddle,
        )  # fmt: skip
        self.state = ElidedLabel("", "secondary")
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.problem = text_label("", "warn", wrap=True)
        self.go = QPushButton()
        self.go.clicked.connect(self._go)
        self.delete = IconButton("trash", self.tr("Delete"))
        self.delete.clicked.connect(lambda: self.delete_requested.emit(self.id))
        words = QVBoxLayout()
        words.setSpacing(metrics.xs)
        words.addWidget(self.name)
        words.addWidget(self.bar)
        words.addWidget(self.state)
        words.addWidget(self.problem)
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.setSpacing(metrics.s)
        row.addLayout(words, 1)
        row.addWidget(self.go)
        row.addWidget(self.delete)
        self._state = one.state
        self.show_download(one, 0.0)

    def show_download(self, one: Download, rate: float) -> None:
        """How it is now."""
        self._state, self._path = one.state, one.path
        words = state_words(one, rate)
        self.state.setText(words)
        self.bar.setValue(round(_STEPS * one.done / one.bytes) if one.bytes else 0)
        self.bar.setVisible(one.state != "finished")
        error = one.error
        sentence = error_words(error) if error is not None else ""
        self.problem.setText(sentence)
        self.problem.setVisible(bool(sentence))
        going = one.state in ("queued", "running")
        finished = one.state == "finished"
        self.go.setText(self.tr("Use it") if finished else self.tr("Pause") if going else self.tr("Go on"))
        self.go.setAccessibleName(f"{self.go.text()}: {self.name.text()}")
        self.delete.set_label(
            self.tr("Take it off this list; the model stays") if finished else self.tr("Stop, and delete what is here")
        )
        self.delete.set_icon("close" if finished else "trash")
        self.setAccessibleName(f"{self.name.text()}, {words}")

    def _go(self) -> None:
        if self._state == "finished":
            self.use_requested.emit(self._path)
        elif self._state in ("queued", "running"):
            self.pause_requested.emit(self.id)
        else:
            self.resume_requested.emit(self.id)
