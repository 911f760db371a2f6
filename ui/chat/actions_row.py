"""The muted line under a message: branch arrows, actions, figures."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.buttons import IconButton
from ui.widgets.labels import ElidedLabel, text_label

__all__ = ["ActionButton", "ActionsRow"]

_COPIED_MS = 1200


class ActionButton(IconButton):
    """An icon that is painted only while it is revealed or has the focus. Tab and screen readers find it always."""

    def __init__(self, icon: str, label: str, parent: QWidget) -> None:
        super().__init__(icon, label, parent)
        self.revealed = False

    def _rescale(self) -> None:
        super()._rescale()
        self.setFixedSize(QSize(metrics.px(28), metrics.px(28)))

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.revealed or self.hasFocus():
            super().paintEvent(event)


class ActionsRow(QWidget):
    """Which actions there are is set per message; they show while the message is hovered or one of them has the focus.

    Signals:
        triggered(str): "copy", "retry", "edit" or "continue".
        branch(int): -1 for the previous, +1 for the next version.
    """

    triggered = Signal(str)
    branch = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._always = False
        self._hovered = False
        self._buttons: dict[str, ActionButton] = {}
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(0)
        self._versions: QWidget | None = None
        self._previous: ActionButton | None = None
        self._next: ActionButton | None = None
        self._position = text_label("", "secondary", self)
        self._position.hide()
        self._row.addWidget(self._position)
        self._figures = ElidedLabel("", "secondary", self)
        self._row.addWidget(self._figures, 1)
        self.setFixedHeight(self.row_height())

    @staticmethod
    def row_height() -> int:
        """Its height in pixels, whatever it shows."""
        return metrics.px(30)

    def set_actions(self, actions: list[tuple[str, str, str]]) -> None:
        """`actions`: (name, icon, label), first to last."""
        for name in [name for name in self._buttons if name not in {a[0] for a in actions}]:
            button = self._buttons.pop(name)
            self._row.removeWidget(button)
            button.hide()
            button.deleteLater()
        for name, icon, label in actions:
            if name not in self._buttons:
                button = ActionButton(icon, label, self)
                button.installEventFilter(self)
                button.clicked.connect(self._click)
                self._buttons[name] = button
                self._row.insertWidget(self._row.count() - 1, button)
        self._reveal()

    def set_versions(self, index: int, total: int) -> None:
        """Shows "2 of 3" with arrows; `index` counts from 0. One version: nothing is shown."""
        several = total > 1
        self._position.setVisible(several)
        if several and self._previous is None:
            self._previous = self._arrow("chevron-left", self.tr("Previous version"), -1, 0)
            self._next = self._arrow("chevron-right", self.tr("Next version"), 1, 2)
        if self._previous is not None and self._next is not None:
            self._previous.setVisible(several)
            self._next.setVisible(several)
            self._previous.setEnabled(index > 0)
            self._next.setEnabled(index < total - 1)
        self._position.setText(self.tr("{0} of {1}").format(index + 1, total))

    def set_figures(self, text: str, tooltip: str = "") -> None:
        """The muted figures: at the right end, but at the left while there are no actions."""
        side = Qt.AlignmentFlag.AlignRight if self._buttons else Qt.AlignmentFlag.AlignLeft
        self._figures.setAlignment(side)
        if self._figures.text() != text:
            self._figures.setText(text)
        self._figures.setToolTip(tooltip)

    def figures(self) -> str:
        """The figures shown."""
        return self._figures.text()

    def button(self, name: str) -> ActionButton | None:
        """The button of an action, if there is one."""
        return self._buttons.get(name)

    def arrows(self) -> tuple[ActionButton | None, ActionButton | None]:
        """The buttons to the previous and the next version."""
        return self._previous, self._next

    def focus_order(self) -> list[QWidget]:
        """Its buttons, first to last."""
        arrows = [arrow for arrow in (self._previous, self._next) if arrow is not None]
        return [*arrows, *self._buttons.values()]

    def set_always(self, always: bool) -> None:
        """The actions show without hovering: the last message's do."""
        if always != self._always:
            self._always = always
            self._reveal()

    def set_hovered(self, hovered: bool) -> None:
        """The mouse is over the message, or not."""
        if hovered != self._hovered:
            self._hovered = hovered
            self._reveal()

    def say_copied(self) -> None:
        """The copy button shows for a moment that it worked."""
        button = self._buttons.get("copy")
        if button is not None:
            button.set_icon("check", "ok")
            button.set_label(self.tr("Copied"))
            QTimer.singleShot(_COPIED_MS, button, lambda: self._restore_copy(button))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            QTimer.singleShot(0, self, self._reveal)
        return False

    def _arrow(self, icon: str, label: str, step: int, place: int) -> ActionButton:
        arrow = ActionButton(icon, label, self)
        arrow.revealed = True
        arrow.clicked.connect(lambda: self.branch.emit(step))
        self._row.insertWidget(place, arrow)
        return arrow

    def _click(self) -> None:
        for name, button in self._buttons.items():
            if button is self.sender():
                self.triggered.emit(name)
                return

    def _restore_copy(self, button: ActionButton) -> None:
        button.set_icon("copy")
        button.set_label(self.tr("Copy"))

    def _reveal(self) -> None:
        shown = self._always or self._hovered or any(b.hasFocus() for b in self._buttons.values())
        for button in self._buttons.values():
            if button.revealed != shown:
                button.revealed = shown
                button.update()
