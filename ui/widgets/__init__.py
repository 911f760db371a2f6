"""Small widgets that every screen uses."""

from __future__ import annotations

from ui.widgets.buttons import HoverButton, IconButton
from ui.widgets.dialogs import ConfirmDialog, LinkDialog, confirm, open_link
from ui.widgets.labels import ElidedLabel, rule, text_label
from ui.widgets.meter import Meter
from ui.widgets.notice import NoticeBar
from ui.widgets.toast import Toast, show_toast

__all__ = [
    "ConfirmDialog",
    "ElidedLabel",
    "HoverButton",
    "IconButton",
    "LinkDialog",
    "Meter",
    "NoticeBar",
    "Toast",
    "confirm",
    "open_link",
    "rule",
    "show_toast",
    "text_label",
]
