"""The last page: what was measured, answers side by side, and the way to use the build."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from backend.api.compression import Answer, Compression, CompressionResult, ExportFormat, Measured
from ui.theme import metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.compression_words import duration, measured_words, percent
from ui.viewmodels.words import count, error_words, model_name, size
from ui.widgets import ElidedLabel, NoticeBar, text_label

__all__ = ["ResultPage"]


class ResultPage(QWidget):
    """Signals: use_requested(path), back_requested."""

    use_requested = Signal(str)
    back_requested = Signal()

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: tuple[str, CompressionResult] | None = None
        self.title = ElidedLabel("", "heading", mode=Qt.TextElideMode.ElideMiddle)
        self.summary = text_label("", "", wrap=True)
        self.notice = NoticeBar()
        self.figures = _Figures()
        self.compare = QPushButton(self.tr("Compare answers"))
        self.compare.clicked.connect(self._compare)
        self.compare_hint = text_label("", "secondary", wrap=True)
        self.answers = QVBoxLayout()
        self.answers.setSpacing(metrics.m)
        self._answer_cards: list[QWidget] = []
        self.back = QPushButton(self.tr("Make another"))
        self.back.clicked.connect(self.back_requested)
        self.export = QPushButton(self.tr("Export…"))
        self.export.setToolTip(self.tr("Write it as a folder that transformers and other programs load"))
        self.export.clicked.connect(self._ask_export)
        self.export_words = text_label("", "secondary", wrap=True)
        _selectable(self.export_words)
        self.use = QPushButton(self.tr("Use this model"))
        self.use.setProperty("kind", "primary")
        self.use.clicked.connect(self._use)
        card = QFrame()
        card.setProperty("card", "surface")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(metrics.l, metrics.l, metrics.l, metrics.l)
        inside.addWidget(self.figures)
        ask = QHBoxLayout()
        ask.setSpacing(metrics.m)
        ask.addWidget(self.compare)
        ask.addWidget(self.compare_hint, 1)
        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addWidget(self.back)
        row.addWidget(self.export)
        row.addStretch(1)
        row.addWidget(self.use)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addWidget(self.title)
        column.addWidget(self.summary)
        column.addWidget(self.notice)
        column.addWidget(card)
        column.addLayout(ask)
        column.addLayout(self.answers)
        column.addStretch(1)
        column.addWidget(self.export_words)
        column.addLayout(row)
        session.answered.connect(self.show_answers)
        session.export_changed.connect(self.show_export)
        self.show_answers()

    def refresh(self) -> None:
        """Show the finished compression that the session shows."""
        one = self._session.current
        if one is None or one.result is None or self._shown == (one.id, one.result):
            return
        result, measured = one.result, one.result.measured
        self._shown = (one.id, result)
        self.title.setText(self.tr("{0} is ready").format(one.name))
        share = percent(result.bytes / one.source_bytes) if one.source_bytes else ""
        words = self.tr("{0} instead of {1}").format(size(result.bytes), size(one.source_bytes))
        self.summary.setText(f"{words} ({share})." if share else f"{words}.")
        if measured is not None:
            growth = _growth(measured)
            self.summary.setText(f"{measured_words(growth)}: {self.summary.text()}")
        notes = " ".join(result.notes)
        if result.measure_error is not None:
            text = self.tr("The build is there, but it could not be measured. {0}")
            self.notice.set_notice(
                text.format(error_words(result.measure_error)), level="warning", details=result.measure_error.details
            )
        else:
            self.notice.set_notice(notes, level="info")
        self.figures.set_rows(self._rows(one, result, measured))
        self.show_answers()
        self.show_export()

    def focus_first(self) -> None:
        """The keyboard to the one main action."""
        self.use.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_answers(self) -> None:
        """The answers that are there, or how to get them."""
        session = self._session
        self.compare.setEnabled(not session.comparing)
        self.compare.setVisible(not session.answers)
        hint = ""
        if session.comparing:
            hint = self.tr("Both answer three questions, one after the other. This takes a minute or two…")
        elif not session.answers:
            hint = self.tr("Lets the original and this build answer the same questions.")
        self.compare_hint.setText(hint)
        self.compare_hint.setVisible(bool(hint))
        for card in self._answer_cards:
            self.answers.removeWidget(card)
            card.deleteLater()
        self._answer_cards = [self._answer(one) for one in session.answers]
        for card in self._answer_cards:
            self.answers.addWidget(card)

    def _rows(
        self, one: Compression, result: CompressionResult, measured: Measured | None
    ) -> list[tuple[str, str, str, str]]:
        """What, of the original, of the build, in plain words."""
        said = ""
        if result.predicted is not None:
            said = self.tr("expected after the first part: {0}").format(duration(result.predicted))
        rows = [
            (self.tr("On the disk"), size(one.source_bytes), size(result.bytes), ""),
            (
                self.tr("Bits per weight"),
                "",
                f"{result.all_bits:.2f}",
                self.tr("{0} in the layers").format(f"{result.block_bits:.2f}"),
            ),
            (self.tr("Made in"), "", duration(result.seconds), said),
        ]
        if measured is None:
            return rows
        tested = self.tr("on {0} tokens of text that was not used to make it").format(count(measured.tokens))
        return [
            (
                self.tr("Perplexity"),
                f"{measured.perplexity_reference:.2f}",
                f"{measured.perplexity:.2f}",
                self.tr("how surprised it is by text, lower is better; {0}").format(tested),
            ),
            (
                self.tr("Distance (KL)"),
                "",
                f"{measured.kl_mean:.3f}",
                self.tr("how far its choices are from the original's, 0 is the same; 1 in 100 is over {0}").format(
                    f"{measured.kl_p99:.2f}"
                ),
            ),
            (
                self.tr("Same first choice"),
                "",
                percent(measured.top1),
                self.tr("how often both would write the same next word"),
            ),
            (self.tr("Speed"), "", f"{measured.tok_s:.0f} tok/s" if measured.tok_s else "–", self.tr("measured here")),
            *rows,
        ]

    def _answer(self, answer: Answer) -> QWidget:
        card = QFrame()
        card.setProperty("card", "surface")
        grid = QGridLayout(card)
        grid.setContentsMargins(metrics.l, metrics.m, metrics.l, metrics.m)
        grid.setHorizontalSpacing(metrics.xl)
        grid.setVerticalSpacing(metrics.s)
        grid.addWidget(text_label(answer.prompt, "heading", wrap=True), 0, 0, 1, 2)
        one = self._session.current
        name = one.name if one is not None else self.tr("This build")
        sides = ((self.tr("Original"), answer.source, answer.source_tok_s), (name, answer.build, answer.build_tok_s))
        for column, (who, text, tok_s) in enumerate(sides):
            head = f"{model_name(who)} · {tok_s:.0f} tok/s" if tok_s else model_name(who)
            grid.addWidget(ElidedLabel(head, "secondary", mode=Qt.TextElideMode.ElideMiddle), 1, column)
            words = text_label(text or "–", wrap=True)
            words.setAccessibleName(f"{who}: {text}")
            _selectable(words)
            grid.addWidget(words, 2, column, Qt.AlignmentFlag.AlignTop)
            grid.setColumnStretch(column, 1)
        return card

    def _compare(self) -> None:
        one = self._session.current
        if one is not None and not self._session.comparing:
            self._session.compare(one.id)

    def show_export(self) -> None:
        """Whether it can be exported, how far that is, and where it went."""
        session, one = self._session, self._session.current
        self.export.setVisible(one is not None and _format(one) is not None)
        self.export.setEnabled(not session.exporting)
        words = ""
        if session.exporting:
            words = self.tr("Exporting: {0}").format(percent(session.export_fraction))
        elif session.exported is not None:
            made = session.exported
            words = " ".join([self.tr("Exported to {0} ({1}).").format(made.path, size(made.bytes)), *made.notes])
        self.export_words.setText(words)
        self.export_words.setVisible(bool(words))

    def export_to(self, folder: str) -> None:
        """Write it into a new folder in this one."""
        one = self._session.current
        form = _format(one) if one is not None else None
        if one is not None and form is not None and not self._session.exporting:
            name = one.out.replace("\\", "/").rpartition("/")[2].removesuffix(".nutshell")
            self._session.export(one.out, f"{folder.rstrip('/')}/{name} {form}", form)

    def _ask_export(self) -> None:
        dialog = QFileDialog(self.window(), self.tr("Export into a new folder in"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.fileSelected.connect(self.export_to)
        dialog.open()

    def _use(self) -> None:
        one = self._session.current
        if one is not None:
            self.use_requested.emit(one.out)


class _Figures(QWidget):
    """What, of the original, of the build; a line of plain words under each row."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(metrics.l)
        self._grid.setVerticalSpacing(metrics.px(2))
        self._grid.setColumnStretch(0, 1)
        self._labels: list[QLabel] = []

    def set_rows(self, rows: list[tuple[str, str, str, str]]) -> None:
        """(what, of the original, of the build, in plain words) each."""
        for label in self._labels:
            self._grid.removeWidget(label)
            label.deleteLater()
        self._labels = []
        self._put(0, 1, text_label(self.tr("Original"), "secondary"), end=True)
        self._put(0, 2, text_label(self.tr("This build"), "secondary"), end=True)
        for number, (what, source, build, words) in enumerate(rows):
            row = 1 + 2 * number
            name = text_label(what, wrap=True)
            name.setContentsMargins(0, metrics.s if number else 0, 0, 0)
            self._put(row, 0, name)
            self._put(row, 1, text_label(source, "muted"), end=True)
            value = text_label(build, "heading")
            value.setAccessibleName(f"{what}: {build}. {words}")
            self._put(row, 2, value, end=True)
            if words:
                label = text_label(words, "secondary", wrap=True)
                self._grid.addWidget(label, row + 1, 0, 1, 3)
                self._labels.append(label)

    def texts(self) -> list[str]:
        """All that stands in it."""
        return [label.text() for label in self._labels]

    def _put(self, row: int, column: int, label: QLabel, *, end: bool = False) -> None:
        side = Qt.AlignmentFlag.AlignTrailing | Qt.AlignmentFlag.AlignBottom if end else Qt.AlignmentFlag(0)
        self._grid.addWidget(label, row, column, side)
        self._labels.append(label)


def _format(one: Compression) -> ExportFormat | None:
    """What it can be exported as; None: there is no published form for it."""
    level = one.levels[0] if one.levels else ""
    return "hf-aqlm" if level.startswith("aqlm") else "hf-spqr" if level == "spqr-3" else None


def _growth(measured: Measured) -> float:
    before = measured.perplexity_reference
    return measured.perplexity / before - 1.0 if before > 0 else 0.0


def _selectable(label: QLabel) -> None:
    label.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
