"""Suggestions after an answer: asked for when it has ended and nothing is typed, gone as soon as something is."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt

from backend.api.schemas import Message
from ui.bridge.engine_link import EngineLink
from ui.chat.composer import Composer
from ui.chat.next_bar import NextBar
from ui.viewmodels.chat_session import ChatSession

__all__ = ["NextQuestions"]


class NextQuestions(QObject):
    """Off until `set_enabled`. The engine gives them up by itself when anything else is asked of it."""

    def __init__(self, link: EngineLink, chat: ChatSession, composer: Composer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link, self._chat, self._composer = link, chat, composer
        self._enabled = False
        self._asked = ("", "")  # conversation and answer that suggestions are awaited for
        self.bar = NextBar()
        self.bar.chosen.connect(self._take)
        chat.message_finished.connect(self._finished)
        chat.busy_changed.connect(self._busy_changed)
        chat.opened.connect(self._drop)
        composer.input.textChanged.connect(self._typed)

    def set_enabled(self, enabled: bool) -> None:
        """From the next answer on."""
        self._enabled = enabled
        if not enabled:
            self._drop()

    def _finished(self, message: Message) -> None:
        self._drop()
        if self._enabled and message.status == "complete" and self._wanted(message.conversation_id):
            self._asked = asked = (message.conversation_id, message.id)

            def came(questions: list[str]) -> None:
                if self._asked == asked and self._wanted(asked[0]):
                    self._asked = ("", "")
                    self.bar.set_questions(questions)

            self._link.run(lambda engine: engine.follow_ups(asked[0]), success=came, quiet=True)

    def _wanted(self, conversation_id: str) -> bool:
        return conversation_id == self._chat.open_id and not self._chat.busy and not self._composer.text().strip()

    def _typed(self) -> None:
        if self._composer.text().strip():
            conversation_id, _ = self._asked
            self._drop()
            if conversation_id:
                self._link.run(lambda engine: engine.end_follow_ups(conversation_id), quiet=True)

    def _busy_changed(self, busy: bool) -> None:
        if busy:
            self._drop()

    def _drop(self) -> None:
        self._asked = ("", "")
        if self.bar.buttons:
            self.bar.set_questions(())

    def _take(self, question: str) -> None:
        self._composer.set_text(question)
        self._composer.setFocus(Qt.FocusReason.OtherFocusReason)
