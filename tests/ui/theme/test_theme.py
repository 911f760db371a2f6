from __future__ import annotations

import re
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QIcon, QImage
from PySide6.QtWidgets import QApplication, QLineEdit, QPlainTextEdit, QPushButton
from pytestqt.qtbot import QtBot

import ui
from ui.theme import (
    DARK,
    HIGH_DARK,
    HIGH_LIGHT,
    LIGHT,
    apply_theme,
    bind_icon,
    color,
    current,
    icon,
    icon_names,
    manager,
    metrics,
    theme_changed,
)
from ui.widgets import IconButton

UI = Path(ui.__file__).parent
_ARROWS = ("chevron-right", "chevron-left", "chevron-down")


def tint(made: QIcon) -> set[str]:
    """The colours of the mostly opaque pixels of an icon."""
    image: QImage = made.pixmap(18, 18).toImage().convertToFormat(QImage.Format.Format_ARGB32)
    found = set()
    for x in range(image.width()):
        for y in range(image.height()):
            pixel = image.pixelColor(x, y)
            if pixel.alpha() > 180:
                found.add(pixel.name().upper())  # without its alpha
    return found


def near(colours: set[str], wanted: str) -> bool:
    target = QColor(wanted)
    return bool(colours) and all(
        abs(c.red() - target.red()) + abs(c.green() - target.green()) + abs(c.blue() - target.blue()) < 12
        for c in map(QColor, colours)
    )


def test_switching_changes_palette_stylesheet_and_icons(qapp: QApplication, qtbot: QtBot) -> None:
    button = QPushButton()
    qtbot.addWidget(button)
    bind_icon(button, "copy", "muted")
    assert near(tint(button.icon()), LIGHT.muted)
    with qtbot.waitSignal(theme_changed):
        apply_theme(qapp, "dark")
    assert current() is DARK
    assert qapp.palette().window().color() == QColor(DARK.window)
    assert DARK.surface in qapp.styleSheet()
    assert LIGHT.surface not in qapp.styleSheet()
    assert color("accent") == QColor(DARK.accent)
    assert near(tint(button.icon()), DARK.muted)


def test_system_follows_the_desktop(qapp: QApplication) -> None:
    apply_theme(qapp, "system")
    scheme = qapp.styleHints().colorScheme()
    assert current() is (DARK if scheme == Qt.ColorScheme.Dark else LIGHT)


def test_high_contrast_is_its_own_switch_beside_light_and_dark(qapp: QApplication) -> None:
    try:
        apply_theme(qapp, "dark", high_contrast=True)
        assert current() is HIGH_DARK
        apply_theme(qapp, "light")
        assert current() is HIGH_LIGHT
        assert qapp.palette().window().color() == QColor(HIGH_LIGHT.window)
    finally:
        apply_theme(qapp, "light", high_contrast=False)
    assert current() is LIGHT


def test_a_change_of_the_system_is_followed_while_running(
    qapp: QApplication, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = qapp.styleHints()
    apply_theme(qapp, "system")
    before = current()
    monkeypatch.setattr(manager, "_wanted", lambda _app: DARK if before is LIGHT else LIGHT)
    with qtbot.waitSignal(theme_changed):
        hints.colorSchemeChanged.emit(Qt.ColorScheme.Dark)
    assert current() is not before
    monkeypatch.setattr(manager, "_wanted", lambda _app: HIGH_DARK)
    with qtbot.waitSignal(theme_changed):
        hints.accessibility().contrastPreferenceChanged.emit(Qt.ContrastPreference.HighContrast)
    assert current() is HIGH_DARK
    monkeypatch.undo()
    apply_theme(qapp, "light")
    with qtbot.assertNotEmitted(theme_changed):
        hints.colorSchemeChanged.emit(Qt.ColorScheme.Dark)
    assert current() is LIGHT


@pytest.mark.parametrize("kind", [QLineEdit, QPlainTextEdit])
def test_words_in_empty_fields_are_as_readable_as_other_muted_text(
    kind: type[QLineEdit | QPlainTextEdit], qapp: QApplication, qtbot: QtBot
) -> None:
    apply_theme(qapp, "light")
    field = kind()
    qtbot.addWidget(field)
    field.ensurePolished()
    assert field.palette().placeholderText().color() == QColor(LIGHT.muted)  # Qt's own is the text at half strength


def test_zoom_scales_lengths_and_type_and_is_bounded(qapp: QApplication) -> None:
    try:
        apply_theme(qapp, "light", zoom=2.0)
        assert (metrics.s, metrics.radius_composer, metrics.icon) == (16, 24, 36)
        assert metrics.font("body").pixelSize() == 28
        apply_theme(qapp, "light", zoom=9.0)
        assert metrics.zoom == 2.0
        apply_theme(qapp, "light", zoom=0.1)
        assert metrics.zoom == 0.8
    finally:
        apply_theme(qapp, "light", zoom=1.0)


def test_type_scale() -> None:
    sizes = {role: metrics.font(role).pixelSize() for role in ("body", "control", "secondary", "title", "code")}  # type: ignore[arg-type]
    assert sizes == {"body": 14, "control": 13, "secondary": 12, "title": 20, "code": 13}
    assert metrics.font("title").weight() == 600
    assert metrics.font("body").weight() == 400


def test_motion_is_off_when_asked(qapp: QApplication) -> None:
    apply_theme(qapp, "light", reduced_motion=False)
    assert metrics.motion_ms == 120
    apply_theme(qapp, "light", reduced_motion=True)
    assert metrics.motion_ms == 0


@pytest.mark.parametrize("name", icon_names())
def test_every_icon_draws_in_its_role(name: str) -> None:
    drawn = tint(icon(name, "danger"))
    assert drawn, "nothing was drawn"
    assert near(drawn, LIGHT.danger)


@pytest.mark.parametrize("path", sorted((UI / "theme" / "icons").glob("*.svg")), ids=lambda p: p.stem)
def test_icons_keep_to_the_set(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert 'viewBox="0 0 18 18"' in text
    assert 'stroke-width="1.5"' in text
    assert not re.search(r"#[0-9a-fA-F]{3,8}|rgb\(|<image|href|<script", text)


def test_no_colour_is_named_outside_the_palette() -> None:
    named = [
        f"{path.relative_to(UI)}: {match}"
        for path in UI.rglob("*.py")
        if path.name != "palette.py"
        for match in re.findall(r"#[0-9a-fA-F]{6}\b|GlobalColor\.(?!transparent)\w+", path.read_text(encoding="utf-8"))
    ]
    assert not named


def test_icon_buttons_have_a_name_and_tell_their_shortcut(qtbot: QtBot) -> None:
    button = IconButton("copy", "Copy", shortcut="Ctrl+C")
    qtbot.addWidget(button)
    assert button.accessibleName() == "Copy"
    assert "Copy" in button.toolTip()
    assert "C)" in button.toolTip()
    assert button.focusPolicy() == Qt.FocusPolicy.TabFocus


def test_an_unknown_icon_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        icon("no-such-icon")


def test_what_points_forwards_points_left_from_right_to_left(qapp: QApplication) -> None:
    onwards, back, down = (icon(name).pixmap(18, 18).toImage() for name in _ARROWS)
    qapp.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    try:
        assert [icon(name).pixmap(18, 18).toImage() for name in _ARROWS] == [back, onwards, down]
    finally:
        qapp.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
    assert icon("chevron-right").pixmap(18, 18).toImage() == onwards != back


def test_wrapping_alone_is_told_once(qapp: QApplication) -> None:
    told: list[bool] = []
    theme_changed.connect(lambda: told.append(metrics.wrap_code))
    for wrap in (False, False, True):
        apply_theme(qapp, "light", wrap_code=wrap)
    assert told == [False, True]
