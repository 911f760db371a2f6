"""The options of a compression, folded away: the defaults are good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from backend.api.compression import CompressionOptions, Tuning
from ui.theme import metrics
from ui.widgets import ElidedLabel, HoverButton, IconButton, text_label

__all__ = ["SLIDER", "OptionsForm"]

#: the levels of a build with a slider, besides the one that was chosen
SLIDER = ("aqlm-2x8", "aqlm-3x8", "spqr-4")

_GB = 1_000_000_000


class OptionsForm(QWidget):
    """Signals: changed (what the plan depends on: it should be asked for again)."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts: list[str] = []
        self.name = QLineEdit()
        self.name.setPlaceholderText(self.tr("as the model, with its size"))
        self.tuning = QComboBox()
        for value, words in (
            ("none", self.tr("None: fastest")),
            ("block", self.tr("Layer by layer: better at the small sizes, about three times as long")),
            ("p", self.tr("Then all layers together: better still, longer again")),
            ("pv", self.tr("All layers together, codes as well: the best of 2 bits, the longest")),
        ):
            self.tuning.addItem(words, value)
        self.memory = QComboBox()
        self.memory.addItem(self.tr("Half of what is free"), 0)
        for amount in (2, 4, 8, 16, 32):
            self.memory.addItem(self.tr("At most {0} GB").format(amount), amount * _GB)
        self.slider = QCheckBox(self.tr("2, 3 and 4 bits in one file"))
        words = self.tr(
            "Then a slider moves between speed and quality while you chat. Takes about three times as long and three "
            "times the room on the disk, not in memory; without fine-tuning."
        )
        self.slider.setAccessibleDescription(words)
        self.slider.toggled.connect(self._slider_toggled)
        sliding = QVBoxLayout()
        sliding.setSpacing(metrics.px(2))
        sliding.addWidget(self.slider)
        sliding.addWidget(text_label(words, "secondary", wrap=True))
        self.own = QCheckBox(self.tr("Only my texts"))
        self.own.setEnabled(False)
        for box in (self.tuning, self.memory):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(14)
            box.currentIndexChanged.connect(self.changed)
        self.add_file = HoverButton(self.tr("Add files…"), icon="file")
        self.add_file.clicked.connect(self._ask_files)
        self.add_folder = HoverButton(self.tr("Add a folder…"), icon="folder")
        self.add_folder.clicked.connect(self._ask_folder)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        buttons.addWidget(self.add_file)
        buttons.addWidget(self.add_folder)
        buttons.addStretch(1)
        self._rows = QVBoxLayout()
        self._rows.setSpacing(metrics.px(2))
        texts = QVBoxLayout()
        texts.setSpacing(metrics.xs)
        texts.addWidget(
            text_label(
                self.tr(
                    "Texts like those that you will work with make the build better at them: your language, your code. "
                    "They are added to those that come with Nutshell."
                ),
                "secondary",
                wrap=True,
            )
        )
        texts.addLayout(self._rows)
        texts.addLayout(buttons)
        texts.addWidget(self.own)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(metrics.l)
        grid.setVerticalSpacing(metrics.m)
        grid.setColumnStretch(1, 1)
        for row, (words, field) in enumerate(
            (
                (self.tr("Name"), self.name),
                (self.tr("Fine-tuning"), self.tuning),
                (self.tr("Memory for the work"), self.memory),
            )
        ):
            label = text_label(words)
            label.setBuddy(field)
            field.setAccessibleName(words)
            grid.addWidget(label, row, 0)
            grid.addWidget(field, row, 1)
        grid.addWidget(text_label(self.tr("Slider")), 3, 0, Qt.AlignmentFlag.AlignTop)
        grid.addLayout(sliding, 3, 1)
        grid.addWidget(text_label(self.tr("Your own texts")), 4, 0, Qt.AlignmentFlag.AlignTop)
        grid.addLayout(texts, 4, 1)

    def options(self) -> CompressionOptions:
        """What was chosen."""
        return CompressionOptions(
            tuning="none" if self.slider.isChecked() else cast(Tuning, self.tuning.currentData()),
            texts=list(self._texts),
            own_text_only=self.own.isChecked() and bool(self._texts),
            memory=int(self.memory.currentData()),
        )

    def levels(self, level: str, order: Sequence[str]) -> list[str]:
        """What the build is to hold.

        Args:
            level: that was chosen.
            order: all that there are, from the smallest to the largest.
        """
        wanted = {level, *(SLIDER if self.slider.isChecked() else ())}
        return [one for one in order if one in wanted]

    def _slider_toggled(self, on: bool) -> None:
        tuned = self.tuning.currentData() != "none"
        self.tuning.setEnabled(not on)
        if tuned:
            self.changed.emit()

    def add_texts(self, paths: list[str]) -> None:
        """More files or folders for calibration."""
        for path in paths:
            if path and path not in self._texts:
                self._texts.append(path)
                self._rows.addWidget(self._row(path))
        self.own.setEnabled(bool(self._texts))

    def _row(self, path: str) -> QWidget:
        made = QWidget()
        row = QHBoxLayout(made)
        row.setContentsMargins(0, 0, 0, 0)
        remove = IconButton("close", self.tr("Remove {0}").format(Path(path).name))
        row.addWidget(ElidedLabel(path, mode=Qt.TextElideMode.ElideMiddle), 1)
        row.addWidget(remove)

        def drop() -> None:
            self._texts.remove(path)
            self._rows.removeWidget(made)
            made.deleteLater()
            self.own.setEnabled(bool(self._texts))

        remove.clicked.connect(drop)
        return made

    def _ask_files(self) -> None:
        dialog = QFileDialog(self.window(), self.tr("Add text files"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        self._open(dialog)

    def _ask_folder(self) -> None:
        dialog = QFileDialog(self.window(), self.tr("Add a folder of texts"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        self._open(dialog)

    def _open(self, dialog: QFileDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(self.add_texts)
        dialog.open()
