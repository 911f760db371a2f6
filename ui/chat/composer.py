"""Where a message is typed: grows with its text, Enter sends, Send and Stop share one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QImage,
    QInputMethodEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QSizePolicy, QVBoxLayout, QWidget

from ui.chat.file_chips import ChipFlow, FileChip
from ui.theme import color, metrics, theme_changed
from ui.widgets.buttons import IconButton
from ui.widgets.labels import ElidedLabel, set_tone

__all__ = ["LONG_PASTE", "LONG_PASTE_LINES", "Composer", "MessageInput"]

MAX_LINES: Final = 8
#: A pasted text of more characters or lines becomes an attachment: five times what the field shows (8 lines of 76
#: characters), about a printed page. What one typed oneself would be lost among more.
LONG_PASTE: Final = 3_000
LONG_PASTE_LINES: Final = 40
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
#: While an input method composes, these belong to the word: take it, give it up, choose another reading.
_OF_THE_WORD = (*_ENTER, Qt.Key.Key_Escape, Qt.Key.Key_Up, Qt.Key.Key_Down)


class MessageInput(QPlainTextEdit):
    """Plain text that grows from one line to `max_lines` and then scrolls.

    Signals:
        submitted: Enter, without Shift and without an input method in the middle of a word.
        escaped: Esc.
        height_changed: it grew or shrank.
        slash_typed: a slash in an empty field, where `takes_files`; it is not in the text yet.
        files_given(list of paths), picture_given(QImage), long_text_given(str): pasted or dropped, where `takes_files`.
        recalled(int): Up (-1) or Down (+1) in an empty field, or in one whose text was recalled and not changed.
    """

    slash_typed = Signal()
    files_given = Signal(list)
    picture_given = Signal(QImage)
    long_text_given = Signal(str)
    height_changed = Signal()
    recalled = Signal(int)
    submitted = Signal()
    escaped = Signal()

    def __init__(self, parent: QWidget | None = None, *, max_lines: int = MAX_LINES) -> None:
        super().__init__(parent)
        self.takes_files = False
        self._max_lines = max_lines
        self._composing = False
        self._recalled: str | None = None
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
        if self._composing and key in _OF_THE_WORD:
            event.ignore()
            return
        if key in _ENTER:
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
        if self.takes_files and event.text() == "/" and not self.toPlainText() and not self._composing:
            self.slash_typed.emit()
            event.accept()
            return
        plain = not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and plain and self.toPlainText() in ("", self._recalled):
            self.recalled.emit(-1 if key == Qt.Key.Key_Up else 1)
            event.accept()
            return
        super().keyPressEvent(event)

    def show_recalled(self, text: str) -> None:
        """Shows an earlier text; Up and Down go on from it until it is changed."""
        self._recalled = text
        cursor = self.textCursor()
        cursor.select(cursor.SelectionType.Document)
        cursor.insertText(text)  # one step for Ctrl+Z
        self.setTextCursor(cursor)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        self._composing = bool(event.preeditString())
        super().inputMethodEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._composing = False
        super().focusOutEvent(event)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText() or (self.takes_files and (source.hasImage() or bool(local_files(source))))

    def insertFromMimeData(self, source: QMimeData) -> None:
        if self.takes_files and self._give_files(source):
            return
        # Text only: formatted paste would bring fonts, colours and images along.
        if source.hasText():
            self.insertPlainText(source.text())
            self.ensureCursorVisible()

    def _give_files(self, source: QMimeData) -> bool:
        """Whether what is pasted or dropped goes into the message as a file."""
        files, text = local_files(source), source.text() if source.hasText() else ""
        if files:
            self.files_given.emit(files)
        elif source.hasImage() and not text.strip():  # a cell of a spreadsheet comes as text and as a picture of it
            picture = source.imageData()
            if isinstance(picture, QImage) and not picture.isNull():
                self.picture_given.emit(picture)
        elif len(text) > LONG_PASTE or text.count("\n") >= LONG_PASTE_LINES:
            self.long_text_given.emit(text)
        else:
            return False
        return True

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


def local_files(data: QMimeData) -> list[str]:
    """Paths of the files of this machine in what is pasted or dragged."""
    return [url.toLocalFile() for url in data.urls() if url.isLocalFile()]


class Composer(QWidget):
    """The input, its Send or Stop button, and one muted line under it.

    Signals:
        send_requested(str): the text, without blank lines around it. The composer empties itself only when told to
            (`clear`), so that nothing is lost when a message cannot be sent.
        stop_requested: Stop was pressed, or Esc while busy.
        queue_requested(str): the same as `send_requested`, while an answer is being written.
        attach_requested: the paper clip was pressed. prompts_requested: the prompts are wanted.
    """

    send_requested = Signal(str)
    queue_requested = Signal(str)
    stop_requested = Signal()
    attach_requested = Signal()
    prompts_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._busy = False
        self._files = 0
        self._files_reason = ""
        self._reason = ""
        self._history: list[str] = []
        self._place = 0  # in it; its length: nothing is recalled
        self.input = MessageInput(self)
        self.input.setPlaceholderText(self.tr("Ask anything"))
        self.input.setAccessibleName(self.tr("Message"))
        self.input.takes_files = True
        self.attach = IconButton("paperclip", self.tr("Attach files"), self)
        self.attach.clicked.connect(self.attach_requested)
        self.prompts = IconButton("menu", self.tr("Prompts"), self, shortcut="/")
        self.prompts.clicked.connect(self.prompts_requested)
        self.chips = ChipFlow(self)
        self.chips.setAccessibleName(self.tr("Attached files"))
        self.chips.hide()
        self.button = IconButton("send", self.tr("Send"), self, role="on_accent", shortcut="Return")
        self.button.setProperty("kind", "primary")
        self.button.setAutoRaise(False)
        self.button.setFixedSize(QSize(metrics.px(32), metrics.px(32)))
        self.hint = ElidedLabel("", "secondary")
        self.hint.setObjectName("composer-hint")

        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(metrics.s)
        row.addWidget(self.attach, 0, Qt.AlignmentFlag.AlignBottom)
        row.addWidget(self.prompts, 0, Qt.AlignmentFlag.AlignBottom)
        row.addWidget(self.input, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.button, 0, Qt.AlignmentFlag.AlignBottom)
        self._box = _Box(self)
        box = QVBoxLayout(self._box)
        box.setContentsMargins(metrics.s, metrics.s, metrics.s, metrics.s)
        box.setSpacing(metrics.s)
        box.addWidget(self.chips)
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
        self.input.recalled.connect(self._recall)
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

    def set_history(self, texts: Sequence[str]) -> None:
        """What Up brings back, oldest first."""
        if list(texts) != self._history:
            self._history = list(texts)
            self._place = len(self._history)

    def _recall(self, step: int) -> None:
        if not self.text():
            self._place = len(self._history)
        place = self._place + step
        if 0 <= place < len(self._history):
            self._place = place
            self.input.show_recalled(self._history[place])
        elif place == len(self._history):
            self._place = place
            self.input.show_recalled("")

    def is_busy(self) -> bool:
        """Whether Stop is shown."""
        return self._busy

    def set_enabled_reason(self, reason: str) -> None:
        """Says in one sentence why nothing can be sent now; "" allows it again. Typing stays possible."""
        if reason != self._reason:
            self._reason = reason
            self._refresh()

    def set_chips(self, chips: Sequence[FileChip], *, note: str = "", reason: str = "") -> None:
        """The files that go with the message; `note`: a sentence under them; `reason`: why it cannot be sent."""
        self._files, self._files_reason = len(chips), reason
        self.chips.set_chips(chips, reason or note, "warn" if reason else "secondary")
        self.chips.setVisible(bool(chips))
        self.chips.fit()
        order: list[QWidget] = [self.input]
        for chip in chips:
            order += [button for button in (chip.text_button, chip.remove) if button is not None]
        for before, after in zip(order, [*order[1:], self.attach], strict=True):
            QWidget.setTabOrder(before, after)
        self._grow()
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
        return not self._reason and not self._busy and self._has_message()

    def _has_message(self) -> bool:
        return not self._files_reason and (bool(self.text().strip()) or self._files > 0)

    def _submit(self) -> None:
        text = self.text().strip("\r\n").rstrip()
        if self._can_send():
            self.send_requested.emit(text)
        elif self._busy and self._has_message() and not self._reason:
            self.queue_requested.emit(text)

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
        reason = self._reason or self._files_reason
        set_tone(self.hint, "warn" if self._reason else "secondary")
        if self._busy and self._has_message():
            hint = self.tr("Enter to send it after this answer")
        else:
            hint = self.tr("Enter to send, Shift+Enter for a new line")
        self.hint.setText(self._reason or hint)  # what the files say stands under them
        self.input.setAccessibleDescription(reason)

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
