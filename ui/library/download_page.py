"""Getting a model: search the hub, choose one of a repository, watch it arrive."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from backend.api.schemas import ErrorInfo
from ui.library.download_card import DownloadCard
from ui.library.folder_line import FolderLine
from ui.library.offer_list import OfferList
from ui.library.repository_view import RepositoryView, ResultList
from ui.theme import metrics
from ui.viewmodels.download_session import DownloadSession
from ui.viewmodels.words import error_words
from ui.widgets import HoverButton, IconButton, NoticeBar, text_label
from ui.widgets.page import fill_with_page

__all__ = ["DownloadPage"]

_WIDEST = 820


class DownloadPage(QWidget):
    """Signals: use_requested(str): path of a model that is here; close_requested; recommend_requested."""

    use_requested = Signal(str)
    close_requested = Signal()
    recommend_requested = Signal()

    def __init__(self, session: DownloadSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.cards: dict[str, DownloadCard] = {}
        self.answer: QWidget | None = None
        self._answered: object = None
        self.close_button = IconButton("close", self.tr("Back to the chat"))
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Get a model"), "title"), 1)
        head.addWidget(self.close_button)
        self.field = QLineEdit()
        self.field.setPlaceholderText(self.tr("Search, or OWNER/NAME"))
        self.field.setAccessibleName(self.tr("Search the hub for a model"))
        self.field.setClearButtonEnabled(True)
        self.field.returnPressed.connect(self._find)
        self.field.textChanged.connect(self._typed)
        self.search = QPushButton(self.tr("Search"))
        self.search.setProperty("kind", "primary")
        self.search.clicked.connect(self._find)
        line = QHBoxLayout()
        line.setSpacing(metrics.s)
        line.addWidget(self.field, 1)
        line.addWidget(self.search)
        intro = text_label(
            self.tr(
                "Models come from Hugging Face. Nothing is asked there before you press Search, and nothing about you "
                "or this machine is sent but an access token, if you entered one."
            ),
            "muted",
            wrap=True,
        )
        self.recommend = HoverButton(self.tr("Not sure which? Let Nutshell find one…"), icon="search")
        self.recommend.clicked.connect(self.recommend_requested)
        self.notice = NoticeBar(closable=True)
        self.folder = FolderLine(session.link)
        self.folder.problem.connect(self._problem)
        self.folder.moved.connect(session.refresh)
        self.state = text_label("", "muted", wrap=True)
        self._downloads = QVBoxLayout()
        self._downloads.setSpacing(metrics.s)
        self._answers = QVBoxLayout()

        page = QWidget()
        page.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addLayout(head)
        column.addWidget(intro)
        column.addLayout(line)
        column.addWidget(self.recommend, 0, Qt.AlignmentFlag.AlignLeading)
        column.addWidget(self.notice)
        column.addWidget(self.folder)
        column.addLayout(self._downloads)
        column.addWidget(self.state)
        column.addLayout(self._answers)
        column.addStretch(1)
        fill_with_page(self, page)
        session.changed.connect(self._refresh)
        session.moved.connect(self._moved)
        session.fitted.connect(self._fitted)
        session.problem.connect(self._problem)
        self._refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.session.refresh()
        self.session.plan()
        self.folder.refresh()
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def look_for(self, name: str) -> None:
        """Write this into the field; nothing is asked before Search is pressed."""
        self.field.setText(name)
        self.field.selectAll()

    def _find(self) -> None:
        self.notice.set_notice("")
        self.session.find(self.field.text())

    def _typed(self, text: str) -> None:
        if isinstance(self.answer, OfferList):
            self.answer.filter(text)

    def _refresh(self) -> None:
        session = self.session
        self.state.setText(self.tr("Asking for {0}…").format(session.asking) if session.asking else "")
        self.state.setVisible(bool(session.asking))
        self.search.setEnabled(not session.asking)
        self._show_cards()
        answered: object = session.repository if session.repository is not None else session.results
        answered = session.offers if answered is None else answered
        if answered is not self._answered:
            self._answered = answered
            self._show_answer()

    def _show_cards(self) -> None:
        known = {one.id: one for one in self.session.downloads}
        for gone in [key for key in self.cards if key not in known]:
            card = self.cards.pop(gone)
            self._downloads.removeWidget(card)
            card.deleteLater()
        for at, one in enumerate(known.values()):
            card = self.cards.get(one.id) or self._new_card(one.id, at)
            card.show_download(one, self.session.rate(one))

    def _new_card(self, key: str, at: int) -> DownloadCard:
        one = next(one for one in self.session.downloads if one.id == key)
        card = self.cards[key] = DownloadCard(one)
        card.pause_requested.connect(self.session.pause)
        card.resume_requested.connect(self.session.resume)
        card.delete_requested.connect(self.session.delete)
        card.use_requested.connect(self.use_requested)
        self._downloads.insertWidget(at, card)
        return card

    def _show_answer(self) -> None:
        if self.answer is not None:
            self._answers.removeWidget(self.answer)
            self.answer.deleteLater()
            self.answer = None
        session = self.session
        if session.repository is not None:
            view = RepositoryView(session.repository)
            view.back_requested.connect(session.back)
            view.download_requested.connect(session.start)
            view.show_fits(session.fits, planning=session.planning)
            self.answer = view
        elif session.results is not None:
            found = ResultList(session.results)
            found.chosen.connect(session.open)
            self.answer = found
        elif session.offers is not None:
            offers = OfferList(session.offers)
            offers.filter(self.field.text())
            offers.chosen.connect(session.open)
            self.answer = offers
        if self.answer is not None:
            self._answers.addWidget(self.answer)

    def _fitted(self) -> None:
        if isinstance(self.answer, RepositoryView):
            self.answer.show_fits(self.session.fits, planning=self.session.planning)

    def _moved(self, key: str) -> None:
        one = next((one for one in self.session.downloads if one.id == key), None)
        card = self.cards.get(key)
        if one is not None and card is not None:
            card.show_download(one, self.session.rate(one))

    def _problem(self, error: ErrorInfo) -> None:
        sentence = error_words(error)
        self.notice.set_notice(sentence, level="error", details=error.details)
