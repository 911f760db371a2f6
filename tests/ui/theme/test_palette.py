from __future__ import annotations

import re

import pytest

from ui.theme import DARK, HIGH_DARK, HIGH_LIGHT, LIGHT, PALETTES, TEXT_PAIRS, Palette, contrast, metrics
from ui.theme.stylesheet import build_stylesheet

#: light, dark: the table of the design
DESIGN = {
    "window": ("#FAF8F5", "#1B1916"),
    "surface": ("#FFFFFF", "#232019"),
    "raised": ("#F3EFE9", "#2C2821"),
    "line": ("#E2DBD1", "#3C372E"),
    "text": ("#231F1A", "#EDE7DD"),
    "muted": ("#6B6257", "#A89F91"),
    "accent": ("#8A4F12", "#E3A857"),
    "on_accent": ("#FFFFFF", "#231A0C"),
    "accent_soft": ("#F6E8D6", "#3D3020"),
    "user_turn": ("#F1E9DD", "#332D23"),
    "code": ("#F5F2EC", "#1F1C17"),
    "ok": ("#2E6B3A", "#7CC48B"),
    "warn": ("#8A5A00", "#E0B354"),
    "danger": ("#A3271F", "#F08A80"),
    "link": ("#1F5FA8", "#8AB8F0"),
}


@pytest.mark.parametrize("role", DESIGN)
def test_roles_have_the_colours_of_the_design(role: str) -> None:
    assert (getattr(LIGHT, role), getattr(DARK, role)) == DESIGN[role]


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert contrast("#FFFFFF", "#777777") == contrast("#777777", "#FFFFFF")


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_all_text_reaches_aa(palette: Palette) -> None:
    short = {
        (front, back): round(contrast(palette.value(front), palette.value(back)), 2)
        for front, back in TEXT_PAIRS
        if contrast(palette.value(front), palette.value(back)) < 4.5
    }
    assert not short


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_the_focus_ring_stands_out_from_what_it_surrounds(palette: Palette) -> None:
    for back in ("window", "surface", "raised"):
        assert contrast(palette.accent, palette.value(back)) >= 3  # WCAG 1.4.11, non-text contrast
    assert contrast(palette.text, palette.accent) >= 1.5  # the ring of an accent button is drawn in the text colour


@pytest.mark.parametrize("palette", [HIGH_LIGHT, HIGH_DARK], ids=lambda p: p.name)
def test_high_contrast_is_high(palette: Palette) -> None:
    short = {
        (front, back): round(contrast(palette.value(front), palette.value(back)), 2)
        for front, back in TEXT_PAIRS
        if contrast(palette.value(front), palette.value(back)) < 7
    }
    assert not short
    for back in ("window", "surface", "raised"):
        assert contrast(palette.line, palette.value(back)) >= 4.5  # outlines are seen too
    assert contrast(palette.text, palette.window) == pytest.approx(21)


def test_all_palettes_fill_every_role_of_each_pair() -> None:
    roles = {role for pair in TEXT_PAIRS for role in pair}
    for palette in PALETTES:
        assert roles <= set(palette.roles())
        assert set(palette.roles()) == set(LIGHT.roles())
    assert len({palette.name for palette in PALETTES}) == len(PALETTES)


def test_every_pair_that_the_stylesheet_puts_together_is_checked() -> None:
    """With role names in the place of colours, so that each rule says which roles it puts on each other."""
    names = Palette(name="names", dark=False, **{role: f"@{role}" for role in LIGHT.roles()})
    sheet = build_stylesheet(names, metrics, dict.fromkeys(("check", "dot", "down", "up"), ""))
    pairs = set()
    for rule in re.findall(r"{(.*?)}", sheet, re.DOTALL):
        for front, back in (("color", "background"), ("selection-color", "selection-background-color")):
            text = re.search(rf"(?:^|[;\s]){front}:\s*@(\w+)", rule)
            behind = re.search(rf"(?:^|[;\s]){back}:\s*@(\w+)", rule)
            if text and behind:
                pairs.add((text[1], behind[1]))
    assert len(pairs) >= 6
    assert pairs <= set(TEXT_PAIRS), pairs - set(TEXT_PAIRS)
