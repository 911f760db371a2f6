"""The one stylesheet, built from colour roles and metrics.

Widgets say what they are through dynamic properties, and this file says how that looks:

- QPushButton[kind="primary"]: the one main action of a screen; [kind="quiet"]: words only until hovered;
  [kind="link"]: an inline action. Without a kind: a bordered button.
  [align="start"]: words at the beginning of the button instead of its middle; [align="flush"]: in line with text above.
- QToolButton: an icon button, flat until hovered.
- QLabel[tone=...]: "muted", "secondary" (small and muted), "title" (20 px), "heading" (600), "ok", "warn", "danger".
- QFrame[card="surface" | "raised" | "user"]: a card with the radius 8; [rule="h" | "v"]: a hairline.
- QAbstractItemView[list="side"]: a list on the window's background, without a frame.
- QTextEdit and QPlainTextEdit[bare="true"]: no frame, no background.
"""

from __future__ import annotations

from collections.abc import Mapping

from ui.theme.metrics import Metrics
from ui.theme.palette import Palette

__all__ = ["build_stylesheet"]


def build_stylesheet(p: Palette, m: Metrics, marks: Mapping[str, str]) -> str:
    """The application's stylesheet for a palette at the zoom of `m`.

    `marks`: paths of tinted pictures for what a stylesheet can only draw from a file: "check", "dot", "down", "up".
    """
    parts = (_base(p, m), _buttons(p, m), _inputs(p, m), _marks(p, m, marks), _lists(p, m), _bars(p, m), _menus(p, m))
    return "\n".join(parts)


def _marks(p: Palette, m: Metrics, marks: Mapping[str, str]) -> str:
    side = m.px(16)
    return f"""
QCheckBox::indicator, QRadioButton::indicator, QAbstractItemView::indicator, QMenu::indicator:non-exclusive {{
  width: {side}px; height: {side}px; border: 1px solid {p.muted}; border-radius: {m.px(4)}px;
  background: {p.surface}; }}
QRadioButton::indicator {{ border-radius: {side // 2 + 1}px; }}
QCheckBox::indicator:hover, QRadioButton::indicator:hover {{ border-color: {p.accent}; }}
QCheckBox::indicator:checked, QAbstractItemView::indicator:checked, QMenu::indicator:non-exclusive:checked {{
  background: {p.accent}; border-color: {p.accent}; image: url("{marks["check"]}"); }}
QRadioButton::indicator:checked {{ background: {p.accent}; border-color: {p.accent}; image: url("{marks["dot"]}"); }}
QCheckBox::indicator:focus, QRadioButton::indicator:focus {{ border: {m.focus_width}px solid {p.accent}; }}
QCheckBox::indicator:disabled, QRadioButton::indicator:disabled {{ border-color: {p.line}; background: {p.raised}; }}
QComboBox::down-arrow {{ image: url("{marks["down"]}"); width: {m.px(14)}px; height: {m.px(14)}px; }}
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{
  background: transparent; border: none; width: {m.px(20)}px; height: {m.px(12)}px; margin: {m.px(2)}px; }}
QAbstractSpinBox::up-button {{ subcontrol-origin: border; subcontrol-position: top right; }}
QAbstractSpinBox::down-button {{ subcontrol-origin: border; subcontrol-position: bottom right; }}
QAbstractSpinBox::up-arrow {{ image: url("{marks["up"]}"); width: {m.px(12)}px; height: {m.px(12)}px; }}
QAbstractSpinBox::down-arrow {{ image: url("{marks["down"]}"); width: {m.px(12)}px; height: {m.px(12)}px; }}
"""


def _base(p: Palette, m: Metrics) -> str:
    return f"""
QMainWindow, QDialog {{ background: {p.window}; }}
QWidget {{ color: {p.text}; }}
QToolTip {{ background: {p.surface}; color: {p.text}; border: 1px solid {p.line}; padding: {m.px(4)}px {m.px(6)}px; }}
QLabel {{ background: transparent; }}
QLabel[tone="muted"] {{ color: {p.muted}; }}
QLabel[tone="secondary"] {{ color: {p.muted}; font-size: {m.font_px("secondary")}px; }}
QLabel[tone="title"] {{ font-size: {m.font_px("title")}px; font-weight: 600; }}
QLabel[tone="heading"] {{ font-size: {m.font_px("heading")}px; font-weight: 600; }}
QLabel[tone="ok"] {{ color: {p.ok}; }}
QLabel[tone="warn"] {{ color: {p.warn}; }}
QLabel[tone="danger"] {{ color: {p.danger}; }}
QFrame[card="surface"] {{
  background: {p.surface}; border: 1px solid {p.line}; border-radius: {m.radius_card}px; }}
QFrame[card="raised"] {{ background: {p.raised}; border: none; border-radius: {m.radius_card}px; }}
QFrame[card="user"] {{ background: {p.user_turn}; border: none; border-radius: {m.radius_card}px; }}
QFrame[rule="h"] {{ background: {p.line}; border: none; max-height: 1px; min-height: 1px; }}
QFrame[rule="v"] {{ background: {p.line}; border: none; max-width: 1px; min-width: 1px; }}
QSplitter::handle {{ background: {p.line}; }}
QSplitter::handle:horizontal {{ width: 1px; }}
QSplitter::handle:vertical {{ height: 1px; }}
QScrollArea {{ background: transparent; border: none; }}
QScrollArea > QWidget > QWidget {{ background: transparent; }}
QStatusBar {{ background: {p.window}; color: {p.muted}; }}
QStatusBar::item {{ border: none; }}
"""


def _buttons(p: Palette, m: Metrics) -> str:
    y, x, ring = m.px(5), m.px(12), m.focus_width
    # A focused button's border grows from 1 px to the ring's width; the padding gives that back, so nothing moves.
    give = ring - 1
    return f"""
QPushButton {{
  background: {p.surface}; color: {p.text}; border: 1px solid {p.line}; border-radius: {m.radius_control}px;
  padding: {y}px {x}px; }}
QPushButton:hover {{ background: {p.raised}; }}
QPushButton:pressed {{ background: {p.accent_soft}; }}
QPushButton:disabled {{ color: {p.muted}; background: {p.raised}; }}
QPushButton:focus {{ border: {ring}px solid {p.accent}; padding: {y - give}px {x - give}px; }}
QPushButton[kind="primary"] {{ background: {p.accent}; color: {p.on_accent}; border-color: {p.accent}; }}
QPushButton[kind="primary"]:hover {{ border-color: {p.text}; }}
QPushButton[kind="primary"]:focus {{ border: {ring}px solid {p.text}; }}
QPushButton[kind="primary"]:disabled {{ background: {p.raised}; color: {p.muted}; border-color: {p.line}; }}
QPushButton[kind="quiet"] {{ background: transparent; border: 1px solid transparent; }}
QPushButton[kind="quiet"]:hover, QPushButton[kind="quiet"]:checked {{ background: {p.raised}; }}
QPushButton[kind="quiet"]:disabled {{ background: transparent; }}
QPushButton[kind="quiet"]:focus {{ border: {ring}px solid {p.accent}; }}
QPushButton[kind="link"] {{
  background: transparent; border: 1px solid transparent; color: {p.accent}; padding: {m.px(2)}px {m.px(4)}px; }}
QPushButton[kind="link"]:hover {{ text-decoration: underline; }}
QPushButton[kind="link"]:focus {{
  border: {ring}px solid {p.accent}; padding: {m.px(2) - give}px {m.px(4) - give}px; }}
QToolButton {{
  background: transparent; border: 1px solid transparent; border-radius: {m.radius_control}px; padding: {m.px(4)}px; }}
QToolButton:hover, QToolButton:checked {{ background: {p.raised}; }}
QToolButton:pressed {{ background: {p.accent_soft}; }}
QToolButton:focus {{ border: {ring}px solid {p.accent}; padding: {m.px(4) - give}px; }}
QToolButton::menu-indicator {{ image: none; }}
QToolButton[kind="primary"] {{ background: {p.accent}; border-color: {p.accent}; }}
QToolButton[kind="primary"]:focus {{ border-color: {p.text}; }}
QToolButton[kind="primary"]:disabled {{ background: {p.raised}; border-color: {p.raised}; }}
QPushButton[align="start"] {{ text-align: left; padding-left: {m.s}px; }}
QPushButton[align="start"]:focus {{ padding-left: {m.s - give}px; }}
QPushButton[align="flush"], QPushButton[align="flush"]:focus {{ text-align: left; padding-left: 0; }}
QCheckBox, QRadioButton {{ spacing: {m.s}px; background: transparent; border: {ring}px solid transparent;
  border-radius: {m.radius_control}px; }}
QCheckBox:focus, QRadioButton:focus {{ border-color: {p.accent}; }}
QCheckBox::indicator, QRadioButton::indicator {{
  width: {m.px(14)}px; height: {m.px(14)}px; border: 1px solid {p.muted}; background: {p.surface}; }}
QRadioButton::indicator {{ border-radius: {m.px(8)}px; }}
QCheckBox::indicator {{ border-radius: {m.px(3)}px; }}
QRadioButton::indicator:hover, QCheckBox::indicator:hover {{ border-color: {p.accent}; }}
QRadioButton::indicator:checked {{ border-color: {p.accent}; background: qradialgradient(
  cx:0.5, cy:0.5, radius:0.5, fx:0.5, fy:0.5,
  stop:0 {p.accent}, stop:0.5 {p.accent}, stop:0.6 {p.surface}, stop:1 {p.surface}); }}
QCheckBox::indicator:checked {{ background: {p.accent}; border-color: {p.accent}; }}
"""


def _inputs(p: Palette, m: Metrics) -> str:
    ring = m.focus_width
    give = ring - 1
    return f"""
QLineEdit, QSpinBox, QDoubleSpinBox, QComboBox, QPlainTextEdit, QTextEdit {{
  background: {p.surface}; color: {p.text}; border: 1px solid {p.line}; border-radius: {m.radius_control}px;
  padding: {m.px(4)}px {m.px(8)}px; placeholder-text-color: {p.muted};
  selection-background-color: {p.accent_soft}; selection-color: {p.text}; }}
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus, QPlainTextEdit:focus, QTextEdit:focus {{
  border: {ring}px solid {p.accent}; padding: {m.px(4) - give}px {m.px(8) - give}px; }}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled {{
  color: {p.muted}; background: {p.raised}; }}
QTextEdit[bare="true"], QPlainTextEdit[bare="true"], QTextBrowser[bare="true"] {{
  background: transparent; border: none; padding: 0; border-radius: 0; }}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {{
  subcontrol-origin: padding; width: {m.px(18)}px; border: none; background: transparent; }}
QComboBox::drop-down {{ border: none; width: {m.px(20)}px; }}
QComboBox QAbstractItemView {{
  background: {p.surface}; border: 1px solid {p.line}; selection-background-color: {p.raised};
  selection-color: {p.text}; outline: none; }}
QSlider::groove:horizontal {{ height: {m.px(4)}px; background: {p.line}; border-radius: {m.px(2)}px; }}
QSlider::sub-page:horizontal {{ background: {p.accent}; border-radius: {m.px(2)}px; }}
QSlider[mirrored="true"]::sub-page:horizontal {{ background: {p.line}; }}
QSlider[mirrored="true"]::add-page:horizontal {{ background: {p.accent}; border-radius: {m.px(2)}px; }}
QSlider::handle:horizontal {{
  background: {p.surface}; border: {ring}px solid {p.accent}; width: {m.px(12)}px; height: {m.px(12)}px;
  margin: -{m.px(6)}px 0; border-radius: {m.px(8)}px; }}
QSlider::handle:horizontal:focus {{ background: {p.accent}; border-color: {p.text}; }}
QSlider::handle:horizontal:disabled {{ border-color: {p.line}; }}
QSlider::sub-page:horizontal:disabled {{ background: {p.line}; }}
"""


def _lists(p: Palette, m: Metrics) -> str:
    return f"""
QAbstractItemView {{
  background: {p.surface}; alternate-background-color: {p.raised}; border: 1px solid {p.line};
  border-radius: {m.radius_card}px; outline: none; selection-background-color: {p.raised};
  selection-color: {p.text}; }}
QAbstractItemView:focus {{ border: {m.focus_width}px solid {p.accent}; }}
QAbstractItemView[list="side"] {{ background: transparent; border: none; border-radius: 0; }}
QAbstractItemView[list="side"]:focus {{ border: none; }}
QAbstractItemView::item {{ padding: {m.px(5)}px {m.px(8)}px; border: {m.focus_width}px solid transparent;
  border-radius: {m.radius_control}px; color: {p.text}; }}
QAbstractItemView::item:hover {{ background: {p.raised}; }}
QAbstractItemView::item:selected {{ background: {p.accent_soft}; color: {p.text}; }}
QAbstractItemView::item:focus {{ border: {m.focus_width}px solid {p.accent}; }}
QHeaderView::section {{
  background: {p.window}; color: {p.muted}; border: none; border-bottom: 1px solid {p.line};
  padding: {m.px(4)}px {m.px(8)}px; }}
"""


def _bars(p: Palette, m: Metrics) -> str:
    return f"""
QScrollBar:vertical {{ background: transparent; width: {m.px(12)}px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: {m.px(12)}px; margin: 0; }}
QScrollBar::handle {{ background: {p.line}; border-radius: {m.px(3)}px; margin: {m.px(3)}px; }}
QScrollBar[slim="true"]:horizontal {{ height: {m.px(8)}px; }}
QScrollBar[slim="true"]::handle {{ border-radius: {m.px(2)}px; margin: {m.px(2)}px; }}
QScrollBar[slim="true"]::handle:focus {{ background: {p.accent}; }}
QScrollBar::handle:disabled {{ background: transparent; }}
QScrollBar::handle:hover {{ background: {p.muted}; }}
QScrollBar::handle:vertical {{ min-height: {m.px(32)}px; }}
QScrollBar::handle:horizontal {{ min-width: {m.px(32)}px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; border: none; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QProgressBar {{ background: {p.line}; border: none; border-radius: {m.px(3)}px; max-height: {m.px(6)}px;
  min-height: {m.px(6)}px; }}
QProgressBar::chunk {{ background: {p.accent}; border-radius: {m.px(3)}px; }}
QProgressBar[tone="warn"]::chunk {{ background: {p.warn}; }}
QProgressBar[tone="danger"]::chunk {{ background: {p.danger}; }}
"""


def _menus(p: Palette, m: Metrics) -> str:
    return f"""
QMenu {{ background: {p.surface}; border: 1px solid {p.line}; border-radius: {m.radius_card}px;
  padding: {m.px(4)}px; }}
QMenu::item {{ padding: {m.px(6)}px {m.px(20)}px {m.px(6)}px {m.px(12)}px; border-radius: {m.radius_control}px; }}
QMenu::item:selected {{ background: {p.raised}; }}
QMenu::item:disabled {{ color: {p.muted}; }}
QMenu::separator {{ height: 1px; background: {p.line}; margin: {m.px(4)}px {m.px(8)}px; }}
QMenu::icon {{ padding-left: {m.px(8)}px; }}
QMenuBar {{ background: {p.window}; }}
QMenuBar::item {{ padding: {m.px(4)}px {m.px(8)}px; background: transparent; }}
QMenuBar::item:selected {{ background: {p.raised}; border-radius: {m.radius_control}px; }}
"""
