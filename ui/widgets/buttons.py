"""Buttons with a name for screen readers and a tooltip that tells the shortcut."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QPushButton, QToolButton, QWidget

from ui.theme import Role, bind_icon, metrics, theme_changed

__all__ = ["HoverButton", "IconButton", "tooltip_text"]


def tooltip_text(label: str, shortcut: QKeySequence | QKeySequence.StandardKey | str | None) -> str:
    """A label with its shortcut as this system writes it: "Copy (Ctrl+C)"."""
    if shortcut is None:
        return label
    keys = QKeySequence(shortcut).toString(QKeySequence.SequenceFormat.NativeText)
    return f"{label} ({keys})" if keys else label


class IconButton(QToolButton):
    """A flat button that shows an icon only; its label is the tooltip and the accessible name.

    It takes focus by Tab and not by the mouse, so that a click leaves the cursor where the person types, and the focus
    ring appears for the keyboard only.
    """

    def __init__(
        self,
        icon: str,
        label: str,
        parent: QWidget | None = None,
        *,
        role: Role = "muted",
        shortcut: QKeySequence | QKeySequence.StandardKey | str | None = None,
    ) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAutoRaise(True)
        self.set_label(label, shortcut)
        self.set_icon(icon, role)
        self._rescale()
        theme_changed.connect(self._rescale)

    def _rescale(self) -> None:
        self.setIconSize(QSize(metrics.icon, metrics.icon))

    def set_icon(self, icon: str, role: Role = "muted") -> None:
        """Another icon; it follows the theme."""
        bind_icon(self, icon, role)

    def set_label(self, label: str, shortcut: QKeySequence | QKeySequence.StandardKey | str | None = None) -> None:
        """Another name for the tooltip and for screen readers."""
        self.setAccessibleName(label)
        self.setToolTip(tooltip_text(label, shortcut))


class HoverButton(QPushButton):
    """A word, with an icon or without, that shows its outline only when hovered or focused."""

    def __init__(
        self,
        label: str,
        parent: QWidget | None = None,
        *,
        icon: str | None = None,
        role: Role = "muted",
        shortcut: QKeySequence | QKeySequence.StandardKey | str | None = None,
    ) -> None:
        super().__init__(label, parent)
        self.setProperty("kind", "quiet")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(label)
        if shortcut is not None:
            self.setToolTip(tooltip_text(label, shortcut))
        if icon is not None:
            self.setIconSize(QSize(metrics.icon, metrics.icon))
            bind_icon(self, icon, role)
