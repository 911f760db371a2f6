"""One turn as it stands in the conversation: name, text, what went wrong, actions."""

from __future__ import annotations

import time

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QEnterEvent, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QApplication, QHBoxLayout, QMenu, QPushButton, QStyle, QVBoxLayout, QWidget

from backend.api.schemas import Attachment, Message
from backend.api.thinking import Thought, split_thought
from ui.chat import words
from ui.chat.actions_row import ActionsRow
from ui.chat.body import MessageBody
from ui.chat.composer import MessageInput
from ui.chat.file_chips import ChipFlow, FileChip
from ui.chat.markdown.growing import Pieces
from ui.chat.message_menu import message_menu
from ui.chat.thinking import ThinkingFold
from ui.theme import color, metrics
from ui.viewmodels.words import size
from ui.widgets.labels import ElidedLabel, text_label
from ui.widgets.notice import Level, NoticeBar

__all__ = ["MessageItem"]

_EDIT_LINES = 14


class MessageItem(QWidget):
    """Shows one `Message` and follows it while it streams.

    Its place and size are given by the conversation: `arrange` takes a width and answers with the height it needs.

    Signals:
        height_changed: `arrange` would answer otherwise now.
        action(str): "retry", "continue" or "delete". edited(str): the new text of a user's turn.
        reply_edited(str): an answer in other words. quoted(str): words that an answer shall be about.
        branch(int): -1 or +1.
        file_opened(Attachment): a file of it was clicked.
        reveal_requested(QRectF): a part that should be scrolled into view. wrap_requested(bool): see `MessageBody`.
    """

    height_changed = Signal()
    action = Signal(str)
    edited = Signal(str)
    reply_edited = Signal(str)
    quoted = Signal(str)
    branch = Signal(int)
    file_opened = Signal(object)
    reveal_requested = Signal(QRectF)
    wrap_requested = Signal(bool)

    def __init__(self, parent: QWidget, message: Message, *, width: int = 0, model_name: str = "") -> None:
        super().__init__(parent)
        self.message = message
        self.is_user = message.role == "user"
        self._editor: _Editor | None = None
        self._notice: NoticeBar | None = None
        self._cut: ElidedLabel | None = None
        self._shaded = False
        self._card = QRectF()
        self._column = width
        self._content = Pieces()
        self._thinking: ThinkingFold | None = None
        self._thought_done = self.is_user
        self._thinking_since = 0.0

        speaker = self.tr("You") if self.is_user else self.tr("Nutshell")
        self._name = text_label(speaker, "heading", self)
        self._model = ElidedLabel(words.plain_name(model_name), "secondary", self)
        self.body = MessageBody(self, verbatim=self.is_user, width=width - 2 * metrics.l * self.is_user)
        self.body.setAccessibleName(self.tr("Message from {0}").format(speaker))
        self.row = ActionsRow(self)
        self.body.height_changed.connect(self.height_changed)
        self.body.reveal_requested.connect(self._reveal_in_body)
        self.body.wrap_requested.connect(self.wrap_requested)
        self.row.triggered.connect(self._act)
        self.row.branch.connect(self.branch)
        self.setAccessibleName(self.tr("Message from {0}").format(speaker))
        self._files: ChipFlow | None = None
        self._file_chips: dict[str, FileChip] = {}
        self._show_files()
        self._show_content(message.content)
        self._show_state()

    # content

    def content(self) -> str:
        """All of the message's text that is shown, thoughts included."""
        return self._content.whole()

    def _show_files(self) -> None:
        if list(self._file_chips) == [file.id for file in self.message.attachments]:
            return
        if self._files is None:
            self._files = ChipFlow(self)
        self._file_chips = {file.id: self._file_chip(self._files, file) for file in self.message.attachments}
        self._files.set_chips(list(self._file_chips.values()))
        self._files.show()

    def _file_chip(self, parent: ChipFlow, file: Attachment) -> FileChip:
        chip = FileChip(parent, file.name, size(file.size))
        chip.opened.connect(lambda: self.file_opened.emit(file))
        return chip

    def file_chips(self) -> list[FileChip]:
        """The files that were given with it."""
        return list(self._file_chips.values())

    def set_picture(self, attachment_id: str, picture: QPixmap) -> None:
        """What a picture that was given with it looks like."""
        if attachment_id in self._file_chips:
            self._file_chips[attachment_id].set_picture(picture, large=True)
            self.height_changed.emit()

    def thinking(self) -> ThinkingFold | None:
        """What the model thought first, if it did so aloud."""
        return self._thinking

    def _show_content(self, content: str) -> None:
        """Takes another text, in its two parts."""
        self._content = Pieces(content)
        streaming = self.message.status == "streaming"
        parts = Thought(None, content) if self.is_user else split_thought(content, streaming=streaming)
        # Once a streaming text has begun with something else, or its thought has ended, the rest is the answer.
        self._thought_done = not streaming or (parts.closed and bool(parts.answer))
        self._show_thought(parts, streaming)
        if self.body.markdown_source() != parts.answer:
            if parts.answer.startswith(self.body.markdown_source()) and streaming:
                self.body.append(parts.answer[len(self.body.markdown_source()) :])
            else:
                self.body.set_source(parts.answer)

    def _show_thought(self, parts: Thought, streaming: bool) -> None:
        if parts.thought is None:
            if self._thinking is not None:
                self._thinking.hide()
            return
        if self._thinking is None:
            self._thinking = ThinkingFold(self)
            self._thinking.height_changed.connect(self.height_changed)
            self._thinking.wrap_requested.connect(self.wrap_requested)
            self._thinking.reveal_requested.connect(
                lambda rect: (
                    self.reveal_requested.emit(rect.translated(self._thinking.pos().toPointF()))
                    if self._thinking is not None
                    else None
                )
            )
            self._thinking_since = time.monotonic()
            self._thinking.show()
            self.height_changed.emit()
        self._thinking.setVisible(bool(parts.thought.strip()) or streaming)
        self._thinking.set_text(parts.thought)
        stats = self.message.stats
        seconds = time.monotonic() - self._thinking_since if streaming else stats.thinking_s if stats else 0.0
        self._thinking.set_state(thinking=streaming and not parts.closed, seconds=seconds)

    def set_message(self, message: Message) -> None:
        """The message as it is stored now; text that is shown already is not written again."""
        ended = self.message.status == "streaming" and message.status != "streaming"
        self.message = message
        self._show_files()
        if self.content() != message.content or ended:
            self._show_content(message.content)
        if ended:
            self.body.finish()
        self._show_state()
        if self._shaded:
            self.set_shaded(True)
        self.height_changed.emit()

    def is_shaded(self) -> bool:
        """Whether what was guessed is shaded."""
        return self._shaded

    def set_shaded(self, shaded: bool) -> None:
        """Shades the text that was guessed and found right, and says what the guessing brought; or no longer."""
        stats = self.message.stats
        self._shaded = shaded and stats is not None and bool(stats.guessed)
        told = ""
        if self._shaded and stats is not None:
            self.body.shade(self.message.content, stats.guessed)
            figures = words.guesses(stats.passes, stats.drafted, stats.accepted, stats.speedup)
            told = self.tr("Shaded text was guessed and found right: {0}").format(figures)
        else:
            self.body.shade("", ())
        self.body.setAccessibleDescription(told)
        self.body.setToolTip(told)

    def append(self, text: str) -> None:
        """More of the answer."""
        if self._thought_done:
            self._content.append(text)
            self.body.append(text)
        else:
            self._show_content(self.content() + text)
        self.body.set_caret(True)

    def set_figures(self, text: str) -> None:
        """The live line under a streaming answer."""
        self.row.set_figures(text)

    def set_model_name(self, name: str) -> None:
        """The model behind "Nutshell"."""
        self._model.setText(words.plain_name(name))

    def set_versions(self, index: int, total: int) -> None:
        """Which of the sibling messages this is; `index` counts from 0."""
        self.row.set_versions(index, total)

    def set_last(self, last: bool) -> None:
        """The last message keeps its actions in sight."""
        self.row.set_always(last)

    def set_cut(self, text: str) -> None:
        """A line above the message that says where the context window was cut; "" takes it away."""
        if not text and self._cut is None:
            return
        if self._cut is None:
            self._cut = ElidedLabel("", "secondary", self)
            self._cut.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._cut.setText(text)
        self._cut.setVisible(bool(text))

    def start_edit(self) -> None:
        """The text becomes a field, in place."""
        if self._editor is None:
            self._editor = _Editor(self, sends=self.is_user)
            self._editor.saved.connect(self._save_edit)
            self._editor.cancelled.connect(self.cancel_edit)
            self._editor.input.textChanged.connect(self.height_changed)
        self._editor.start(self.message.content)
        self.body.hide()
        self.row.hide()
        self._editor.show()
        self._editor.input.setFocus()
        self.height_changed.emit()

    def cancel_edit(self) -> None:
        """Back to the text as it was."""
        if self._editor is not None and self._editor.isVisibleTo(self):
            self._editor.hide()
            self.body.show()
            self.row.show()
            button = self.row.button("edit" if self.is_user else "more")
            if button is not None:
                button.setFocus(Qt.FocusReason.OtherFocusReason)
            self.height_changed.emit()

    def editor(self) -> _Editor | None:
        """The field, once editing was begun."""
        return self._editor

    def is_editing(self) -> bool:
        """Whether the field is open."""
        return self._editor is not None and not self._editor.isHidden()

    def notice(self) -> NoticeBar | None:
        """The bar that says what went wrong, if anything did."""
        return self._notice

    def restyle(self) -> None:
        """The theme or the zoom changed."""
        self.body.restyle()
        if self._shaded:
            self.set_shaded(True)
        if self._thinking is not None:
            self._thinking.restyle()
        self.row.setFixedHeight(ActionsRow.row_height())
        self.height_changed.emit()

    def _show_state(self) -> None:
        message = self.message
        streaming = message.status == "streaming"
        self.body.set_caret(streaming and not self.is_user)
        actions: list[tuple[str, str, str]] = []
        if not streaming:
            actions.append(("copy", "copy", self.tr("Copy")))
            if self.is_user:
                actions.append(("edit", "edit", self.tr("Edit")))
            else:
                actions.append(("retry", "retry", self.tr("Answer again")))
                if self._can_continue():
                    actions.append(("continue", "continue", self.tr("Continue the answer")))
            actions.append(("more", "more", self.tr("More")))
        self.row.set_actions(actions)
        if not streaming:
            stats = message.stats
            line = words.stats_line(stats)
            if message.status == "stopped":
                line = " · ".join(part for part in (self.tr("Stopped"), line) if part)
            self.row.set_figures(line, words.stats_details(stats) if stats and line else "")
        self._show_notice()

    def _can_continue(self) -> bool:
        message = self.message
        reason = message.stats.finish_reason if message.stats else "stop"
        return message.status in ("stopped", "interrupted") or (message.status == "complete" and reason == "length")

    def _show_notice(self) -> None:
        text, button, details = words.status_notice(self.message)
        if not text and self._notice is None:
            return
        if self._notice is None:
            self._notice = NoticeBar(self)
            self._notice.action_triggered.connect(self._notice_action)
            self._notice.details_button().toggled.connect(lambda _on: self.height_changed.emit())
        level: Level = "error" if self.message.status == "failed" else "warning"
        self._notice.set_notice(text, level=level, action=button, details=details)

    def _notice_action(self) -> None:
        self.action.emit("continue" if self.message.status == "interrupted" else "retry")

    def _act(self, name: str) -> None:
        if name == "copy":
            QApplication.clipboard().setText(self.body.markdown_source())
            self.row.say_copied()
        elif name in ("edit", "edit_reply"):
            self.start_edit()
        elif name == "more":
            button = self.row.button("more")
            if button is not None:
                self.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))
        elif name == "copy_text":
            QApplication.clipboard().setText(self.body.plain_text())
            self.row.say_copied()
        elif name == "shade":
            self.set_shaded(not self._shaded)
        elif name == "quote":
            self.quoted.emit(self.body.plain_text(selection=True))
        else:
            self.action.emit(name)

    def menu(self) -> QMenu:
        """What else can be done with the message."""
        selected = self.body.textCursor().hasSelection()
        menu = message_menu(self, self.message, self._model.text(), selection=selected, shaded=self.is_shaded())
        menu.triggered.connect(lambda action: self._act(str(action.data())) if action.data() else None)
        return menu

    def _save_edit(self, text: str) -> None:
        self.cancel_edit()
        if self.is_user:
            self.edited.emit(text)
        elif text != self.message.content:
            self.reply_edited.emit(text)

    def _reveal_in_body(self, rect: QRectF) -> None:
        self.reveal_requested.emit(rect.translated(QPointF(self.body.pos())))

    def focus_order(self) -> list[QWidget]:
        """What Tab reaches in it, first to last."""
        thoughts = self._thinking.focus_order() if self._thinking is not None and not self._thinking.isHidden() else []
        found: list[QWidget] = [*self._file_chips.values(), *thoughts, self.body, *self.body.code_focus_order()]
        if self._notice is not None:
            found += [self._notice.details_button(), self._notice.action_button()]
        return found + self.row.focus_order()

    # geometry

    @staticmethod
    def bleed() -> int:
        """Pixels that it is wider on each side than the column: icons stand out by their own margin."""
        return metrics.px(6)

    def arrange(self, width: int) -> int:
        """Lays itself out in a column of `width` pixels; returns its height."""
        y = 0
        left = self.bleed()
        self._column = width
        if self._cut is not None and not self._cut.isHidden():
            self._cut.setGeometry(left, y, width, metrics.px(20))
            y += metrics.px(20) + metrics.l
        y = self._arrange_name(left, y, width)
        if self._thinking is not None and not self._thinking.isHidden():
            height = self._thinking.arrange(width)
            self._thinking.setGeometry(left, y, width, height)
            y += height
        boxed = self.is_user or self.is_editing()
        pad_x, pad_y = (metrics.l, metrics.m) if boxed else (0, 0)
        top = y
        y += pad_y
        if self._files is not None and self._file_chips:
            tall = self._files.arrange(width - 2 * pad_x)
            self._files.setGeometry(left + pad_x, y, width - 2 * pad_x, tall)
            y += tall + (metrics.s if self.message.content or self.is_editing() else 0)
        if self.is_editing() and self._editor is not None:
            height = self._editor.arrange(width - 2 * pad_x)
            self._editor.setGeometry(left + pad_x, y, width - 2 * pad_x, height)
        elif not self.body.markdown.blank or self.message.status == "streaming":
            height = self.body.fit(width - 2 * pad_x)
            self.body.move(left + pad_x, y)
        else:
            height = 0
            self.body.setGeometry(left + pad_x, y, width - 2 * pad_x, 0)
        y += height + pad_y
        self._card = QRectF(left, top, width, y - top) if boxed else QRectF()
        if self._notice is not None and not self._notice.isHidden():
            y += metrics.s
            notice_height = self._notice.heightForWidth(width)
            if notice_height <= 0:
                notice_height = self._notice.sizeHint().height()
            self._notice.setGeometry(left, y, width, notice_height)
            y += notice_height
        if not self.row.isHidden():
            y += metrics.px(2)
            out = metrics.px(5) if self.row.focus_order() else 0
            # The actions begin at the side where reading begins, and stand out on that side.
            start = left if self.isRightToLeft() else left - out
            self.row.setGeometry(start, y, width + out, self.row.row_height())
            y += self.row.row_height()
        return y

    def _arrange_name(self, x: int, y: int, width: int) -> int:
        size = self._name.sizeHint()
        self._name.setGeometry(self._mirrored(QRect(x, y, size.width(), size.height())))
        right = size.width() + metrics.s
        height = self._model.sizeHint().height()
        # On one baseline: the smaller text stands lower by the difference of the descents.
        drop = self._name.fontMetrics().ascent() - self._model.fontMetrics().ascent()
        self._model.setGeometry(self._mirrored(QRect(x + right, y + drop, max(0, width - right), height)))
        return y + size.height() + metrics.px(6)

    def _mirrored(self, rect: QRect) -> QRect:
        """`rect` as it lies in a window that is read from right to left."""
        whole = QRect(0, 0, self._column + 2 * self.bleed(), rect.bottom() + 1)
        return QStyle.visualRect(self.layoutDirection(), whole, rect)

    # looks

    def enterEvent(self, event: QEnterEvent) -> None:
        self.row.set_hovered(True)
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self.row.set_hovered(False)
        super().leaveEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._card.isEmpty() and (self._cut is None or self._cut.isHidden()):
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not self._card.isEmpty():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("user_turn"))
            painter.drawRoundedRect(self._card, metrics.radius_card, metrics.radius_card)
        if self._cut is not None and not self._cut.isHidden():
            self._paint_cut(painter, self._cut)

    def _paint_cut(self, painter: QPainter, label: ElidedLabel) -> None:
        middle = label.y() + label.height() / 2
        half = min(label.width(), label.fontMetrics().horizontalAdvance(label.text())) / 2 + metrics.m
        centre = label.x() + label.width() / 2
        painter.setPen(QPen(color("line"), 1))
        if centre - half > label.x():
            painter.drawLine(QPointF(label.x(), middle), QPointF(centre - half, middle))
            painter.drawLine(QPointF(centre + half, middle), QPointF(label.geometry().right(), middle))


class _Editor(QWidget):
    """A message as a field, with Cancel, and Save & send for a user's turn or Save for an answer."""

    saved = Signal(str)
    cancelled = Signal()

    def __init__(self, parent: QWidget, *, sends: bool) -> None:
        super().__init__(parent)
        self.input = MessageInput(self, max_lines=_EDIT_LINES)
        self.input.setAccessibleName(self.tr("Edit your message") if sends else self.tr("Edit the answer"))
        self.save = QPushButton(self.tr("Save && send") if sends else self.tr("Save"))
        self.save.setAccessibleName(self.tr("Save and send") if sends else self.tr("Save"))
        self.save.setProperty("kind", "primary")
        self.cancel = QPushButton(self.tr("Cancel"))
        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addStretch(1)
        row.addWidget(self.cancel)
        row.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addWidget(self.input)
        column.addLayout(row)
        self.input.submitted.connect(self._submit)
        self.input.escaped.connect(self.cancelled)
        self.input.textChanged.connect(self._refresh)
        self.save.clicked.connect(self._submit)
        self.cancel.clicked.connect(self.cancelled)

    def start(self, text: str) -> None:
        """Begins with `text`, the cursor at its end."""
        self.input.setPlainText(text)
        cursor = self.input.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.input.setTextCursor(cursor)
        self._refresh()

    def arrange(self, width: int) -> int:
        """Its height at `width` pixels."""
        self.resize(width, self.height())
        layout = self.layout()
        if layout is not None:
            layout.activate()
        return self.input.minimumHeight() + metrics.m + self.save.sizeHint().height()

    def _submit(self) -> None:
        text = self.input.toPlainText().strip("\r\n").rstrip()
        if text.strip():
            self.saved.emit(text)

    def _refresh(self) -> None:
        self.save.setEnabled(bool(self.input.toPlainText().strip()))
