"""A formula as one character of a QTextDocument: its format, its measures, its painting."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from PySide6.QtCore import QRect, QRectF, QSizeF, Qt
from PySide6.QtGui import (
    QFont,
    QFontMetricsF,
    QPainter,
    QPyTextObject,
    QTextBlock,
    QTextCharFormat,
    QTextDocument,
    QTextFormat,
)

from ui.chat.markdown.formulas import Formula, Wanted, formulas
from ui.theme import metrics

__all__ = ["FORMULA", "OBJECT", "formula_format", "formula_painter", "wanted_of", "with_formulas"]

#: QTextCharFormat object type of a formula; U+FFFC is its character, which `sanitise` lets no text have
FORMULA: Final = QTextFormat.ObjectTypes.UserObject.value + 1
OBJECT: Final = "\ufffc"
_LATEX: Final = QTextFormat.Property.UserProperty.value + 11
_DISPLAY: Final = _LATEX + 1
_PIXELS: Final = _LATEX + 2
_LEAST_SCALE: Final = 0.45  # of a formula that is wider than the text; beyond, it is cut


def formula_format(base: QTextCharFormat, latex: str, *, display: bool) -> QTextCharFormat:
    """The format of a formula among text of format `base`, made ready for what is known of its drawing."""
    made = QTextCharFormat(base)
    made.setObjectType(FORMULA)
    made.setProperty(_LATEX, latex)
    made.setProperty(_DISPLAY, display)
    # a formula's own font says how far it hangs, not how large it is
    made.setProperty(_PIXELS, base.intProperty(_PIXELS) or base.font().pixelSize())
    made.setVerticalAlignment(QTextCharFormat.VerticalAlignment.AlignBaseline)
    made.setToolTip(latex[:500])
    formula = formulas().get(wanted_of(made))
    font = QFont(metrics.font("body"))
    if formula is not None:
        # Qt lets an object hang below the line by the descent of its format's font: one with the right descent is set.
        font.setPixelSize(max(1, round(formula.depth / _descent())))
    made.setFont(font)
    return made


def wanted_of(form: QTextFormat) -> Wanted:
    """What a formula's format stands for."""
    char = form.toCharFormat()
    return Wanted(
        str(form.property(_LATEX)),
        bool(form.property(_DISPLAY)),
        int(form.property(_PIXELS) or 14),
        char.foreground().color().name(),
    )


def with_formulas(block: QTextBlock, start: int, piece: str) -> str:
    """`piece`, the text of a block from its character `start` on, with LaTeX in dollars for each formula."""
    found: list[str] = []
    at = block.begin()
    while not at.atEnd():
        part = at.fragment()
        if part.charFormat().objectType() == FORMULA:
            mark = "$$" if part.charFormat().boolProperty(_DISPLAY) else "$"
            # Formulas of one format that stand together are one fragment.
            skipped = max(0, block.position() + start - part.position())
            found += [f"{mark}{part.charFormat().stringProperty(_LATEX)}{mark}"] * max(0, part.length() - skipped)
        at += 1
    pieces = piece.split(OBJECT)
    return "".join(text + latex for text, latex in zip(pieces, [*found, *[""] * len(pieces)], strict=False))


@lru_cache(maxsize=1)
def _descent() -> float:
    """Descent of the body font, in parts of its pixel size."""
    font = QFont(metrics.font("body"))
    font.setPixelSize(100)
    return QFontMetricsF(font).descent() / 100


class _FormulaPainter(QPyTextObject):
    """Tells Qt how large a formula is, and paints it."""

    def intrinsicSize(self, document: QTextDocument, position: int, form: QTextFormat) -> QSizeF:
        del position
        wanted = wanted_of(form)
        formula = formulas().get(wanted)
        descent = QFontMetricsF(form.toCharFormat().font()).descent()
        if formula is None:
            # About the size that it will have: nine of ten lines then stay where they are.
            letters = min(len(wanted.latex), 60)
            return QSizeF(letters * wanted.pixels * 0.3 + 4, wanted.pixels * (2.2 if wanted.display else 1.2))
        scale = _scale(formula, document)
        return QSizeF(formula.width * scale, formula.ascent * scale + descent)

    def drawObject(
        self, painter: QPainter, rect: QRectF | QRect, document: QTextDocument, position: int, form: QTextFormat
    ) -> None:
        del position
        wanted = wanted_of(form)
        formula = formulas().get(wanted)
        if formula is None:
            painter.setFont(metrics.font("secondary"))
            text = painter.fontMetrics().elidedText(wanted.latex, Qt.TextElideMode.ElideRight, int(rect.width()))
            painter.drawText(rect, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
            return
        scale = _scale(formula, document)
        size = QSizeF(formula.width * scale, (formula.ascent + formula.depth) * scale)
        formula.renderer().render(painter, QRectF(QRectF(rect).topLeft(), size))


def _scale(formula: Formula, document: QTextDocument) -> float:
    room = document.textWidth() - 8
    return max(_LEAST_SCALE, room / formula.width) if 0 < room < formula.width else 1.0


@lru_cache(maxsize=1)
def formula_painter() -> QPyTextObject:
    """The one for all documents."""
    return _FormulaPainter()
