"""Line icons: SVG files of ours (18 px, 1.5 px stroke, `currentColor`), tinted with a role and cached."""

from __future__ import annotations

import weakref
from functools import lru_cache
from pathlib import Path

import shiboken6
from PySide6.QtCore import QByteArray, QObject, QRectF, Qt
from PySide6.QtGui import QGuiApplication, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from ui.theme.metrics import metrics
from ui.theme.palette import LIGHT, Palette, Role

__all__ = ["bind_icon", "icon", "icon_names", "pixmap"]

_FOLDER = Path(__file__).parent / "icons"
_DISABLED_OPACITY = 0.45
#: forwards and back; arrows that go up, down or to the disk are the same for all
_MIRRORED = {"chevron-left": "chevron-right", "chevron-right": "chevron-left"}


class _State:
    def __init__(self) -> None:
        self.palette: Palette = LIGHT
        self.bound: weakref.WeakKeyDictionary[QObject, tuple[str, Role]] = weakref.WeakKeyDictionary()


_state = _State()


def icon_names() -> list[str]:
    """The names that `icon` knows."""
    return sorted(path.stem for path in _FOLDER.glob("*.svg"))


def icon(name: str, role: Role = "text") -> QIcon:
    """An icon in the colour of `role`, for 1x, 2x and 3x screens, with a faded form for disabled controls.

    It keeps its colour when the theme changes: use `bind_icon` for what stays on screen. What points forwards or back
    points the other way where the program runs from right to left.

    Raises:
        FileNotFoundError: no icon of that name.
    """
    return _icon(_facing(name), _state.palette.value(role), metrics.icon)


def pixmap(name: str, role: Role = "text", ratio: float = 1.0, *, size: int = 0) -> QPixmap:
    """One icon as a pixmap for a screen of the given device pixel ratio; `size` in pixels, 0 for that of all icons."""
    return _render(_facing(name), _state.palette.value(role), size or metrics.icon, ratio, 1.0)


def bind_icon(target: QObject, name: str, role: Role = "text") -> None:
    """Gives a button or an action its icon now and again after every theme change, for as long as it lives."""
    _state.bound[target] = (name, role)
    _give(target, name, role)


def retint(palette: Palette) -> None:
    """Tints every bound icon for `palette`; called by `apply_theme`."""
    _state.palette = palette
    for target, (name, role) in list(_state.bound.items()):
        if shiboken6.isValid(target):
            _give(target, name, role)


def _facing(name: str) -> str:
    right = QGuiApplication.layoutDirection() == Qt.LayoutDirection.RightToLeft
    return _MIRRORED.get(name, name) if right else name


def _give(target: QObject, name: str, role: Role) -> None:
    target.setIcon(icon(name, role))  # type: ignore[attr-defined]


@lru_cache(maxsize=512)
def _icon(name: str, colour: str, side: int) -> QIcon:
    made = QIcon()
    for ratio in (1.0, 2.0, 3.0):
        made.addPixmap(_render(name, colour, side, ratio, 1.0), QIcon.Mode.Normal)
        made.addPixmap(_render(name, colour, side, ratio, _DISABLED_OPACITY), QIcon.Mode.Disabled)
    return made


@lru_cache(maxsize=128)
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def source(name: str, colour: str) -> str:
    """The SVG text of an icon in a colour."""
    return _source(name).replace("currentColor", colour)


def _render(name: str, colour: str, side: int, ratio: float, opacity: float) -> QPixmap:
    renderer = QSvgRenderer(QByteArray(source(name, colour).encode()))
    image = QPixmap(round(side * ratio), round(side * ratio))
    image.setDevicePixelRatio(ratio)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setOpacity(opacity)
    renderer.render(painter, QRectF(0, 0, side, side))
    painter.end()
    return image
