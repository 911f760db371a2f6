"""The catalogue for this machine: what fits, how fast, what to begin with. Filtered by words and by purpose."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from backend.api.downloads import Offer
from ui.theme import metrics
from ui.viewmodels.words import parameters, rate, size
from ui.widgets import ElidedLabel, HoverButton, text_label
from ui.widgets.labels import Tone

__all__ = ["OfferList"]

_TIE = Qt.TextElideMode.ElideRight


class OfferList(QWidget):
    """Models of the catalogue. Signals: chosen(str): the repository of a model's best build."""

    chosen = Signal(str)

    def __init__(self, offers: list[Offer], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[tuple[Offer, QFrame]] = []
        self.buttons: dict[str, QPushButton] = {}
        self._words = ""
        self._use = ""
        self.title = text_label(self.tr("What this machine can run"), "heading")
        self.nothing = text_label(
            self.tr("No model of the catalogue is called so. Press Search to ask Hugging Face."), "muted", wrap=True
        )
        self.uses = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(metrics.xs)
        for use, text in (
            ("", self.tr("All")), ("general", self.tr("Conversation")), ("code", self.tr("Code")),
            ("multilingual", self.tr("Languages")), ("reasoning", self.tr("Reasoning")),
        ):  # fmt: skip
            button = HoverButton(text)
            button.setCheckable(True)
            button.setChecked(not use)
            button.setAccessibleName(self.tr("Show: {0}").format(text))
            button.clicked.connect(lambda _=False, use=use: self._take_use(use))
            self.uses.addButton(button)
            row.addWidget(button)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        column.addWidget(self.title)
        column.addLayout(row)
        column.addWidget(self.nothing)
        for offer in offers:
            card = self._card(offer)
            self.cards.append((offer, card))
            column.addWidget(card)
        self._show()

    @property
    def shown(self) -> list[Offer]:
        """What the filters leave, in order."""
        return [offer for offer, card in self.cards if not card.isHidden()]

    def filter(self, words: str) -> None:
        """Only models that have all of these words in their name."""
        self._words = words
        self._show()

    def _take_use(self, use: str) -> None:
        self._use = use
        self._show()

    def _show(self) -> None:
        wanted = self._words.casefold().split()
        left = False
        for offer, card in self.cards:
            name = f"{offer.name} {offer.repository}".casefold()
            fits = all(word in name for word in wanted) and (not self._use or self._use in offer.uses)
            card.setVisible(fits)
            left = left or fits
        self.nothing.setVisible(not left)

    def _card(self, offer: Offer) -> QFrame:
        card = QFrame()
        card.setProperty("card", "surface")
        words = QVBoxLayout()
        words.setSpacing(metrics.px(2))
        words.addWidget(ElidedLabel(offer.name, "heading", mode=_TIE))
        if offer.suggested:
            words.addWidget(ElidedLabel(self._why(offer), "ok", mode=_TIE))
        for text, look in self._lines(offer):
            words.addWidget(ElidedLabel(text, look, mode=_TIE))
        button = QPushButton(self.tr("Look"))
        button.setAccessibleName(self.tr("Look at {0}").format(offer.name))
        button.setToolTip(self.tr("Ask Hugging Face what {0} has").format(offer.repository))
        button.clicked.connect(lambda: self.chosen.emit(offer.repository))
        self.buttons[offer.id] = button
        row = QHBoxLayout(card)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.addLayout(words, 1)
        row.addWidget(button)
        return card

    def _why(self, offer: Offer) -> str:
        return {
            "best": self.tr("The best that this machine reads out at a good pace"),
            "code": self.tr("For programming"),
            "fast": self.tr("Quick"),
        }[offer.suggested]

    def _lines(self, offer: Offer) -> list[tuple[str, Tone]]:
        """(text, look): how it would run, and what it is."""
        what = [
            self.tr("{0} parameters").format(parameters(offer.parameters)),
            self.tr("licence {0}").format(offer.licence),
        ]
        download = self.tr("download {0}").format(size(offer.bytes))
        if offer.verdict == "does not fit":
            return [
                (self.tr("Does not fit. {0}").format(offer.remedy), "secondary"),
                (" · ".join((*what, download)), "muted"),
            ]
        speed = self.tr("about {0} tokens a second").format(rate(offer.tokens))
        memory = self.tr("{0} of memory").format(size(offer.ram))
        if offer.verdict == "fits if":
            return [
                (self.tr("Fits if you do this: {0}").format(offer.remedy), "secondary"),
                (" · ".join((memory, speed, *what)), "muted"),
            ]
        return [
            (" · ".join((self.tr("Fits"), memory, speed)), "secondary"),
            (" · ".join((*what, download)), "muted"),
        ]
