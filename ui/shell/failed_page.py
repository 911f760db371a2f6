"""The page for an engine that cannot be started: one sentence, one way out, the details folded away."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from backend.api.schemas import ErrorInfo
from ui.theme import metrics
from ui.widgets import HoverButton, text_label

__all__ = ["FailedPage"]


class FailedPage(QWidget):
    """Says what happened, why and what to do.

    Signals:
        retry_requested: Try again.
    """

    retry_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = text_label("", "title", wrap=True)
        self._text = text_label("", "muted", wrap=True)
        for label in (self._title, self._text):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.retry = QPushButton(self.tr("Try again"))
        self.retry.setProperty("kind", "primary")
        self.retry.clicked.connect(self.retry_requested)
        self.fold = HoverButton(self.tr("Details"))
        self.fold.setCheckable(True)
        self._details = QPlainTextEdit()
        self._details.setReadOnly(True)
        self._details.setFont(metrics.font("code"))
        self._details.setFixedHeight(metrics.px(180))
        self._details.setAccessibleName(self.tr("Details"))
        self._details.hide()
        self.fold.toggled.connect(self._details.setVisible)

        middle = QWidget()
        middle.setMaximumWidth(metrics.px(520))
        inner = QVBoxLayout(middle)
        inner.setSpacing(metrics.m)
        inner.addWidget(self._title)
        inner.addWidget(self._text)
        inner.addSpacing(metrics.s)
        inner.addWidget(self.retry, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(self.fold, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(self._details)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xl, metrics.xl, metrics.xl, metrics.xl)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(middle, 1000)
        row.addStretch(1)
        column.addStretch(2)
        column.addLayout(row)
        column.addStretch(3)

    def set_error(self, error: ErrorInfo) -> None:
        """Show another failure."""
        self._title.setText(error.what)
        self._text.setText(" ".join(part for part in (error.why, error.remedy) if part))
        self._text.setVisible(bool(error.why or error.remedy))
        self._details.setPlainText(error.details)
        self.fold.setVisible(bool(error.details))
        self.fold.setChecked(False)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.retry.setFocus(Qt.FocusReason.OtherFocusReason)
