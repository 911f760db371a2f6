"""What a model thought before it answered: one line that says for how long, and the text under it when wanted."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from ui.chat import words
from ui.chat.body import MessageBody
from ui.theme import bind_icon, color, metrics
from ui.widgets.buttons import HoverButton

__all__ = ["ThinkingFold"]


class ThinkingFold(QWidget):
    """Folded at first. Its place and size are given: `arrange` takes a width and answers with its height.

    Signals:
        height_changed: `arrange` would answer otherwise now.
        reveal_requested(QRectF): a part that should be scrolled into view.
        wrap_requested(bool): see `MessageBody`.
    """

    height_changed = Signal()
    reveal_requested = Signal(QRectF)
    wrap_requested = Signal(bool)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._text = ""
        self._thinking = False
        self._seconds = 0.0
        self.button = HoverButton("", self, icon="chevron-right")
        self.button.setCheckable(True)
        self.button.setProperty("align", "start")
        self.button.toggled.connect(self._fold)
        self.body: MessageBody | None = None
        self._say()

    def set_text(self, text: str) -> None:
        """The thought so far; where it only grows, what is shown is kept."""
        before, self._text = self._text, text
        if self.body is None or text == before:
            return
        if text.startswith(before):
            self.body.append(text[len(before) :])
            self.height_changed.emit()
        else:
            self.body.set_source(text)

    def set_state(self, *, thinking: bool, seconds: float) -> None:
        """Whether it is still being thought, and for how long (0: not known)."""
        ended = self._thinking and not thinking
        self._thinking, self._seconds = thinking, seconds
        if ended and self.body is not None:
            self.body.finish()
        self._say()

    def text(self) -> str:
        """The thought."""
        return self._text

    def is_open(self) -> bool:
        """Whether the text is shown."""
        return self.button.isChecked()

    def focus_order(self) -> list[QWidget]:
        """What Tab reaches in it."""
        if self.body is None or not self.is_open():
            return [self.button]
        return [self.button, self.body, *self.body.code_focus_order()]

    def restyle(self) -> None:
        """The theme or the zoom changed."""
        if self.body is not None:
            self.body.restyle()

    def arrange(self, width: int) -> int:
        """Lays itself out in `width` pixels; returns its height."""
        hint = self.button.sizeHint()
        left = width - hint.width() if self.isRightToLeft() else 0
        self.button.setGeometry(left, 0, min(width, hint.width()), hint.height())
        height = hint.height()
        if self.is_open() and self.body is not None:
            indent = self._indent()
            inside = self.body.fit(width - indent)
            self.body.move(0 if self.isRightToLeft() else indent, height + metrics.xs)
            height += inside + metrics.xs
        return height + metrics.s

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.is_open() or self.body is None:
            return
        painter = QPainter(self)
        x = self.width() - metrics.px(7) if self.isRightToLeft() else metrics.px(4)
        painter.fillRect(QRectF(x, self.body.y(), metrics.px(3), self.body.height()), color("line"))

    @staticmethod
    def _indent() -> int:
        return metrics.px(22)

    def _fold(self, opened: bool) -> None:
        bind_icon(self.button, "chevron-down" if opened else "chevron-right", "muted")
        if opened and self.body is None:
            self.body = MessageBody(self)
            self.body.setAccessibleName(self.tr("Thoughts"))
            self.body.height_changed.connect(self.height_changed)
            self.body.reveal_requested.connect(self._reveal)
            self.body.wrap_requested.connect(self.wrap_requested)
            self.body.set_source(self._text)
        if self.body is not None:
            self.body.setVisible(opened)
        self.height_changed.emit()
        self.update()

    def _reveal(self, rect: QRectF) -> None:
        if self.body is not None:
            self.reveal_requested.emit(rect.translated(self.body.pos().toPointF()))

    def _say(self) -> None:
        if self._thinking:
            text = self.tr("Thinking…")
            if self._seconds >= 1:
                text = self.tr("Thinking for {0}…").format(words.seconds(float(int(self._seconds))))
        elif self._seconds > 0:
            text = self.tr("Thought for {0}").format(words.seconds(self._seconds))
        else:
            text = self.tr("Thoughts")
        if self.button.text() != text:
            self.button.setText(text)
            self.button.setAccessibleName(text)
            self.height_changed.emit()
