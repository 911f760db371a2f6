"""Every screen and state of the galleries, played in a window that stays open for a test to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QTextEdit,
    QWidget,
)

from tests.fakes.client import FakeClient, fake_loaded
from tests.ui import test_gallery
from tests.ui.library import test_download_gallery
from tests.ui.palette import test_palette_gallery
from tests.ui.presets import test_presets_gallery
from tests.ui.recommend import test_recommend_gallery
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import Stage, conversations
from tests.ui.wizard import test_wizard_gallery
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme

Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {
    **test_gallery.SCENES,
    **test_download_gallery.SCENES,
    **test_palette_gallery.SCENES,
    **test_presets_gallery.SCENES,
    **test_recommend_gallery.SCENES,
    **test_wizard_gallery.SCENES,
}

INTERACTIVE = (
    QAbstractButton, QLineEdit, QAbstractSpinBox, QComboBox, QAbstractSlider, QAbstractItemView, QTextEdit,
    QPlainTextEdit,
)  # fmt: skip


@contextmanager
def screen(
    name: str, loop: Loop, app: QApplication, *, zoom: float = 1.0, size: QSize | None = None, rtl: bool = False
) -> Iterator[MainWindow]:
    """The window of a scene, settled."""
    wanted, play = SCENES[name]
    apply_theme(app, "light", zoom=zoom, reduced_motion=True)
    if rtl:
        app.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    link = EngineLink(frame_ms=5)
    window = MainWindow(link)
    try:
        window.resize(size or wanted)
        window.show()
        stage = Stage(loop, window, FakeClient(conversations(), loaded=fake_loaded()))
        play(stage)
        stage.settle()
        yield window
    finally:
        window.close()
        loop.run(link.close())
        window.deleteLater()
        loop.turn()
        app.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        apply_theme(app, "light", zoom=1.0, reduced_motion=False, wrap_code=True)


def interactive(window: QWidget) -> list[QWidget]:
    """What can be worked on a screen now. A number field stands for the line in it."""
    return [
        widget
        for widget in window.findChildren(QWidget)
        if isinstance(widget, INTERACTIVE)
        and widget.isVisible()
        and not isinstance(widget, QScrollBar)
        and not isinstance(widget.parentWidget(), QAbstractSpinBox | QComboBox | QLineEdit)
    ]


def path(widget: QWidget) -> str:
    """Where a widget is, for a person who reads a failed test."""
    names = []
    one: QWidget | None = widget
    while one is not None and len(names) < 4:
        names.append(type(one).__name__)
        one = one.parentWidget()
    said = widget.accessibleName() or (widget.text() if isinstance(widget, QAbstractButton) else "")
    return f"{' < '.join(names)} {said!r}"
