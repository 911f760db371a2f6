"""Where Tab leads in the window: part by part as the eye reads them, whatever was made first."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget

__all__ = ["step_focus"]


def step_focus(window: QWidget, parts: Sequence[QWidget], by_place: QWidget, *, forward: bool) -> bool:
    """Give the focus to the next control (or the one before), round at the ends.

    Qt goes by the order in which widgets were made, and messages are made as they are scrolled to.

    The controls of `parts` follow each other in that order; what is in none of them comes last. Those of `by_place`,
    one of the parts, are taken from top to bottom. False: there is nothing to give the focus to.
    """
    here = QApplication.focusWidget()
    chain = window.findChildren(QWidget)  # not by nextInFocusChain: its wrappers end what they wrap when collected
    places = {widget: number for number, widget in enumerate(chain)}
    right_to_left = window.layoutDirection() == Qt.LayoutDirection.RightToLeft

    def key(widget: QWidget) -> tuple[int, int, int, int]:
        part = next((number for number, one in enumerate(parts) if one.isAncestorOf(widget)), len(parts))
        if part < len(parts) and parts[part] is by_place:
            corner = widget.mapTo(window, QPoint(0, 0))
            across = -corner.x() - widget.width() if right_to_left else corner.x()
            return part, corner.y(), across, places.get(widget, 0)
        return part, 0, 0, places.get(widget, 0)

    order = sorted((widget for widget in chain if widget is here or _takes_focus(widget)), key=key)
    if not order or order == [here]:
        return False
    place = -1 if forward else 0
    if here in order:
        place = order.index(here)
    reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
    order[(place + (1 if forward else -1)) % len(order)].setFocus(reason)
    return True


def _takes_focus(widget: QWidget) -> bool:
    tab = Qt.FocusPolicy.TabFocus.value
    shown = widget.isEnabled() and widget.isVisible() and not widget.isWindow() and widget.focusProxy() is None
    if not shown:
        return False
    if isinstance(widget, QAbstractButton) and (made := _choice(widget)) is not None:
        return made is widget  # one stop for a group: the choice that is made; the arrows lead to the others
    return widget.focusPolicy().value & tab == tab


def _choice(button: QAbstractButton) -> QWidget | None:
    """What is chosen among the buttons that this one excludes."""
    group = button.group()
    if group:  # None where there is none, whatever the stubs say
        return group.checkedButton() if group.exclusive() else None
    parent = button.parentWidget()
    if not button.autoExclusive() or parent is None:
        return None
    beside = parent.findChildren(QAbstractButton, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return next((one for one in beside if one.autoExclusive() and one.isChecked() and not one.group()), None)
