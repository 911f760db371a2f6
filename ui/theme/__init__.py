"""The visual language in code: colour roles, type and spacing, icons, and the switch between light and dark."""

from __future__ import annotations

from ui.theme.icons import bind_icon, icon, icon_names, pixmap
from ui.theme.manager import Mode, apply_theme, color, current, theme_changed
from ui.theme.metrics import FontRole, Metrics, metrics
from ui.theme.palette import DARK, HIGH_DARK, HIGH_LIGHT, LIGHT, PALETTES, TEXT_PAIRS, Palette, Role, contrast

__all__ = [
    "DARK",
    "HIGH_DARK",
    "HIGH_LIGHT",
    "LIGHT",
    "PALETTES",
    "TEXT_PAIRS",
    "FontRole",
    "Metrics",
    "Mode",
    "Palette",
    "Role",
    "apply_theme",
    "bind_icon",
    "color",
    "contrast",
    "current",
    "icon",
    "icon_names",
    "metrics",
    "pixmap",
    "theme_changed",
]
