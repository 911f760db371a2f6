"""Where a message is typed: grows with its text, Enter sends, Send and Stop share one place."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QInputMethodEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QSizePolicy, QVBoxLayout, QWidget

from ui.theme import color, metrics, theme_changed
from ui.widgets.buttons import IconButton
from ui.widgets.labels import ElidedLabel, set_tone

__all__ = ["Composer", "MessageInput"]

MAX_LINES: Final = 8
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class MessageInput(QPlainTextEdit):
    """Plain text that grows from one line to `max_lines` and then scrolls.

    Signals:
        submitted: Enter, without Shift and without an input method in the middle of a word.
        escaped: Esc.
        height_changed: it grew or shrank.
    """

    height_changed = Signal()
    submitted = Signal()
    escaped = Signal()

    def __init__(self, parent: QWidget | None = None, *, max_lines: int = MAX_LINES) -> None:
        super().__init__(parent)
        self._max_lines = max_lines
        self._composing = False
        self._width = -1
        self.setProperty("bare", True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFont(metrics.font("body"))
        self.setTabChangesFocus(True)
        self.document().setDocumentMargin(0)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.textChanged.connect(self._fit)
        theme_changed.connect(self._restyle)
        self._fit()

    def line_count(self) -> int:
        """Lines as shown, wrapped ones counted."""
        block = self.document().begin()
        count = 0
        while block.isValid():
            count += max(1, block.layout().lineCount())
            if count > self._max_lines:
                break
            block = block.next()
        return count

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in _ENTER:
            # While an input method composes, its Enter belongs to the word, not to us.
            if self._composing:
                event.ignore()
                return
            if event.modifiers() & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier):
                self.insertPlainText("\n")
                self.ensureCursorVisible()
            else:
                self.submitted.emit()
            event.accept()
            return
        if key == Qt.Key.Key_Escape:
            self.escaped.emit()
            event.accept()
            return
        super().keyPressEvent(event)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        self._composing = bool(event.preeditString())
        super().inputMethodEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._composing = False
        super().focusOutEvent(event)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText()

    def insertFromMimeData(self, source: QMimeData) -> None:
        # Text only: formatted paste would bring fonts, colours and images along.
        if source.hasText():
            self.insertPlainText(source.text())
            self.ensureCursorVisible()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.width() != self._width:
            self._width = self.width()
            self._fit()

    def _restyle(self) -> None:
        self.setFont(metrics.font("body"))
        self._fit()

    def _fit(self) -> None:
        lines = self.line_count()
        full = lines > self._max_lines
        wanted = Qt.ScrollBarPolicy.ScrollBarAsNeeded if full else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        if self.verticalScrollBarPolicy() != wanted:
            self.setVerticalScrollBarPolicy(wanted)
        height = min(lines, self._max_lines) * self.fontMetrics().lineSpacing() + 2
        if self.height() != height or self.minimumHeight() != height:
            self.setFixedHeight(height)
            self.height_changed.emit()
        if not full:
            self.verticalScrollBar().setValue(0)


class Composer(QWidget):
    """The input, its Send or Stop button, and one muted line under it.

    Signals:
        send_requested(str): the text, without blank lines around it. The composer empties itself only when told to
            (`clear`), so that nothing is lost when a message cannot be sent.
        stop_requested: Stop was pressed, or Esc while busy.
    """

    send_requested = Signal(str)
    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._busy = False
        self._reason = ""
        self.input = MessageInput(self)
        self.input.setPlaceholderText(self.tr("Ask anything"))
        self.input.setAccessibleName(self.tr("Message"))
        self.button = IconButton("send", self.tr("Send"), self, role="on_accent", shortcut="Return")
        self.button.setProperty("kind", "primary")
        self.button.setAutoRaise(False)
        self.button.setFixedSize(QSize(metrics.px(32), metrics.px(32)))
        self.hint = ElidedLabel("", "secondary")
        self.hint.setObjectName("composer-hint")

        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(metrics.s)
        row.addWidget(self.input, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.button, 0, Qt.AlignmentFlag.AlignBottom)
        self._box = _Box(self)
        box = QVBoxLayout(self._box)
        box.setContentsMargins(metrics.l, metrics.s, metrics.s, metrics.s)
        box.addLayout(row)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self._box)
        column.addWidget(self.hint)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusProxy(self.input)

        self.input.submitted.connect(self._submit)
        self.input.escaped.connect(self._escape)
        self.input.height_changed.connect(self._grow)
        self.input.textChanged.connect(self._refresh)
        self.button.clicked.connect(self._press)
        self.input.installEventFilter(self)
        theme_changed.connect(self._restyle)
        self._refresh()

    def text(self) -> str:
        """What is typed."""
        return self.input.toPlainText()

    def set_text(self, text: str) -> None:
        """Replaces what is typed; the cursor goes to its end."""
        self.input.setPlainText(text)
        cursor = self.input.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.input.setTextCursor(cursor)

    def clear(self) -> None:
        """Empties the input, as one step that Ctrl+Z takes back."""
        cursor = self.input.textCursor()
        cursor.select(cursor.SelectionType.Document)
        cursor.removeSelectedText()
        self.input.setTextCursor(cursor)

    def set_busy(self, busy: bool) -> None:
        """An answer is being written: Send becomes Stop. Typing goes on as before."""
        if busy != self._busy:
            self._busy = busy
            self._refresh()

    def is_busy(self) -> bool:
        """Whether Stop is shown."""
        return self._busy

    def set_enabled_reason(self, reason: str) -> None:
        """Says in one sentence why nothing can be sent now; "" allows it again. Typing stays possible."""
        if reason != self._reason:
            self._reason = reason
            self._refresh()

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self._box.update()
        return False

    def _grow(self) -> None:
        # Both layouts now, and not a turn of the event loop later each, which would show the text cut for two frames.
        for owner in (self._box, self):
            layout = owner.layout()
            if layout is not None:
                layout.activate()

    def _can_send(self) -> bool:
        return not self._reason and not self._busy and bool(self.text().strip())

    def _submit(self) -> None:
        if self._can_send():
            self.send_requested.emit(self.text().strip("\r\n").rstrip())

    def _escape(self) -> None:
        if self._busy:
            self.stop_requested.emit()

    def _press(self) -> None:
        if self._busy:
            self.stop_requested.emit()
        else:
            self._submit()

    def _refresh(self) -> None:
        if self._busy:
            self.button.set_icon("stop", "on_accent")
            self.button.set_label(self.tr("Stop"), "Esc")
            self.button.setEnabled(True)
        else:
            enabled = self._can_send()
            self.button.set_icon("send", "on_accent" if enabled else "muted")
            self.button.set_label(self.tr("Send"), "Return")
            self.button.setEnabled(enabled)
        set_tone(self.hint, "warn" if self._reason else "secondary")
        self.hint.setText(self._reason or self.tr("Enter to send, Shift+Enter for a new line"))
        self.input.setAccessibleDescription(self._reason)

    def _restyle(self) -> None:
        self.button.setFixedSize(QSize(metrics.px(32), metrics.px(32)))
        self._box.update()


class _Box(QFrame):
    """The rounded card around the input; it carries the focus ring for it, and a click in it lands in the input."""

    def __init__(self, owner: Composer) -> None:
        super().__init__(owner)
        self._owner = owner
        self.setCursor(Qt.CursorShape.IBeamCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._owner.input.setFocus(Qt.FocusReason.MouseFocusReason)
        event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        focused = self._owner.input.hasFocus()
        width = metrics.focus_width if focused else 1
        painter.setPen(QPen(color("accent" if focused else "line"), width))
        painter.setBrush(color("surface"))
        inset = width / 2
        area = self.rect().toRectF().adjusted(inset, inset, -inset, -inset)
        painter.drawRoundedRect(area, metrics.radius_composer, metrics.radius_composer)
