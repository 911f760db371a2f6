"""Spacing, radii, type and motion: the numbers of the visual language, at the current zoom."""

from __future__ import annotations

from typing import Final, Literal

from PySide6.QtGui import QFont, QFontDatabase, QFontMetricsF

__all__ = ["FontRole", "Metrics", "metrics"]

FontRole = Literal["body", "control", "secondary", "title", "heading", "code"]

#: role -> (pixels at 100 %, weight)
_FONTS: Final[dict[str, tuple[int, QFont.Weight]]] = {
    "body": (14, QFont.Weight.Normal),
    "control": (13, QFont.Weight.Normal),
    "secondary": (12, QFont.Weight.Normal),
    "title": (20, QFont.Weight.DemiBold),
    "heading": (14, QFont.Weight.DemiBold),
    "code": (13, QFont.Weight.Normal),
}


class Metrics:
    """Lengths are logical pixels, already scaled by `zoom` (1.0 = 100 %).

    One instance, `metrics`, is shared; `apply_theme` sets its `zoom`, `reduced_motion` and `wrap_code`.
    """

    zoom: float = 1.0
    reduced_motion: bool = False
    #: lines of code that are too long are broken; else they go on and are moved sideways
    wrap_code: bool = True

    #: line height of body text, in per cent of the font's own
    line_height_pct: int = 155
    #: longest line of a message, in average characters of the body font
    measure_chars: int = 76

    def px(self, pixels: float) -> int:
        """`pixels` at 100 % as whole pixels at the current zoom, at least 1 for anything above 0."""
        return max(1, round(pixels * self.zoom)) if pixels > 0 else 0

    @property
    def xs(self) -> int:
        """4 px: between an icon and its word."""
        return self.px(4)

    @property
    def s(self) -> int:
        """8 px: inside controls and between them."""
        return self.px(8)

    @property
    def m(self) -> int:
        """12 px: inside cards."""
        return self.px(12)

    @property
    def l(self) -> int:  # noqa: E743 - a step of the scale xs s m l xl xxl
        """16 px: between groups."""
        return self.px(16)

    @property
    def xl(self) -> int:
        """24 px: between messages."""
        return self.px(24)

    @property
    def xxl(self) -> int:
        """32 px: around pages."""
        return self.px(32)

    @property
    def radius_control(self) -> int:
        """6 px."""
        return self.px(6)

    @property
    def radius_card(self) -> int:
        """8 px."""
        return self.px(8)

    @property
    def radius_composer(self) -> int:
        """12 px."""
        return self.px(12)

    @property
    def icon(self) -> int:
        """18 px: side of an icon."""
        return self.px(18)

    @property
    def focus_width(self) -> int:
        """2 px: width of the focus ring."""
        return self.px(2)

    @property
    def motion_ms(self) -> int:
        """Length of an animation, 0 when motion is switched off."""
        return 0 if self.reduced_motion else 120

    def font_px(self, role: FontRole) -> int:
        """Size of a type role in pixels."""
        return self.px(_FONTS[role][0])

    def font(self, role: FontRole) -> QFont:
        """The system's own face at the size and weight of a type role. A copy: free to change."""
        kind = QFontDatabase.SystemFont.FixedFont if role == "code" else QFontDatabase.SystemFont.GeneralFont
        font = QFontDatabase.systemFont(kind)
        font.setPixelSize(self.font_px(role))
        font.setWeight(_FONTS[role][1])
        if role == "code":
            font.setStyleHint(QFont.StyleHint.Monospace)
        return font

    def measure_width(self) -> int:
        """Pixels of a line of `measure_chars` characters of body text, by the width that its letters have on average.

        The font's own average covers every glyph it has and is too narrow for a text; half a line of prose is nearer.
        """
        sample = "the quick brown fox jumps over the lazy dog, "
        return round(QFontMetricsF(self.font("body")).horizontalAdvance(sample) / len(sample) * self.measure_chars)


metrics = Metrics()
