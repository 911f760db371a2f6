"""The colour roles of the product and their two sets of values. No other file names a colour."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["DARK", "HIGH_DARK", "HIGH_LIGHT", "LIGHT", "PALETTES", "TEXT_PAIRS", "Palette", "Role", "contrast"]

Role = Literal[
    "window", "surface", "raised", "line", "text", "muted", "accent", "on_accent", "accent_soft", "user_turn", "code",
    "ok", "warn", "danger", "link", "syntax_keyword", "syntax_string", "syntax_comment", "syntax_number",
    "syntax_name", "syntax_type",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they are for, as "#RRGGBB".

    `window` lies behind everything, `surface` is for cards, the composer and dialogs, `raised` for hover and selected
    rows, `line` for hairlines, `user_turn` for the person's messages, `code` for code blocks. `ok`, `warn` and `danger`
    never stand without a word or an icon. The `syntax_*` roles colour code and are read on `code`.
    """

    name: str
    dark: bool
    window: str
    surface: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    accent_soft: str
    user_turn: str
    code: str
    ok: str
    warn: str
    danger: str
    link: str
    syntax_keyword: str
    syntax_string: str
    syntax_comment: str
    syntax_number: str
    syntax_name: str
    syntax_type: str

    def value(self, role: Role) -> str:
        """The colour of a role, "#RRGGBB"."""
        return str(getattr(self, role))

    def roles(self) -> dict[str, str]:
        """Every role with its colour."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"name", "dark"}}


LIGHT = Palette(
    name="light",
    dark=False,
    window="#FAF8F5",
    surface="#FFFFFF",
    raised="#F3EFE9",
    line="#E2DBD1",
    text="#231F1A",
    muted="#6B6257",
    accent="#8A4F12",
    on_accent="#FFFFFF",
    accent_soft="#F6E8D6",
    user_turn="#F1E9DD",
    code="#F5F2EC",
    ok="#2E6B3A",
    warn="#8A5A00",
    danger="#A3271F",
    link="#1F5FA8",
    syntax_keyword="#7A3580",
    syntax_string="#2E6B3A",
    syntax_comment="#6B6257",
    syntax_number="#8A4F12",
    syntax_name="#1F5FA8",
    syntax_type="#13666B",
)

DARK = Palette(
    name="dark",
    dark=True,
    window="#1B1916",
    surface="#232019",
    raised="#2C2821",
    line="#3C372E",
    text="#EDE7DD",
    muted="#A89F91",
    accent="#E3A857",
    on_accent="#231A0C",
    accent_soft="#3D3020",
    user_turn="#332D23",
    code="#1F1C17",
    ok="#7CC48B",
    warn="#E0B354",
    danger="#F08A80",
    link="#8AB8F0",
    syntax_keyword="#D3A2DB",
    syntax_string="#9CCB9B",
    syntax_comment="#A89F91",
    syntax_number="#E3A857",
    syntax_name="#8AB8F0",
    syntax_type="#7FC9C4",
)

# High contrast: black and white, every text at 7:1 (WCAG AAA), every outline at 4.5:1 and more.
HIGH_LIGHT = Palette(
    name="high-light",
    dark=False,
    window="#FFFFFF",
    surface="#FFFFFF",
    raised="#F0F0F0",
    line="#595959",
    text="#000000",
    muted="#3A3A3A",
    accent="#6B3300",
    on_accent="#FFFFFF",
    accent_soft="#FFE6C2",
    user_turn="#F0F0F0",
    code="#F7F7F7",
    ok="#0B4A1B",
    warn="#5C3A00",
    danger="#8A0F0A",
    link="#003E8A",
    syntax_keyword="#6A0F7A",
    syntax_string="#0B4A1B",
    syntax_comment="#3A3A3A",
    syntax_number="#6B3300",
    syntax_name="#003E8A",
    syntax_type="#004A4F",
)

HIGH_DARK = Palette(
    name="high-dark",
    dark=True,
    window="#000000",
    surface="#000000",
    raised="#1C1C1C",
    line="#A6A6A6",
    text="#FFFFFF",
    muted="#D6D6D6",
    accent="#FFC266",
    on_accent="#000000",
    accent_soft="#3B2600",
    user_turn="#1C1C1C",
    code="#101010",
    ok="#8BE89C",
    warn="#FFD257",
    danger="#FFA79E",
    link="#9CCBFF",
    syntax_keyword="#EDB5F5",
    syntax_string="#A6E8A5",
    syntax_comment="#D6D6D6",
    syntax_number="#FFC266",
    syntax_name="#9CCBFF",
    syntax_type="#8CE6DF",
)

#: All of them, each of which must be readable.
PALETTES = (LIGHT, DARK, HIGH_LIGHT, HIGH_DARK)

_BACKGROUNDS: tuple[Role, ...] = ("window", "surface", "raised", "accent_soft", "user_turn", "code")
_SYNTAX: tuple[Role, ...] = (
    "syntax_keyword", "syntax_string", "syntax_comment", "syntax_number", "syntax_name", "syntax_type",
)  # fmt: skip

#: (foreground, background) of text as it is drawn somewhere; each must reach 4.5:1 in every palette.
TEXT_PAIRS: tuple[tuple[Role, Role], ...] = (
    *(("text", background) for background in _BACKGROUNDS),
    *(("muted", background) for background in _BACKGROUNDS),
    *(("link", background) for background in ("window", "surface", "raised", "user_turn")),
    *((role, background) for role in ("ok", "warn", "danger") for background in ("window", "surface", "raised")),
    *((role, "code") for role in _SYNTAX),
    ("accent", "window"),
    ("accent", "surface"),
    ("on_accent", "accent"),
)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG contrast of two "#RRGGBB" colours, 1..21."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
