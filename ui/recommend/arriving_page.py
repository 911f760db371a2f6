"""The chosen model on its way to this machine."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ui.library.download_card import DownloadCard
from ui.theme import metrics
from ui.viewmodels.recommend_session import RecommendSession
from ui.widgets import text_label

__all__ = ["ArrivingPage"]


class ArrivingPage(QWidget):
    """Signals: back_requested."""

    back_requested = Signal()

    def __init__(self, session: RecommendSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.name = text_label("", "heading", wrap=True)
        self.state = text_label("", "secondary", wrap=True)
        self.card: DownloadCard | None = None
        self._place = QVBoxLayout()
        self.again = QPushButton(self.tr("Try again"))
        self.again.setProperty("kind", "primary")
        self.again.clicked.connect(session.fetch)
        self.back = QPushButton(self.tr("Choose another one"))
        self.back.clicked.connect(self.back_requested)
        foot = QHBoxLayout()
        foot.setSpacing(metrics.s)
        foot.addWidget(self.back)
        foot.addWidget(self.again)
        foot.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addWidget(self.name)
        column.addLayout(self._place)
        column.addWidget(self.state)
        column.addLayout(foot)
        column.addStretch(1)

    def refresh(self) -> None:
        """How it is now."""
        session = self._session
        picked, one = session.picked, session.download
        if picked is None:
            return
        self.name.setText(picked.offer.name)
        if self.card is not None and (one is None or one.id != self.card.id):
            self._place.removeWidget(self.card)
            self.card.deleteLater()
            self.card = None
        if one is not None and self.card is None:
            self.card = DownloadCard(one)
            self.card.delete.hide()  # what is here is deleted where all downloads are
            self.card.pause_requested.connect(session.pause)
            self.card.resume_requested.connect(session.fetch)
            self._place.addWidget(self.card)
        if one is not None and self.card is not None:
            self.card.show_download(one, session.rate)
        if session.waiting == "hub":
            words = self.tr("Asking Hugging Face for {0}…").format(picked.offer.repository)
        elif one is None:
            words = self.tr("The download has not begun.")
        elif one.state in ("queued", "running"):
            words = self.tr("You can go on with something else meanwhile. Nutshell says when it is here.")
        else:
            words = self.tr("What has arrived is kept. It goes on from there.")
        self.state.setText(words)
        self.again.setVisible(one is None and session.waiting == "")

    def focus_first(self) -> None:
        """What is most likely wanted has the keyboard."""
        wanted = self.again if not self.again.isHidden() else self.card.go if self.card is not None else self.back
        wanted.setFocus(Qt.FocusReason.OtherFocusReason)
