"""What the window says about the engine: starting, gone, back again, not to be started; and every failed request."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from backend.api.plan_schemas import ModelPlan
from backend.api.schemas import BackendStatus, ErrorInfo, LoadedModel
from ui.bridge.engine_link import EngineLink
from ui.shell.notices import Notices
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import error_words
from ui.widgets.notice import Level

__all__ = ["EngineNotices"]

_ENGINE, _PROBLEM, _WAITING, _TEMPLATE = "engine", "problem", "waiting", "template"


class EngineNotices(QObject):
    """Turns states and failures into notices: the one place where they are shown.

    Signals:
        retry_requested: start the engine again.
        model_wanted: show the menu of models.
        back: the engine is back and nothing was lost, so a passing word is enough.
    """

    retry_requested = Signal()
    model_wanted = Signal()
    back = Signal(str)

    def __init__(self, notices: Notices, link: EngineLink, chat: ChatSession, models: ModelSession) -> None:
        super().__init__(notices)
        self._notices, self._link, self._chat, self._models = notices, link, chat, models
        self._told: set[str] = set()  # what must be said once
        self._broken = False  # the engine went away and is not back with its model
        self._interrupted = ("", "")  # conversation and message that the engine was writing
        link.state_changed.connect(self._state_changed)
        link.attached.connect(self._attached)
        link.model_changed.connect(self._model_came)
        link.notice.connect(self.say)
        link.request_failed.connect(self.problem)
        chat.problem.connect(self.problem)
        models.problem.connect(self.problem)
        models.too_large.connect(self._too_large)
        chat.interrupted.connect(self._was_interrupted)
        chat.busy_changed.connect(self._busy_changed)
        models.changed.connect(self._models_changed)

    def say(self, level: str, text: str) -> None:
        """A sentence from the engine or the program."""
        known: dict[str, Level] = {"warning": "warning", "error": "error"}
        self._notices.show(f"said:{text}", text, level=known.get(level, "info"))

    def problem(self, error: ErrorInfo) -> None:
        """A request failed. What only repeats that the engine is away is not said twice."""
        if error.code == "engine_unavailable" and self._link.state != "ready":
            return
        if error.code == "no_model":
            text = " ".join(part for part in (error.what, error.remedy) if part)
            self._notices.show(
                _PROBLEM, text, level="warning", action=self.tr("Choose a model"), run=self.model_wanted.emit
            )
        else:
            self._notices.error(_PROBLEM, error)

    def _too_large(self, error: ErrorInfo, plan: ModelPlan) -> None:
        """A model does not fit as it was to be loaded, but otherwise it does."""
        speed = self.tr("About {0} tokens a second.").format(f"{plan.tokens:.1f}") if plan.tokens else ""
        text = " ".join(part for part in (error.what, error.why, *plan.remedies[:1], speed) if part)
        self._notices.show(
            _PROBLEM, text, level="warning", action=self.tr("Load it so"),
            run=lambda: self._models.load_as_planned(plan), details=error.details,
        )  # fmt: skip

    def _attached(self, status: BackendStatus) -> None:
        for text in status.notices:
            if text not in self._told:
                self._told.add(text)
                self.say("warning", text)
        self._model_came(status.model)

    def _model_came(self, model: LoadedModel | None) -> None:
        """Says so where the file's own chat template cannot be used: answers may be worse for it."""
        if model is not None and model.template_notice:
            self._notices.show(_TEMPLATE, model.template_notice, level="warning")
        else:
            self._notices.withdraw(_TEMPLATE)

    def _was_interrupted(self, message_id: str) -> None:
        self._interrupted = (self._chat.open_id, message_id)

    def _state_changed(self, state: str, sentence: str) -> None:
        if state == "restarting":
            self._broken = True
            self._notices.show(_ENGINE, sentence, level="warning")
        elif state == "failed":
            self._broken = False
            error = self._link.error or ErrorInfo(code="engine_unavailable", what=sentence)
            text = error_words(error)
            self._notices.show(
                _ENGINE, text, level="error", action=self.tr("Try again"), run=self.retry_requested.emit,
                details=error.details,
            )  # fmt: skip
        elif state == "starting":
            self._notices.withdraw(_ENGINE)
        self._show_waiting()

    def _models_changed(self) -> None:
        self._show_waiting()
        if not self._link.ready or self._models.loading:
            return
        if not self._broken:
            return
        self._broken = False
        conversation, message_id = self._interrupted
        self._interrupted = ("", "")
        answer = self._chat.message(message_id, "assistant") if message_id else None
        unfinished = answer is not None and answer.status == "interrupted" and conversation == self._chat.open_id
        if unfinished and self._models.can_answer:
            go_on: Callable[[], None] = lambda: self._chat.continue_answer(message_id)  # noqa: E731
            self._notices.show(_ENGINE, self.tr("Ready."), action=self.tr("Continue the answer"), run=go_on)
        else:
            self._notices.withdraw(_ENGINE)
            self.back.emit(self.tr("Ready."))

    def _busy_changed(self, busy: bool) -> None:
        if busy and self._link.ready:
            self._notices.withdraw(_PROBLEM)
            self._notices.withdraw(_ENGINE)
        self._show_waiting()

    def _show_waiting(self) -> None:
        if not self._chat.waiting:
            self._notices.withdraw(_WAITING)
            return
        first = self._link.sentence or self.tr("The model is being loaded…")
        then = self.tr("Your message is sent when it is ready.")
        self._notices.show(_WAITING, f"{first} {then}")
