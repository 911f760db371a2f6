"""What was made here before: each build with what was measured of it, and the way back to its result."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from backend.api.compression import Compression
from ui.theme import metrics
from ui.viewmodels.compression_words import level_code, percent
from ui.viewmodels.words import model_name, size
from ui.widgets import ElidedLabel, text_label

__all__ = ["BuildCard", "BuildList"]


class BuildCard(QFrame):
    """One of them.

    Signals:
        show_requested(str): its id.
    """

    show_requested = Signal(str)

    def __init__(self, compression: Compression, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "surface")
        key = compression.id
        self.figures = ElidedLabel(self._words(compression), "secondary")
        self.show_result = QPushButton(self.tr("Result"))
        self.show_result.setAccessibleName(self.tr("Result of {0}").format(compression.name))
        self.show_result.clicked.connect(lambda: self.show_requested.emit(key))
        words = QVBoxLayout()
        words.setSpacing(metrics.px(2))
        words.addWidget(ElidedLabel(compression.name, "heading", mode=Qt.TextElideMode.ElideMiddle))
        words.addWidget(self.figures)
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.setSpacing(metrics.s)
        row.addLayout(words, 1)
        row.addWidget(self.show_result)
        self.setAccessibleName(f"{compression.name}, {self.figures.text()}")

    def _words(self, one: Compression) -> str:
        """As in "84 MB · perplexity 11.78 (+12 %) · same first choice 86 % · 41 tok/s · SpQR 3-bit of SmolLM2"."""
        assert one.result is not None
        levels = ", ".join(map(level_code, one.levels))
        parts = [size(one.result.bytes)]
        measured = one.result.measured
        if measured is None:
            parts.append(self.tr("not measured"))
        else:
            before = measured.perplexity_reference
            growth = f" ({100 * (measured.perplexity / before - 1):+.0f} %)" if before > 0 else ""
            parts.append(self.tr("perplexity {0}").format(f"{measured.perplexity:.2f}") + growth)
            parts.append(self.tr("same first choice {0}").format(percent(measured.top1)))
            if measured.tok_s:
                parts.append(f"{measured.tok_s:.0f} tok/s")
        parts.append(self.tr("{0} of {1}").format(levels, model_name(one.source_name)))
        return " · ".join(parts)


class BuildList(QWidget):
    """All of them, the newest first; hidden while there is none.

    Signals:
        show_requested(str): id of the one whose result is wanted.
    """

    show_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[BuildCard] = []
        self._shown: list[Compression] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(metrics.s)
        self._column.addWidget(text_label(self.tr("Made here"), "heading"))
        self.hide()

    def set_builds(self, builds: Sequence[Compression]) -> None:
        """Those that are finished."""
        if list(builds) == self._shown:
            return
        self._shown = list(builds)
        for card in self.cards:
            self._column.removeWidget(card)
            card.deleteLater()
        self.cards = [BuildCard(one) for one in builds]
        for card in self.cards:
            card.show_requested.connect(self.show_requested)
            self._column.addWidget(card)
        self.setVisible(bool(builds))
