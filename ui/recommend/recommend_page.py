"""The way to a first model as a page of the window: its steps, and what leads from one to the next."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from backend.api.schemas import ErrorInfo
from ui.recommend.arriving_page import ArrivingPage
from ui.recommend.models_page import ModelsPage
from ui.recommend.purpose_page import PurposePage
from ui.recommend.trial_page import TrialPage
from ui.theme import metrics
from ui.viewmodels.recommend_session import RecommendSession
from ui.viewmodels.words import error_words
from ui.widgets import IconButton, NoticeBar, text_label
from ui.widgets.page import PageStack, fill_with_page
from ui.wizard.steps import StepLine

__all__ = ["RecommendPage"]

_WIDEST = 820


class RecommendPage(QWidget):
    """What for, which one, fetched, tried.

    Signals:
        close_requested: back to the chat.
        chat_requested: a new chat with the model that was tried.
        compress_requested: make a model smaller.
    """

    close_requested = Signal()
    chat_requested = Signal()
    compress_requested = Signal()

    def __init__(self, session: RecommendSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.close_button = IconButton("close", self.tr("Back to the chat"))
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Find a model for this machine"), "title", wrap=True), 1)
        head.addWidget(self.close_button)
        self.steps = StepLine([self.tr("Purpose"), self.tr("Model"), self.tr("Download"), self.tr("Try")])
        self.notice = NoticeBar(closable=True)
        self.away = text_label(
            self.tr("The engine is not running now. This goes on when it is back."), "muted", wrap=True
        )
        self.purpose = PurposePage()
        self.models = ModelsPage()
        self.arriving = ArrivingPage(session)
        self.trial = TrialPage(session)
        self.stack = PageStack()
        for one in (self.purpose, self.models, self.arriving, self.trial):
            self.stack.add(one)
        page = QWidget()
        page.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.l)
        column.addLayout(head)
        for widget in (self.steps, self.notice, self.away):
            column.addWidget(widget)
        column.addWidget(self.stack, 1)
        fill_with_page(self, page)
        self.setAccessibleName(self.tr("Find a model for this machine"))
        self.purpose.chosen.connect(session.choose)
        self.models.picked.connect(session.pick)
        self.models.compress_requested.connect(self.compress_requested)
        for leaf in (self.models, self.arriving, self.trial):
            leaf.back_requested.connect(session.back)
        self.trial.chat_requested.connect(self._chat)
        session.changed.connect(self.refresh)
        session.moved.connect(self.arriving.refresh)
        session.problem.connect(self._problem)
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.session.stage == "done" and self.session.trial is None:  # that was in another life of the window
            self.session.start_over()
        self.session.refresh()
        self.refresh()
        self._focus()

    def refresh(self) -> None:
        """Shows the screen on which the session is."""
        session = self.session
        stage = session.stage
        order: list[PurposePage | ModelsPage | ArrivingPage | TrialPage] = [
            self.purpose, self.models, self.arriving, self.trial,
        ]  # fmt: skip
        number = {"purpose": 0, "models": 1, "arriving": 2, "trial": 3, "done": 3}[stage]
        self.away.setVisible(not session.ready)
        self.stack.setEnabled(session.ready)
        self.models.show_answer(session.answer)
        self.arriving.refresh()
        self.trial.refresh()
        self.steps.set_current(number)
        if self.stack.current() is not order[number]:
            self.notice.set_notice("")
            self.stack.show_page(order[number])
            if self.isVisible():
                self._focus()
                if stage == "trial" and not session.stopped:
                    session.try_out()

    def _focus(self) -> None:
        page = self.stack.current()
        if isinstance(page, PurposePage | ModelsPage | ArrivingPage | TrialPage):
            page.focus_first()

    def _chat(self) -> None:
        self.session.start_over()
        self.chat_requested.emit()

    def _problem(self, error: ErrorInfo) -> None:
        sentence = error_words(error)
        self.notice.set_notice(sentence, level="error", details=error.details)
