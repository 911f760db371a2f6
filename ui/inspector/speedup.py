"""Guessing ahead: automatic, off or by hand; what it brings while an answer is written; what its passes cost."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QButtonGroup, QComboBox, QRadioButton, QVBoxLayout, QWidget

from backend.api.schemas import LoadedModel, SpeculationChoice, TurnDelta
from backend.api.speculation_schemas import DraftSuggestion, PassReport, Speculate
from ui.chat.words import guesses
from ui.inspector.fields import Fold, WheelShyWhole, number_row
from ui.inspector.pass_plots import CostPlot, PassPlot
from ui.theme import metrics
from ui.viewmodels.words import size
from ui.widgets import text_label

__all__ = ["SpeedupPanel"]

_CHOICES: tuple[SpeculationChoice, ...] = ("auto", "off", "custom")
#: a number that is being typed is taken when it rests so long
PAUSE_MS = 600


class SpeedupPanel(QWidget):
    """Shows how the loaded model guesses, and asks for another way.

    Signals:
        wanted: another way, `Speculate`.
        asks_report: the pass times and the last passes are to be read.
        asks_drafts: the models that could draft are to be read.
    """

    wanted = Signal(object)
    asks_report = Signal()
    asks_drafts = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._showing = False
        self._loaded: LoadedModel | None = None
        self.choices = QButtonGroup(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        for number, (label, words) in enumerate(self._words()):
            button = QRadioButton(label)
            button.setToolTip(words)
            button.setAccessibleDescription(words)
            self.choices.addButton(button, number)
            column.addWidget(button)
        self.nodes = WheelShyWhole()
        self.nodes.setRange(1, 63)
        self.nodes.valueChanged.connect(self._typed)
        self.draft = QComboBox()
        self.draft.setAccessibleName(self.tr("Who guesses"))
        self.draft.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.draft.activated.connect(self._ask)
        self.choices.idClicked.connect(self._ask)
        self.by_hand = QWidget()
        hand = QVBoxLayout(self.by_hand)
        hand.setContentsMargins(0, 0, 0, 0)
        hand.setSpacing(metrics.s)
        hand.addWidget(number_row(self.tr("Guesses"), self.nodes, self.tr("Tokens that are tried in each pass.")))
        hand.addWidget(text_label(self.tr("Who guesses")))
        hand.addWidget(self.draft)
        self.note = text_label("", "secondary", wrap=True)
        self.live = text_label("", "secondary", wrap=True)
        self.fold = Fold(self.tr("Passes"), self._build_plots)
        self.fold.button.clicked.connect(self.asks_report)
        for part in (self.by_hand, self.note, self.live, self.fold):
            column.addWidget(part)
        self.costs: CostPlot | None = None
        self.passes: PassPlot | None = None
        self._report = PassReport()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._ask)
        self.set_drafts([])
        self.live.hide()

    def _words(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.tr("Automatic"), self.tr("Guesses where that is faster. The answers stay the same.")),
            (self.tr("Off"), self.tr("Nothing is guessed.")),
            (self.tr("By hand"), self.tr("Always as many guesses as you say, also where that is slower.")),
        )

    # Showing

    def set_model(self, loaded: LoadedModel | None, *, busy: bool) -> None:
        """Another state of the model; `busy`: nothing can be chosen now."""
        self._loaded = loaded
        if loaded is None or not loaded.speculation:
            return
        self._showing = True
        at = _CHOICES.index(loaded.speculation)
        self.choices.button(at).setChecked(True)
        if loaded.draft_nodes and not self._pause.isActive():
            self.nodes.setValue(loaded.draft_nodes)
        elif not self._pause.isActive():
            self.nodes.setValue(self.nodes.value() if self.nodes.value() > 1 else 8)
        self.draft.setCurrentIndex(max(self.draft.findData(loaded.draft_model), 0))
        self._showing = False
        self.by_hand.setVisible(loaded.speculation == "custom")
        self.note.setText(loaded.draft_notice)
        self.note.setVisible(bool(loaded.draft_notice))
        for button in self.choices.buttons():
            button.setEnabled(not busy)
        self.by_hand.setEnabled(not busy)

    def set_drafts(self, found: list[DraftSuggestion]) -> None:
        """The installed models that could draft, and why others cannot."""
        chosen = self.draft.currentData() or (self._loaded.draft_model if self._loaded else "")
        self.draft.clear()
        self.draft.addItem(self.tr("The text itself"), "")
        if self._loaded is not None and self._loaded.slider is not None:
            self.draft.addItem(self.tr("This model at its fastest"), "self")
        for one in found:
            self.draft.addItem(f"{one.name} · {size(one.bytes)}", one.path)
            last = self.draft.count() - 1
            if one.reason:
                self.draft.model().item(last).setEnabled(False)  # type: ignore[attr-defined]
                self.draft.setItemText(last, self.tr("{0} (does not fit)").format(one.name))
            self.draft.setItemData(last, one.reason, Qt.ItemDataRole.ToolTipRole)
        self.draft.setCurrentIndex(max(self.draft.findData(chosen), 0))

    def set_report(self, report: PassReport) -> None:
        """The pass times, and the passes of the last answer."""
        self._report = report
        if self.costs is not None and self.passes is not None:
            self.costs.set_curve(report.curve)
            self.passes.set_passes(report.passes)

    def text_arrived(self, delta: TurnDelta) -> None:
        """More of an answer: the live line."""
        words = guesses(delta.passes, delta.drafted, delta.accepted, delta.speedup)
        self.live.setText(words)
        self.live.setVisible(bool(words))

    def _build_plots(self) -> QWidget:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        self.costs, self.passes = CostPlot(), PassPlot()
        column.addWidget(self.costs)
        column.addWidget(self.passes)
        self.set_report(self._report)
        return body

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.asks_report.emit()
        if self._loaded is not None and self._loaded.speculation == "custom":
            self.asks_drafts.emit()

    # Changing

    def _typed(self) -> None:
        if not self._showing:
            self._pause.start()

    def _ask(self) -> None:
        self._pause.stop()
        if self._showing or self._loaded is None:
            return
        choice = Speculate(
            speculation=_CHOICES[self.choices.checkedId()],
            draft_nodes=self.nodes.value(),
            draft_model=str(self.draft.currentData() or ""),
        )
        loaded = self._loaded
        nodes = choice.draft_nodes if choice.speculation == "custom" else 0
        before = (loaded.speculation, loaded.draft_model, loaded.draft_nodes)
        if (choice.speculation, choice.draft_model, nodes) == before:
            return
        if choice.speculation == "custom" and loaded.speculation != "custom":
            self.asks_drafts.emit()
        self.wanted.emit(choice)
