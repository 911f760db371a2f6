"""The model that has arrived is loaded and writes a few words, to see that it works, and as fast as was said."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ui.recommend.words import trial_words
from ui.theme import metrics
from ui.viewmodels.recommend_session import RecommendSession
from ui.widgets import text_label
from ui.widgets.labels import set_tone

__all__ = ["TrialPage"]


class TrialPage(QWidget):
    """Signals: chat_requested; back_requested."""

    chat_requested = Signal()
    back_requested = Signal()

    def __init__(self, session: RecommendSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.name = text_label("", "heading", wrap=True)
        self.state = text_label("", "secondary", wrap=True)
        self.said = text_label("", "", wrap=True)
        self.speed = text_label("", "secondary", wrap=True)
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.go = QPushButton()
        self.go.setProperty("kind", "primary")
        self.go.clicked.connect(self._go)
        self.back = QPushButton(self.tr("Choose another one"))
        self.back.clicked.connect(self.back_requested)
        foot = QHBoxLayout()
        foot.setSpacing(metrics.s)
        foot.addWidget(self.back)
        foot.addWidget(self.go)
        foot.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        for widget in (self.name, self.state, self.bar, self.said, self.speed):
            column.addWidget(widget)
        column.addLayout(foot)
        column.addStretch(1)

    def refresh(self) -> None:
        """How it is now."""
        session = self._session
        picked, trial = session.picked, session.trial
        if picked is None:
            return
        self.name.setText(picked.offer.name)
        waits = session.waiting in ("load", "trial")
        self.bar.setVisible(waits)
        self.said.setVisible(trial is not None and bool(trial.text))
        self.speed.setVisible(trial is not None)
        self.go.setVisible(not waits)
        if trial is not None:
            state = self.tr("It works.")
            self.said.setText(self.tr("“Monday, Tuesday, Wednesday, Thursday,” it goes on: {0}").format(trial.text))
            self.speed.setText(trial_words(trial))
        elif session.waiting == "load":
            state = self.tr("It is here. It is being loaded…")
        elif session.waiting == "trial":
            state = self.tr("It writes its first words…")
        elif session.stopped:
            state = self.tr("It is here, but could not be tried. What has arrived is kept.")
        else:
            state = self.tr("It is here. To see that it works, it is loaded and writes a few words.")
        self.state.setText(state)
        set_tone(self.state, "ok" if trial is not None else "warn" if session.stopped and not waits else "secondary")
        self.go.setText(
            self.tr("Start chatting") if trial is not None
            else self.tr("Try again") if session.stopped
            else self.tr("Try it")
        )  # fmt: skip

    def focus_first(self) -> None:
        """What leads on has the keyboard."""
        (self.back if self.go.isHidden() else self.go).setFocus(Qt.FocusReason.OtherFocusReason)

    def _go(self) -> None:
        if self._session.trial is not None:
            self.chat_requested.emit()
        else:
            self._session.try_out()
