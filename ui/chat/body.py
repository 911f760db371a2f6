"""The text of one message: read-only, as high as its content, selectable, with what belongs beside the text painted."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QMimeData, QPointF, QRect, QRectF, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QTextBlock,
    QTextCursor,
    QTextDocument,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QScrollBar, QSizePolicy, QTextBrowser, QTextEdit, QWidget

from ui.chat.code_buttons import CodeButtons
from ui.chat.code_scroll import CodeScroll
from ui.chat.guessed import guessed_spans, shades_in
from ui.chat.markdown import CodeBlock, MarkdownDocument, Span
from ui.chat.markdown.formula_object import OBJECT, with_formulas
from ui.chat.markdown.formulas import Wanted, formulas
from ui.chat.markdown.styles import CODE_HEADER, KIND, RULE, SPACER
from ui.chat.search_marks import marks_in
from ui.theme import color, metrics
from ui.widgets.dialogs import open_link

__all__ = ["MessageBody"]

#: One slice of colouring code. Two of them with their painting stay under the 16 ms of a frame.
_SLICE_S: Final = 0.006
_PAUSE_MS: Final = 10


class MessageBody(QTextBrowser):
    """Shows Markdown (`verbatim=False`) or text as typed.

    Its height follows its width and its content; whoever places it calls `fit` and listens to `height_changed`.

    Signals:
        height_changed: `fit` would give another height now.
        reveal_requested(QRectF): a part, in its own coordinates, that should be scrolled into view.
        wrap_requested(bool): long lines of code shall be broken, or go on, everywhere.
    """

    height_changed = Signal()
    reveal_requested = Signal(QRectF)
    wrap_requested = Signal(bool)

    def __init__(self, parent: QWidget | None = None, *, verbatim: bool = False, width: int = 0) -> None:
        super().__init__(parent)
        self._height = 0
        self._caret = False
        self._buttons: list[CodeButtons] = []
        self._scrolls: list[CodeScroll] = []  # of the blocks of code, while they are not wrapped
        self._colouring = QTimer(self)
        self._colouring.setSingleShot(True)
        self._colouring.setInterval(_PAUSE_MS)
        self._colouring.timeout.connect(self._colour_slice)

        self.setProperty("bare", True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
            | Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.viewport().setAutoFillBackground(False)
        self._marks: list[QTextEdit.ExtraSelection] = []  # what a search found
        self._shades: list[QTextEdit.ExtraSelection] = []  # what was guessed
        self.markdown = MarkdownDocument(self.document(), verbatim=verbatim)
        self.document().documentLayout().documentSizeChanged.connect(self._size_changed)
        # What is wide moves alone; the message as a whole does not.
        self.horizontalScrollBar().valueChanged.connect(lambda _value: self.horizontalScrollBar().setValue(0))
        self.cursorPositionChanged.connect(self._show_cursor)
        self.anchorClicked.connect(self._open)
        formulas().ready.connect(self._formula_ready)
        if width > 0:
            self._set_width(width)

    # content

    def set_source(self, text: str) -> None:
        """Shows another text."""
        self.markdown.set_source(text)
        self._after_change()

    def append(self, text: str) -> None:
        """Adds text at the end."""
        self.markdown.append(text)
        self._place_buttons(tail_only=True)
        self.viewport().update(self._tail_rect())

    def finish(self) -> None:
        """The text is complete."""
        self.markdown.finish()
        self.set_caret(False)
        self._after_change()

    def restyle(self) -> None:
        """Writes the text again in the colours and sizes in force."""
        self.markdown.restyle()
        self._after_change()

    def markdown_source(self) -> str:
        """The Markdown, exactly as given."""
        return self.markdown.source

    def mark_words(self, words: Sequence[str]) -> None:
        """Marks what a search found; none takes the marks away."""
        self._marks = marks_in(self.document(), words)
        self._show_marks()

    def shade(self, content: str, runs: Sequence[int]) -> None:
        """Shades what was guessed of the text; no runs take the shading away.

        Args:
            content: of the whole message, which the text is the end of.
            runs: see `guessed_spans`.
        """
        before = content.rfind(self.markdown.source) if runs else -1
        spans = [(max(begin - before, 0), end - before) for begin, end in guessed_spans(content, runs) if end > before]
        self._shades = shades_in(self.document(), self.markdown.source, spans) if before >= 0 else []
        self._show_marks()

    def _show_marks(self) -> None:
        if self._marks or self._shades or self.extraSelections():
            self.setExtraSelections([*self._shades, *self._marks])

    def plain_text(self, *, selection: bool = False) -> str:
        """All of the text as it reads, or (`selection`) what is selected of it, if anything is."""
        cursor = self.textCursor()
        if not (selection and cursor.hasSelection()):
            cursor = QTextCursor(self.document())
            cursor.select(QTextCursor.SelectionType.Document)
        return _selected_text(self.document(), cursor, self.markdown)

    def set_caret(self, shown: bool) -> None:
        """The thin caret behind the last character, while an answer streams."""
        if shown != self._caret:
            self._caret = shown
            self.viewport().update()

    def finish_colours(self) -> None:
        """Colours all code now, for a screenshot or a print."""
        while not self.markdown.highlight(1.0, wait=True):
            pass

    def _after_change(self) -> None:
        self._place_buttons()
        self._colour_slice()
        self.viewport().update()

    def _formula_ready(self, wanted: Wanted) -> None:
        since = self.markdown.formula_ready(wanted)
        if since >= 0:
            self._place_buttons(since=since)
            self.viewport().update()

    def _colour_slice(self) -> None:
        if not self.markdown.highlight(_SLICE_S):
            self._colouring.start()

    # geometry

    def fit(self, width: int) -> int:
        """Takes a width in pixels and returns the height that the text then needs."""
        same_width = self.document().textWidth() == width
        self._set_width(width)
        self._height = self._needed()
        if self.height() != self._height:
            self.resize(width, self._height)
            self.viewport().resize(width, self._height)
        self._place_buttons(tail_only=same_width)
        return self._height

    def _set_width(self, width: int) -> None:
        if self.width() != width or self.viewport().width() != width:
            self.resize(width, self.height())
            # A widget that is not shown yet gets no resize event, and would lay its text out at the width that a
            # new widget has, only to do it again when it is shown.
            self.viewport().resize(width, self.height())
        if self.document().textWidth() != width:
            self.document().setTextWidth(width)

    def sizeHint(self) -> QSize:
        return QSize(self.width(), self._height)

    def minimumSizeHint(self) -> QSize:
        return QSize(0, 0)

    def _needed(self) -> int:
        height = math.ceil(self.document().size().height())
        codes = self.markdown.codes
        # The area behind code ends below its last line.
        if codes and (codes[-1].last < 0 or codes[-1].last == self.document().lastBlock().position()):
            height += metrics.s
        return height

    def _size_changed(self) -> None:
        if self._needed() != self._height:
            self.height_changed.emit()

    def _code_rect(self, code: CodeBlock) -> QRectF:
        header = self.document().findBlock(code.header)
        last = self.document().findBlock(code.last) if code.last >= 0 else self.document().lastBlock()
        layout = self.document().documentLayout()
        top = header.layout().position().y()
        lines = last.layout()
        bottom = lines.position().y() + lines.boundingRect().height() + metrics.s
        if last == header:
            bottom = layout.blockBoundingRect(header).bottom()
        left = code.indent * self.document().indentWidth()
        return QRectF(left, top, self.viewport().width() - left, bottom - top)

    def _tail_rect(self) -> QRect:
        top = int(self.document().lastBlock().layout().position().y())
        return QRect(0, top, self.width(), self.height())

    # painting

    def paintEvent(self, event: QPaintEvent) -> None:
        area = QRectF(event.rect())
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        # A place in the text just above what is painted: what ends before it is passed over by its position alone.
        # Asked for their rectangles, the code areas of a 20,000-token answer made its last tenth 1.4 times as dear.
        layout = self.document().documentLayout()
        start = layout.hitTest(QPointF(0, max(0.0, area.top() - 40)), Qt.HitTestAccuracy.FuzzyHit)
        self._paint_code_areas(painter, area, start)
        self._paint_spans(painter, area, start)
        painter.end()
        moved = self._move_code(area)
        super().paintEvent(event)
        painter = QPainter(self.viewport())
        if moved:
            self._paint_edges(painter, moved)
            self._paint_spans(painter, area, start)
        self._paint_markers(painter, area, start)
        if self._caret:
            self._paint_caret(painter)
        painter.end()

    def _paint_code_areas(self, painter: QPainter, area: QRectF, start: int) -> None:
        line = QPen(color("line"), 1)
        codes = self.markdown.codes
        first = bisect.bisect_right(codes, start, key=lambda code: code.header)
        for code in codes[max(0, first - 2) :]:
            rect = self._code_rect(code).adjusted(0.5, 0.5, -0.5, -0.5)
            if rect.bottom() < area.top():
                continue
            if rect.top() > area.bottom():
                break
            painter.setPen(line)
            painter.setBrush(color("code"))
            painter.drawRoundedRect(rect, metrics.radius_card, metrics.radius_card)

    def _move_code(self, area: QRectF) -> list[QRectF]:
        """Puts the lines of code that are in `area` where their bars say; returns the blocks with such lines."""
        moved = []
        for scroll in self._scrolls:
            if scroll.code is not None and scroll.bar.maximum() > 0:
                rect = self._code_rect(scroll.code)
                if rect.intersects(area):
                    scroll.apply(rect.intersected(area))
                    moved.append(rect)
        return moved

    def _paint_edges(self, painter: QPainter, moved: Sequence[QRectF]) -> None:
        """Covers what stands beside its block after it was moved."""
        for rect in moved:
            below = rect.adjusted(0, self.markdown.header_height + 1, 0, -metrics.s)
            inside = below.adjusted(1, 0, -1, 0)
            for edge in (inside.left(), inside.right() - metrics.m):
                painter.fillRect(QRectF(edge, below.top(), metrics.m, below.height()), color("code"))
            painter.fillRect(QRectF(0, below.top(), below.left(), below.height()), color("window"))
            for edge in (rect.left(), rect.right() - 1):
                painter.fillRect(QRectF(edge, below.top(), 1, below.height()), color("line"))

    def _paint_spans(self, painter: QPainter, area: QRectF, start: int) -> None:
        for span in self.markdown.spans:
            if span.end < start - 2:
                continue
            first = self.document().findBlock(span.start)
            last = self.document().findBlock(span.end) if span.end != span.start else first
            top = _top(first)
            bottom = _bottom(last)
            if bottom < area.top() or top > area.bottom():
                continue
            self._paint_span(painter, span, first, top, bottom)

    def _paint_span(self, painter: QPainter, span: Span, first: QTextBlock, top: float, bottom: float) -> None:
        unit = self.document().indentWidth()
        width = self.viewport().width()
        rtl = first.textDirection() == Qt.LayoutDirection.RightToLeft
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color("line"))
        if span.kind == "rule":
            x = 0 if rtl else span.indent * unit
            y = round(first.layout().position().y()) + 1
            painter.drawRect(QRectF(x, y, width - span.indent * unit, 1))
            return
        bar = metrics.px(3)
        left = span.indent * unit + metrics.px(4)
        painter.drawRoundedRect(QRectF(width - left - bar if rtl else left, top, bar, bottom - top), 1, 1)

    def _paint_markers(self, painter: QPainter, area: QRectF, start: int) -> None:
        markers = self.markdown.markers
        if not markers:
            return
        index = bisect.bisect_left(markers, start - 2, key=lambda m: m.position)
        font = metrics.font("body")
        measure = QFontMetricsF(font)
        painter.setFont(font)
        painter.setPen(color("muted"))
        for marker in markers[max(0, index - 1) :]:
            block = self.document().findBlock(marker.position)
            text = block.layout()
            if text.lineCount() == 0:
                continue
            line = text.lineAt(0)
            top = text.position().y() + line.y()
            if top > area.bottom():
                break
            baseline = top + line.ascent()
            gap = metrics.px(7)
            if block.textDirection() == Qt.LayoutDirection.RightToLeft:
                x = text.position().x() + line.x() + line.width() + gap
            else:
                x = text.position().x() + line.x() - gap - measure.horizontalAdvance(marker.text)
            painter.drawText(QPointF(x, baseline), marker.text)

    def _paint_caret(self, painter: QPainter) -> None:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        rect = self.cursorRect(cursor)
        height = min(rect.height(), metrics.px(18))
        painter.fillRect(QRectF(rect.left() + 1, rect.bottom() - height, metrics.px(2), height), color("accent"))

    # code buttons

    def _place_buttons(self, *, since: int = 0, tail_only: bool = False) -> None:
        """Puts buttons on every code block; only what lies behind the position `since`, or the end, has moved."""
        codes = self.markdown.codes
        while len(self._buttons) < len(codes):
            self._buttons.append(CodeButtons(self.viewport()))
            self._buttons[-1].wrap.clicked.connect(self.wrap_requested)
        first = len(codes) - 2 if tail_only else bisect.bisect_left(codes, since, key=lambda code: code.header) - 1
        first = max(0, first)
        for i, buttons in enumerate(self._buttons[first:], first):
            if i >= len(codes):
                buttons.hide()
                continue
            buttons.serve(codes[i])
            buttons.place(self._code_rect(codes[i]), self.markdown.header_height)
        self._place_scrolls(first, grown=tail_only)

    def _place_scrolls(self, first: int, *, grown: bool) -> None:
        codes = [] if metrics.wrap_code else self.markdown.codes
        while len(self._scrolls) < len(codes):
            scroll = CodeScroll(self.document(), self.viewport())
            scroll.bar.valueChanged.connect(self.viewport().update)
            self._scrolls.append(scroll)
        for i, scroll in enumerate(self._scrolls[first:], first):
            if i >= len(codes):
                scroll.hide()
                continue
            scroll.serve(codes[i])
            scroll.place(self._code_rect(codes[i]), grown=grown)

    def code_scroll_bars(self) -> list[QScrollBar]:
        """The bars under code that is wider than its place, first to last."""
        return [scroll.bar for scroll in self._scrolls if not scroll.bar.isHidden()]

    def _scroll_at(self, y: float) -> CodeScroll | None:
        """What moves the code at a height, where it can be moved."""
        for scroll in self._scrolls:
            if scroll.code is not None and scroll.bar.maximum() > 0:
                rect = self._code_rect(scroll.code)
                if rect.top() <= y <= rect.bottom():
                    return scroll
        return None

    def _show_cursor(self) -> None:
        if not self.hasFocus():
            return
        scroll = self._scroll_at(self.cursorRect().center().y())
        if scroll is not None:
            scroll.show(self.textCursor().position())
            self.viewport().update()

    def code_buttons(self) -> list[QWidget]:
        """The buttons that copy a code block, first to last."""
        return [buttons.copy for buttons in self._buttons[: len(self.markdown.codes)]]

    def code_focus_order(self) -> list[QWidget]:
        """All buttons on code, as Tab goes through them."""
        shown = self._buttons[: len(self.markdown.codes)]
        found: list[QWidget] = []
        for i, buttons in enumerate(shown):
            found += buttons.all()
            if i < len(self._scrolls) and not self._scrolls[i].bar.isHidden():
                found.append(self._scrolls[i].bar)
        return found

    # behaviour

    def createMimeDataFromSelection(self) -> QMimeData:
        # Plain text only. The language line of a code block is not part of the code, and list items keep their marks.
        data = QMimeData()
        data.setText(_selected_text(self.document(), self.textCursor(), self.markdown))
        return data

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        # Nothing is ever loaded: no picture, no style sheet, from no address.
        del kind, name
        return None

    def wheelEvent(self, event: QWheelEvent) -> None:
        sideways = event.pixelDelta().x() or event.angleDelta().x()
        if not sideways and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            sideways = event.angleDelta().y()
        scroll = self._scroll_at(event.position().y()) if abs(sideways) > abs(event.angleDelta().y()) / 2 else None
        if scroll is None:
            event.ignore()  # the conversation scrolls, not the message
            return
        scroll.bar.setValue(scroll.bar.value() - sideways)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        if event.buttons() & Qt.MouseButton.LeftButton and self.textCursor().hasSelection():
            self.reveal_requested.emit(QRectF(0, event.position().y() - 8, 1, 16))

    def focusNextPrevChild(self, forward: bool) -> bool:
        moved = super().focusNextPrevChild(forward)
        cursor = self.textCursor()
        if moved and cursor.hasSelection():
            self.reveal_requested.emit(QRectF(self.cursorRect(cursor)))
        return moved

    def _open(self, url: QUrl) -> None:
        open_link(self, bytes(url.toEncoded().data()).decode("ascii", "replace"))


def _top(block: QTextBlock) -> float:
    layout = block.layout()
    return layout.position().y() + (layout.lineAt(0).y() if layout.lineCount() else 0)


def _bottom(block: QTextBlock) -> float:
    layout = block.layout()
    return layout.position().y() + layout.boundingRect().bottom()


def _selected_text(document: QTextDocument, cursor: QTextCursor, markdown: MarkdownDocument) -> str:
    """The selection as plain text, block by block."""
    start, end = cursor.selectionStart(), cursor.selectionEnd()
    marks = {marker.position: marker.text for marker in markdown.markers}
    lines: list[str] = []
    block = document.findBlock(start)
    while block.isValid() and block.position() <= end:
        kind = block.blockFormat().intProperty(KIND)
        if kind not in (CODE_HEADER, SPACER):
            # Positions count UTF-16 units, of two bytes each.
            units = block.text().encode("utf-16-le")
            first = max(0, start - block.position())
            piece = units[first * 2 : (end - block.position()) * 2].decode("utf-16-le", "replace")
            if OBJECT in piece:
                piece = with_formulas(block, first, piece)
            if kind == RULE:
                piece = "---"
            if first == 0 and block.position() in marks:
                piece = f"{_plain_mark(marks[block.position()])} {piece}"
            lines.append(piece.replace("\u2028", "\n").replace("\xa0", " "))
        block = block.next()
    return "\n".join(lines)


def _plain_mark(mark: str) -> str:
    return mark if mark[:1].isdigit() else "-"
