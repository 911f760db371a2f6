"""Which palette is in force, and the switch between them while the program runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Qt, QTemporaryDir, Signal, SignalInstance
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from ui.theme import icons
from ui.theme.metrics import metrics
from ui.theme.palette import DARK, HIGH_DARK, HIGH_LIGHT, LIGHT, Palette, Role
from ui.theme.stylesheet import build_stylesheet

__all__ = ["Mode", "apply_theme", "color", "current", "theme_changed"]

Mode = Literal["system", "light", "dark"]


class _Theme(QObject):
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.palette = LIGHT
        self.mode: Mode = "system"
        self.high_contrast = False
        self.follows: QApplication | None = None
        self.marks: QTemporaryDir | None = None


_theme = _Theme()

#: emitted after the palette, the zoom, the fonts or the wrapping of code changed; connect whatever is painted by hand.
theme_changed: SignalInstance = _theme.changed


def current() -> Palette:
    """The palette in force."""
    return _theme.palette


def color(role: Role) -> QColor:
    """The colour of a role in the palette in force."""
    return QColor(_theme.palette.value(role))


def apply_theme(
    app: QApplication,
    mode: Mode = "system",
    *,
    zoom: float | None = None,
    reduced_motion: bool | None = None,
    high_contrast: bool | None = None,
    wrap_code: bool | None = None,
) -> None:
    """Puts a palette, the stylesheet and the base font in force, and re-tints every icon bound with `bind_icon`.

    Args:
        app: the one application object.
        mode: "light", "dark", or "system" to follow the desktop, also when it changes later.
        zoom: 0.8..2.0 of the normal size; None keeps what is.
        reduced_motion: True switches animation off; None keeps what is.
        high_contrast: True takes the palettes of high contrast; False takes them only where the system asks for more
            contrast; None keeps what is.
        wrap_code: False lets long lines of code go on where they would be broken; None keeps what is.
    """
    if high_contrast is not None:
        _theme.high_contrast = high_contrast
    if zoom is not None:
        metrics.zoom = min(2.0, max(0.8, zoom))
    if reduced_motion is not None:
        metrics.reduced_motion = reduced_motion
    rewrap = wrap_code is not None and wrap_code != metrics.wrap_code
    if wrap_code is not None:
        metrics.wrap_code = wrap_code
    _theme.mode = mode
    hints = app.styleHints()
    if mode == "system":
        hints.unsetColorScheme()
    else:
        # Native title bars, menus and file dialogs then agree with the window.
        hints.setColorScheme(Qt.ColorScheme.Dark if mode == "dark" else Qt.ColorScheme.Light)
    if _theme.follows is not app:
        _theme.follows = app
        hints.colorSchemeChanged.connect(_system_changed)
        hints.accessibility().contrastPreferenceChanged.connect(_system_changed)
    _put_in_force(app, rewrap=rewrap)


def _system_changed() -> None:
    app = QApplication.instance()
    if isinstance(app, QApplication) and _wanted(app) is not _theme.palette:
        _put_in_force(app)


def _wanted(app: QApplication) -> Palette:
    hints = app.styleHints()
    dark = hints.colorScheme() == Qt.ColorScheme.Dark if _theme.mode == "system" else _theme.mode == "dark"
    asked = hints.accessibility().contrastPreference() == Qt.ContrastPreference.HighContrast
    if _theme.high_contrast or asked:
        return HIGH_DARK if dark else HIGH_LIGHT
    return DARK if dark else LIGHT


def _put_in_force(app: QApplication, *, rewrap: bool = False) -> None:
    _theme.palette = _wanted(app)
    if app.style().name() != "fusion":
        app.setStyle("Fusion")
    sheet = build_stylesheet(_theme.palette, metrics, _marks(_theme.palette))
    if sheet == app.styleSheet():  # a new sheet, though equal, would polish every widget again
        if rewrap:
            _theme.changed.emit()
        return
    app.setFont(metrics.font("control"))
    app.setPalette(_qpalette(_theme.palette))
    app.setStyleSheet(sheet)
    icons.retint(_theme.palette)
    _theme.changed.emit()


def _marks(p: Palette) -> dict[str, str]:
    """Tinted pictures for the stylesheet, which takes them from files only, in a folder that goes with the process."""
    folder = _theme.marks = _theme.marks or QTemporaryDir()
    made = {}
    for mark, name, colour in (
        ("check", "check", p.on_accent),
        ("dot", "dot", p.on_accent),
        ("down", "chevron-down", p.muted),
        ("up", "chevron-up", p.muted),
    ):
        path = Path(folder.filePath(f"{mark}-{p.name}.svg"))
        if not path.exists():
            path.write_text(icons.source(name, colour), encoding="utf-8")
        made[mark] = path.as_posix()
    return made


def _qpalette(p: Palette) -> QPalette:
    made = QPalette()
    group, role = QPalette.ColorGroup, QPalette.ColorRole
    for which, colour in (
        (role.Window, p.window),
        (role.WindowText, p.text),
        (role.Base, p.surface),
        (role.AlternateBase, p.raised),
        (role.Text, p.text),
        (role.PlaceholderText, p.muted),
        (role.Button, p.raised),
        (role.ButtonText, p.text),
        (role.BrightText, p.on_accent),
        (role.ToolTipBase, p.surface),
        (role.ToolTipText, p.text),
        (role.Highlight, p.accent_soft),
        (role.HighlightedText, p.text),
        (role.Accent, p.accent),
        (role.Link, p.link),
        (role.LinkVisited, p.link),
        (role.Light, p.surface),
        (role.Midlight, p.raised),
        (role.Mid, p.line),
        (role.Dark, p.muted),
        (role.Shadow, p.line),
    ):
        made.setColor(which, QColor(colour))
    for which in (role.WindowText, role.Text, role.ButtonText):
        made.setColor(group.Disabled, which, QColor(p.muted))
    return made
