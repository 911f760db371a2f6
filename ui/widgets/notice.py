"""A bar with one sentence, one way out, and the raw details folded away."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from ui.theme import Role, metrics, pixmap, theme_changed
from ui.widgets.announce import announce
from ui.widgets.buttons import IconButton
from ui.widgets.labels import text_label

__all__ = ["Level", "NoticeBar"]

Level = Literal["info", "warning", "error"]
_ICONS: dict[Level, tuple[str, Role]] = {
    "info": ("info", "muted"),
    "warning": ("warning", "warn"),
    "error": ("warning", "danger"),
}
_DETAILS_HEIGHT = 140


class NoticeBar(QFrame):
    """What happened, why and what to do, with an optional action.

    Signals:
        action_triggered: the action button.
        dismissed: the close button (the bar hides itself).
    """

    action_triggered = Signal()
    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None, *, closable: bool = False) -> None:
        super().__init__(parent)
        self.setProperty("card", "raised")
        self._level: Level = "info"
        self._mark = QLabel()
        self._text = text_label(wrap=True)
        self._text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._text.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._action = QPushButton()
        self._action.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._action.clicked.connect(self.action_triggered)
        self._fold = QPushButton(self.tr("Details"))
        self._fold.setProperty("kind", "quiet")
        self._fold.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._show_details)
        self._close = IconButton("close", self.tr("Close"))
        self._close.setVisible(closable)
        self._close.clicked.connect(self._dismiss)
        self._details: QPlainTextEdit | None = None
        self._raw = ""

        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        # The icon's middle on the middle of a button beside it, and of the first line of text.
        self._mark.setContentsMargins(0, metrics.px(5), 0, 0)
        self._text.setMinimumHeight(metrics.px(28))
        row.addWidget(self._mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._text, 1)
        row.addWidget(self._fold, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._action, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._close, 0, Qt.AlignmentFlag.AlignTop)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(metrics.m, metrics.s, metrics.m, metrics.s)
        self._column.setSpacing(metrics.s)
        self._column.addLayout(row)
        theme_changed.connect(self._tint)
        self.set_notice("")

    def set_notice(self, text: str, *, level: Level = "info", action: str = "", details: str = "") -> None:
        """Shows one sentence (or some); "" hides the bar. `action` is the button's word, `details` what folds open."""
        if text != self._text.text():
            announce(self, text, urgent=level == "error")
        self._level = level
        self._raw = details
        self._text.setText(text)
        self._action.setText(action)
        self._action.setAccessibleName(action)
        self._action.setVisible(bool(action))
        self._fold.setVisible(bool(details))
        self._fold.setChecked(False)
        self._tint()
        self.setAccessibleName(text)
        self.setVisible(bool(text))

    def text(self) -> str:
        """The sentence shown, or ""."""
        return self._text.text()

    def action_button(self) -> QPushButton:
        """The action, to focus it or to click it in a test."""
        return self._action

    def details_button(self) -> QPushButton:
        """The button that folds the details open."""
        return self._fold

    def details_text(self) -> str:
        """The details as shown, "" while they are folded."""
        return self._details.toPlainText() if self._details is not None and self._fold.isChecked() else ""

    def _show_details(self, shown: bool) -> None:
        if self._details is None:
            if not shown:
                return
            self._details = QPlainTextEdit()
            self._details.setReadOnly(True)
            self._details.setFont(metrics.font("code"))
            self._details.setMaximumHeight(metrics.px(_DETAILS_HEIGHT))
            self._details.setAccessibleName(self.tr("Details"))
            self._column.addWidget(self._details)
        self._details.setPlainText(self._raw)
        self._details.setVisible(shown)

    def _dismiss(self) -> None:
        self.hide()
        self.dismissed.emit()

    def _tint(self) -> None:
        name, role = _ICONS[self._level]
        mark: QPixmap = pixmap(name, role, self.devicePixelRatioF())
        self._mark.setPixmap(mark)
