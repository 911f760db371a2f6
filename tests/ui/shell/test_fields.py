"""Number fields of the inspector."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui.inspector.fields import WheelShy, WheelShyWhole


def turned() -> QWheelEvent:
    return QWheelEvent(
        QPointF(5, 5),
        QPointF(5, 5),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )


@pytest.mark.parametrize("kind", [WheelShy, WheelShyWhole])
def test_the_wheel_changes_a_number_only_where_the_person_is(
    qtbot: QtBot, kind: type[WheelShy] | type[WheelShyWhole]
) -> None:
    field = kind()
    qtbot.addWidget(field)
    field.setValue(5)
    field.show()
    field.clearFocus()
    passing = turned()
    QApplication.sendEvent(field, passing)
    assert field.value() == 5
    assert not passing.isAccepted(), "the page behind it scrolls"
    field.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    QApplication.sendEvent(field, turned())
    assert field.value() == 6
