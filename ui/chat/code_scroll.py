"""Code that is not wrapped moves sideways under a bar of its own, while the message around it stays."""

from __future__ import annotations

import math
from typing import Final, cast

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QTextBlock, QTextDocument
from PySide6.QtWidgets import QScrollBar, QWidget

from ui.chat.markdown import CodeBlock
from ui.theme import metrics

__all__ = ["CodeScroll"]

_STEP: Final = 40  # pixels at 100 % for an arrow key
#: Lines whose widths are taken at most; a message shows no more of them anyway.
_MOST_LINES: Final = 10_000


class CodeScroll:
    """The bar of one block of code, and where its lines stand.

    QTextDocument lays lines out at the left edge; a line that was moved stays there until its block is laid out again,
    which colouring and a new width do. So lines are moved by who paints them, each time: `apply` costs 2 us a line.
    """

    def __init__(self, document: QTextDocument, parent: QWidget) -> None:
        self._document = document
        self._code: CodeBlock | None = None
        self._measured = -1  # position of the last block whose width is known
        self._widest = 0.0
        self.bar = QScrollBar(Qt.Orientation.Horizontal, parent)
        self.bar.setProperty("slim", True)
        self.bar.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.bar.setAccessibleName(self.bar.tr("Move the code sideways"))
        self.bar.setCursor(Qt.CursorShape.ArrowCursor)
        self.bar.hide()

    @property
    def code(self) -> CodeBlock | None:
        """What it moves."""
        return self._code

    def serve(self, code: CodeBlock) -> None:
        """Stand under this block, whose lines may be other ones than before."""
        if self._code is not code:
            self._measured = -1
            self.bar.setValue(0)
        self._code = code

    def place(self, area: QRectF, *, grown: bool = False) -> None:
        """The bar goes to the lower edge of the block's `area`, where lines are wider than that.

        Args:
            area: of the block with its header, in pixels of the text.
            grown: text was added at the end and nothing else has changed.
        """
        self._measure(anew=not grown)
        room = area.width() - 2 * metrics.m
        longest = max(0, math.ceil(self._widest - room))
        self.bar.setRange(0, longest)
        self.bar.setPageStep(max(1, int(room)))
        self.bar.setSingleStep(metrics.px(_STEP))
        height = self.bar.sizeHint().height()
        self.bar.setGeometry(int(area.left()) + 1, int(area.bottom()) - height, int(area.width()) - 2, height)
        self.bar.setVisible(longest > 0)

    def hide(self) -> None:
        """There is nothing to move any more."""
        self._code = None
        self._measured = -1
        self.bar.hide()

    def apply(self, area: QRectF) -> None:
        """Moves the lines that are to be painted in `area`."""
        if self._code is None or self.bar.maximum() == 0:
            return
        block = self._document.findBlock(self._code.first)
        start = self._document.documentLayout().hitTest(QPointF(0, area.top()), Qt.HitTestAccuracy.FuzzyHit)
        if start > self._code.first:
            block = self._document.findBlock(start)
        left = self._rest(block) - self.bar.value()
        while block.isValid() and not self._behind(block) and block.layout().position().y() <= area.bottom():
            line = block.layout().lineAt(0)
            if line.isValid() and line.x() != left:
                line.setPosition(QPointF(left, line.y()))
            block = block.next()

    def show(self, position: int) -> None:
        """Moves the code so that the cursor can be seen there."""
        block = self._document.findBlock(position)
        line = block.layout().lineAt(0)
        if not line.isValid():
            return
        rest = self._rest(block)
        line.setPosition(QPointF(rest, line.y()))  # left of 0, Qt says 0; the next paint moves the line back
        # the stub says `object`: PySide gives the place and the character
        place = cast("tuple[float, int]", line.cursorToX(position - block.position()))[0] - rest
        low, room = self.bar.value(), self.bar.pageStep()
        self.bar.setValue(math.floor(place) if place < low else math.ceil(max(place - room, low)))

    def _rest(self, block: QTextBlock) -> float:
        look = block.blockFormat()
        return look.leftMargin() + look.indent() * self._document.indentWidth()

    def _measure(self, *, anew: bool) -> None:
        if self._code is None or self._code.first < 0:
            self._widest = 0.0
            return
        if anew or self._measured < self._code.first:
            self._measured, self._widest = self._code.first, 0.0
        block = self._document.findBlock(self._measured)
        for _ in range(_MOST_LINES):
            if not block.isValid() or self._behind(block):
                break
            line = block.layout().lineAt(0)
            if line.isValid():
                self._widest = max(self._widest, line.naturalTextWidth())
            self._measured = block.position()  # the last one may still grow: it is measured again
            block = block.next()

    def _behind(self, block: QTextBlock) -> bool:
        return self._code is not None and 0 <= self._code.last < block.position()
