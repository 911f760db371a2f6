"""The models that are recommended: what each takes and gives, drawn, and why it is one of the few."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from backend.api.downloads import BuildIdea, Recommendation, Recommendations
from ui.recommend.words import facts, figure_words, idea_words, reason
from ui.theme import metrics
from ui.viewmodels.words import parameters, rate, size
from ui.widgets import ElidedLabel, Meter, text_label

__all__ = ["ModelsPage", "PickCard"]

#: tokens a second that fill the bar of speed: several times as fast as people read
_FAST = 40.0


class PickCard(QFrame):
    """One model. Signals: picked."""

    picked = Signal()

    def __init__(
        self, one: Recommendation, most_bytes: int, most_said: int, *, first: bool, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setProperty("card", "surface")
        self.one = one
        offer = one.offer
        why = reason(one)
        self.button = QPushButton(self.tr("Get it"))
        self.button.setAccessibleName(self.tr("Get {0}").format(offer.name))
        self.button.setAccessibleDescription(why)
        if first:
            self.button.setProperty("kind", "primary")
        self.button.clicked.connect(self.picked)
        head = QHBoxLayout()
        head.setSpacing(metrics.s)
        head.addWidget(ElidedLabel(offer.name, "heading", mode=Qt.TextElideMode.ElideMiddle), 1)
        head.addWidget(self.button)
        self.meters: dict[str, Meter] = {}
        bars = QGridLayout()
        bars.setHorizontalSpacing(metrics.l)
        bars.setVerticalSpacing(metrics.s)
        for place, (key, label, share, words) in enumerate(self._bars(most_bytes, most_said)):
            meter = self.meters[key] = Meter(label)
            meter.set_value(share, words)
            bars.addWidget(meter, place // 2, place % 2)
            bars.setColumnStretch(place % 2, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        column.setSpacing(metrics.s)
        column.addLayout(head)
        column.addWidget(text_label(why, "ok" if first else "secondary", wrap=True))
        column.addLayout(bars)
        column.addWidget(text_label(facts(one), "muted", wrap=True))
        for figure in one.figures:
            published = text_label(figure_words(figure), "muted", wrap=True)
            published.setToolTip(figure.source)
            column.addWidget(published)
        self.setAccessibleName(f"{offer.name}. {why}")

    def _bars(self, most_bytes: int, most_said: int) -> list[tuple[str, str, float, str]]:
        """(key, name, how full, in words) of each."""
        offer = self.one.offer
        said = parameters(self.one.effective)
        return [
            ("size", self.tr("Download"), offer.bytes / most_bytes, size(offer.bytes)),
            ("memory", self.tr("Memory"), offer.ram / most_bytes, size(offer.ram)),
            (
                "speed",
                self.tr("Speed"),
                offer.tokens / _FAST,
                self.tr("{0} tokens a second ({1} to {2})").format(
                    rate(offer.tokens), rate(offer.low), rate(offer.high)
                ),
            ),
            (
                "quality",
                self.tr("Quality, estimated"),
                self.one.effective / most_said,
                self.tr("as {0} uncompressed").format(said),
            ),
        ]


class ModelsPage(QWidget):
    """Signals: picked(Recommendation); compress_requested; back_requested."""

    picked = Signal(object)
    compress_requested = Signal()
    back_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[PickCard] = []
        self.idea: QPushButton | None = None
        self._shown: Recommendations | None = None
        self.state = text_label("", "muted", wrap=True)
        self._list = QVBoxLayout()
        self._list.setSpacing(metrics.s)
        self.back = QPushButton(self.tr("Back"))
        self.back.clicked.connect(self.back_requested)
        foot = QHBoxLayout()
        foot.addWidget(self.back)
        foot.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addWidget(self.state)
        column.addLayout(self._list)
        column.addLayout(foot)
        column.addStretch(1)

    def show_answer(self, answer: Recommendations | None) -> None:
        """These models; None: they are being looked for."""
        if answer is None:
            self.state.setText(self.tr("Looking at what this machine can run…"))
        elif answer.models:
            self.state.setText(
                self.tr("These suit what you want to do and fit into the memory that is free now. A model that is "
                        "downloaded stays on this machine; downloading it tells Hugging Face which one it is.")
            )  # fmt: skip
        else:
            self.state.setText(
                self.tr("No model for this fits into the memory that is free now. Close other programs and come back, "
                        "or go back and choose something else.")
            )  # fmt: skip
        if answer is self._shown:
            return
        self._shown = answer
        self._clear()
        if answer is None:
            return
        most_bytes = max((max(one.offer.ram, one.offer.bytes) for one in answer.models), default=1)
        most_said = max((one.effective for one in answer.models), default=1)
        for one in answer.models:
            card = PickCard(one, most_bytes, most_said, first=not self.cards)
            card.picked.connect(lambda one=one: self.picked.emit(one))
            self.cards.append(card)
            self._list.addWidget(card)
        if answer.idea is not None:
            self._list.addWidget(self._idea_card(answer.idea))

    def focus_first(self) -> None:
        """The first model's button has the keyboard, or the way back."""
        first = self.cards[0].button if self.cards else self.back
        first.setFocus(Qt.FocusReason.OtherFocusReason)

    def _clear(self) -> None:
        self.cards.clear()
        self.idea = None
        while (item := self._list.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()

    def _idea_card(self, idea: BuildIdea) -> QFrame:
        card = QFrame()
        card.setProperty("card", "raised")
        self.idea = QPushButton(self.tr("Make a model smaller…"))
        self.idea.clicked.connect(self.compress_requested)
        column = QVBoxLayout(card)
        column.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        column.setSpacing(metrics.s)
        column.addWidget(text_label(self.tr("Better still, with patience"), "heading", wrap=True))
        column.addWidget(text_label(idea_words(idea), "secondary", wrap=True))
        column.addWidget(self.idea, 0, Qt.AlignmentFlag.AlignLeading)
        return card
