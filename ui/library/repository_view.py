"""What the hub answered: repositories that were found, or the models of one."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from backend.api.downloads import RemoteChoice, RemoteRepository, SearchResult
from backend.api.hub_schemas import RepositoryFits
from ui.library.fit_words import fit_words
from ui.theme import metrics
from ui.viewmodels.words import count, parameters, quantization_words, size
from ui.widgets import ElidedLabel, HoverButton, text_label

__all__ = ["RepositoryView", "ResultList"]


class ResultList(QWidget):
    """Repositories by name. Signals: chosen(str)."""

    chosen = Signal(str)

    def __init__(self, results: list[SearchResult], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: list[QPushButton] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        if not results:
            column.addWidget(text_label(self.tr("Nothing was found. Try fewer or other words."), "muted", wrap=True))
        for result in results:
            column.addWidget(self._row(result))

    def _row(self, result: SearchResult) -> QFrame:
        card = QFrame()
        card.setProperty("card", "surface")
        owner, _, name = result.repository.partition("/")
        words = QVBoxLayout()
        words.setSpacing(metrics.px(2))
        words.addWidget(ElidedLabel(name, "heading", mode=Qt.TextElideMode.ElideMiddle))
        details = self.tr("by {0} · {1} downloads a month · {2} likes").format(
            owner, count(result.downloads), count(result.likes)
        )
        words.addWidget(ElidedLabel(details, "secondary"))
        if result.parameters:
            words.addWidget(ElidedLabel(self._size(result), "secondary"))
        look = QPushButton(self.tr("Look"))
        look.setAccessibleName(self.tr("Look at {0}").format(result.repository))
        look.clicked.connect(lambda: self.chosen.emit(result.repository))
        self.rows.append(look)
        row = QHBoxLayout(card)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.addLayout(words, 1)
        row.addWidget(look)
        return card

    def _size(self, result: SearchResult) -> str:
        """How large the model is, and a first guess whether it fits."""
        guess = {
            "fits": self.tr("likely fits"),
            "fits if": self.tr("fits where other programs are closed"),
            "does not fit": self.tr("likely too large for this machine"),
        }.get(result.likely, "")
        text = self.tr("{0} parameters · with 4 bits about {1}").format(
            parameters(result.parameters), size(result.usual_bytes)
        )
        return f"{text}: {guess}" if guess else text


class RepositoryView(QWidget):
    """The models of one repository. Signals: back_requested; download_requested(str): name of a choice."""

    back_requested = Signal()
    download_requested = Signal(str)

    def __init__(self, repository: RemoteRepository, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[str, QPushButton] = {}
        self.answers: dict[str, QLabel] = {}
        self.back = HoverButton(self.tr("Back"), icon="chevron-left")
        self.back.clicked.connect(self.back_requested)
        title = ElidedLabel(repository.repository, "heading", mode=Qt.TextElideMode.ElideMiddle)
        head = QHBoxLayout()
        head.setSpacing(metrics.s)
        head.addWidget(self.back)
        head.addWidget(title, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        column.addLayout(head)
        facts = [self.tr("Licence: {0}").format(repository.licence)] if repository.licence else []
        if repository.gated:
            facts.append(self.tr("Its owners ask everyone to accept their terms first, in a browser."))
        if facts:
            column.addWidget(text_label(" · ".join(facts), "muted", wrap=True))
        if not repository.choices:
            column.addWidget(
                text_label(
                    self.tr(
                        "There is no model here that Nutshell can run: it reads GGUF files, its own builds, and "
                        "safetensors. Files of Python objects are never read."
                    ),
                    "muted",
                    wrap=True,
                )
            )
        self.notice = text_label("", "muted", wrap=True)
        self.notice.hide()
        column.addWidget(self.notice)
        for choice in repository.choices:
            column.addWidget(self._row(choice))

    def show_fits(self, fits: RepositoryFits | None, *, planning: bool) -> None:
        """Whether each of them would run here; None while that is not known."""
        known = {one.choice: one for one in fits.fits} if fits is not None else {}
        for name, label in self.answers.items():
            one = known.get(name)
            label.setText(fit_words(one) if one is not None else "")
            label.setVisible(one is not None)
        notice = fits.notice if fits is not None else ""
        if notice:
            notice = self.tr("Whether these would run here is not known. {0}").format(notice)
        elif planning:
            notice = self.tr("Looking whether they would run here…")
        self.notice.setText(notice)
        self.notice.setVisible(bool(notice))

    def _row(self, choice: RemoteChoice) -> QFrame:
        card = QFrame()
        card.setProperty("card", "surface")
        whole = choice.name == "safetensors"
        name = self.tr("The original weights (safetensors)") if whole else quantization_words(choice.name)
        details = [size(choice.bytes)]
        if len(choice.files) > 1:
            details.append(self.tr("{0} files").format(len(choice.files)))
        here = choice.here >= choice.bytes
        if choice.here:
            details.append(
                self.tr("on this machine") if here else self.tr("{0} are here already").format(size(choice.here))
            )
        words = QVBoxLayout()
        words.setSpacing(metrics.px(2))
        words.addWidget(ElidedLabel(name, "heading"))
        words.addWidget(ElidedLabel(" · ".join(details), "secondary"))
        self.answers[choice.name] = answer = text_label("", "secondary", wrap=True)
        answer.hide()
        words.addWidget(answer)
        button = QPushButton(self.tr("Here") if here else self.tr("Go on") if choice.here else self.tr("Download"))
        button.setEnabled(not here)
        button.setAccessibleName(f"{button.text()}: {name}, {size(choice.bytes)}")
        button.clicked.connect(lambda: self.download_requested.emit(choice.name))
        self.buttons[choice.name] = button
        row = QHBoxLayout(card)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.addLayout(words, 1)
        row.addWidget(button)
        return card
