"""The button in the top bar that says which model answers, and how far its loading is."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QWidget

from ui.theme import bind_icon, metrics
from ui.viewmodels.model_session import ModelSession
from ui.widgets import IconButton

__all__ = ["ModelButton"]

_WIDEST = 260


class _NameButton(QPushButton):
    """A quiet button whose text is cut in the middle where it does not fit: a model's name differs at its end."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._full = ""
        self.setProperty("kind", "quiet")
        self.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow stands behind the name
        self.setIconSize(QSize(metrics.icon, metrics.icon))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(metrics.px(90))
        bind_icon(self, "chevron-down", "muted")

    def set_full_text(self, text: str) -> None:
        self._full = text
        self.updateGeometry()
        self._fit()

    def full_text(self) -> str:
        return self._full

    def sizeHint(self) -> QSize:
        # 4 more: the width of a text in whole pixels is rounded, and the last pixel must not cost a word
        wanted = self.fontMetrics().horizontalAdvance(self._full) + self._extra() + 4
        return QSize(min(wanted, metrics.px(_WIDEST)), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(metrics.px(90), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _extra(self) -> int:
        return metrics.icon + metrics.px(2 * 12 + 12)  # padding, and the gap before the arrow

    def _fit(self) -> None:
        room = self.width() - self._extra()
        self.setText(self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideMiddle, max(room, 0)))


class ModelButton(QWidget):
    """Follows a `ModelSession`.

    Signals:
        menu_requested: the button was pressed.
    """

    menu_requested = Signal()

    def __init__(self, models: ModelSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        self.button = _NameButton(self)
        self.button.clicked.connect(self.menu_requested)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(metrics.px(72))
        self.cancel = IconButton("close", self.tr("Cancel loading"))
        self.cancel.clicked.connect(models.cancel)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(metrics.xs)
        row.addWidget(self.button)
        row.addWidget(self.bar)
        row.addWidget(self.cancel)
        models.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the session's state."""
        models = self._models
        self.button.set_full_text(models.title)
        entry = models.loaded.entry if models.loaded is not None else None
        self.button.setAccessibleName(self.tr("Model: {0}").format(models.title))
        self.button.setToolTip(entry.path if entry is not None and not models.loading else models.title)
        self.button.setEnabled(models.reachable)
        self.bar.setVisible(models.loading)
        self.cancel.setVisible(models.loading)
        if models.progress is None:
            # not 0..0: an endlessly moving bar would repaint, and wake the processor, for as long as it is shown
            self.bar.setRange(0, 100)
            self.bar.setValue(0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(models.progress * 1000))
            self.bar.setAccessibleDescription(self.tr("{0} % loaded").format(round(models.progress * 100)))
