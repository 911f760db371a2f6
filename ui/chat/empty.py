"""What an empty conversation shows: a greeting and three ways to begin."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.buttons import HoverButton
from ui.widgets.labels import text_label

__all__ = ["EmptyState"]


class EmptyState(QWidget):
    """A greeting sentence and example prompts.

    Signals:
        prompt_chosen(str): the text of an example.
        compress_requested: make a model smaller. recommend_requested: find a model for this machine.
    """

    prompt_chosen = Signal(str)
    compress_requested = Signal()
    recommend_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        greeting = text_label(self.tr("What would you like to know?"), "title")
        greeting.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        detail = text_label(self.tr("Everything you write stays on this computer."), "muted", wrap=True)
        detail.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        column.addStretch(2)
        column.addWidget(greeting)
        column.addWidget(detail)
        column.addSpacing(metrics.l)
        self.buttons: list[HoverButton] = []
        for label, prompt in self._examples():
            button = HoverButton(label, icon="chat")
            button.clicked.connect(lambda _checked=False, text=prompt: self.prompt_chosen.emit(text))
            column.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
            self.buttons.append(button)
        column.addSpacing(metrics.l)
        self.recommend = HoverButton(self.tr("Find a better model for this machine…"), icon="search")
        self.recommend.clicked.connect(self.recommend_requested)
        column.addWidget(self.recommend, 0, Qt.AlignmentFlag.AlignHCenter)
        self.compress = HoverButton(self.tr("Make a model smaller…"), icon="compress")
        self.compress.clicked.connect(self.compress_requested)
        column.addWidget(self.compress, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)
        self.set_beginner(False)

    def set_beginner(self, beginner: bool) -> None:
        """Whether there is no model but the one that came with the program.

        One of two buttons is shown: both are more than fits at 200 %.
        """
        self.recommend.setVisible(beginner)
        self.compress.setVisible(not beginner)

    def _examples(self) -> list[tuple[str, str]]:
        return [
            (
                self.tr("Explain why the sky is blue, for a ten-year-old"),
                self.tr("Explain why the sky is blue, for a ten-year-old."),
            ),
            (
                self.tr("Write a short note that thanks a neighbour"),
                self.tr("Write a short, warm note that thanks my neighbour for watering the plants."),
            ),
            (
                self.tr("Show how to merge two sorted lists in Python"),
                self.tr("Show how to merge two sorted lists in Python, with one example."),
            ),
        ]
