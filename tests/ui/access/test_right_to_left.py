"""Read from right to left: sliders fill from their beginning, and headings stand at theirs."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui.inspector.fields import MirroredSlider
from ui.theme import apply_theme, current
from ui.widgets import text_label


@pytest.mark.parametrize("way", [Qt.LayoutDirection.LeftToRight, Qt.LayoutDirection.RightToLeft])
def test_the_groove_is_filled_from_the_beginning(way: Qt.LayoutDirection, qapp: QApplication, qtbot: QtBot) -> None:
    apply_theme(qapp, "light")
    slider = MirroredSlider(Qt.Orientation.Horizontal)
    qtbot.addWidget(slider)
    slider.setLayoutDirection(way)
    slider.setRange(0, 100)
    slider.setValue(20)
    slider.resize(200, 30)
    slider.show()
    image = slider.grab().toImage()
    middle = image.height() // 2
    ends = [image.pixelColor(round(x * image.width() / 200), middle) for x in (8, 192)]
    if way == Qt.LayoutDirection.RightToLeft:
        ends.reverse()
    assert ends == [QColor(current().accent), QColor(current().line)]


@pytest.mark.parametrize("way", [Qt.LayoutDirection.LeftToRight, Qt.LayoutDirection.RightToLeft])
@pytest.mark.parametrize("text", ["Heading", "عنوان"])
def test_a_heading_stands_where_the_window_begins(
    text: str, way: Qt.LayoutDirection, qapp: QApplication, qtbot: QtBot
) -> None:
    apply_theme(qapp, "light")
    label = text_label(text, "heading")
    qtbot.addWidget(label)
    label.setLayoutDirection(way)
    label.resize(300, 30)
    label.show()
    image = label.grab().toImage()
    behind = image.pixelColor(150, 1)
    drawn = [x for x in range(image.width()) if any(image.pixelColor(x, y) != behind for y in range(image.height()))]
    if way == Qt.LayoutDirection.LeftToRight and text == "Heading":
        assert max(drawn) < image.width() // 2
    elif way == Qt.LayoutDirection.RightToLeft:
        assert min(drawn) > image.width() // 2
