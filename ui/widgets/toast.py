"""A short message at the foot of a window that goes away by itself, with one action such as Undo."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEasingCurve, QEvent, QObject, QPoint, QPropertyAnimation, Qt, QTimer, Signal
from PySide6.QtGui import QEnterEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from ui.theme import metrics
from ui.widgets.announce import announce
from ui.widgets.buttons import IconButton
from ui.widgets.labels import text_label

__all__ = ["Toast", "show_toast"]

_TIMEOUT_MS = 6000
_WIDEST = 560
_SLIDE = 12


class Toast(QFrame):
    """Lies over `host`, centred near its foot; one at a time per host. It waits while hovered.

    Signals:
        action_triggered: the action was chosen (the toast is gone then).
        closed: it went away, by time, by Close or by its action.
    """

    action_triggered = Signal()
    closed = Signal()

    def __init__(self, host: QWidget, text: str, *, action: str = "", timeout_ms: int = _TIMEOUT_MS) -> None:
        super().__init__(host)
        self._host = host
        self.setObjectName("toast")
        self.setProperty("card", "surface")
        self.setAccessibleName(text)
        label = text_label(text, wrap=True)
        # A wrapping label asks for a square; this asks for one line as long as there is room.
        label.setFixedWidth(min(label.fontMetrics().horizontalAdvance(text) + 2, self._room(host, action)))
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.l, metrics.s, metrics.s, metrics.s)
        row.setSpacing(metrics.s)
        row.addWidget(label, 1)
        self.action_button: QPushButton | None = None
        if action:
            self.action_button = QPushButton(action)
            self.action_button.setProperty("kind", "link")
            self.action_button.setAccessibleName(action)
            self.action_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self.action_button.clicked.connect(self._act)
            row.addWidget(self.action_button)
        close = IconButton("close", self.tr("Close"))
        close.clicked.connect(self.dismiss)
        row.addWidget(close)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(timeout_ms)
        self._timer.timeout.connect(self.dismiss)
        self._open = True
        host.installEventFilter(self)
        self._appear()
        announce(self, text)
        self._timer.start()

    def dismiss(self) -> None:
        """Takes the toast away; once."""
        if not self._open:
            return
        self._open = False
        self._timer.stop()
        self.hide()
        self.closed.emit()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self.move(self._place())
        return False

    def enterEvent(self, event: QEnterEvent) -> None:
        self._timer.stop()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        if self._open:
            self._timer.start()
        super().leaveEvent(event)

    def _act(self) -> None:
        self.action_triggered.emit()
        self.dismiss()

    def _room(self, host: QWidget, action: str) -> int:
        taken = metrics.px(110) + self.fontMetrics().horizontalAdvance(action)
        return max(metrics.px(120), min(metrics.px(_WIDEST), host.width() - taken))

    def _place(self) -> QPoint:
        host = self._host
        self.adjustSize()
        return QPoint((host.width() - self.width()) // 2, host.height() - self.height() - metrics.xl)

    def _appear(self) -> None:
        place = self._place()
        self.show()
        self.raise_()
        if metrics.motion_ms == 0:
            self.move(place)
            return
        slide = QPropertyAnimation(self, b"pos", self)
        slide.setDuration(metrics.motion_ms)
        slide.setEasingCurve(QEasingCurve.Type.OutCubic)
        slide.setStartValue(place + QPoint(0, metrics.px(_SLIDE)))
        slide.setEndValue(place)
        slide.start(QPropertyAnimation.DeletionPolicy.DeleteWhenStopped)


def show_toast(
    host: QWidget,
    text: str,
    *,
    action: str = "",
    on_action: Callable[[], object] | None = None,
    timeout_ms: int = _TIMEOUT_MS,
) -> Toast:
    """Shows a toast over `host` in place of the one that may be there."""
    for old in host.findChildren(Toast, options=Qt.FindChildOption.FindDirectChildrenOnly):
        old.dismiss()
    toast = Toast(host, text, action=action, timeout_ms=timeout_ms)
    if on_action is not None:
        toast.action_triggered.connect(on_action)
    return toast
