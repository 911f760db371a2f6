"""Processor, memory, graphics, disk, and what the loaded model uses, in plain words."""

from __future__ import annotations

from PySide6.QtCore import QDateTime, QLocale, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from backend.api.schemas import DiskReport, ErrorInfo, GpuReport, HardwareReport
from ui.bridge.engine_link import EngineLink
from ui.theme import bind_icon, metrics
from ui.viewmodels.words import count, error_words, parameter_words, quantization_words, size
from ui.widgets import Meter, text_label
from ui.widgets.page import fill_with_page

__all__ = ["HardwarePage"]

_WIDEST = 720


class HardwarePage(QWidget):
    """Asks the engine when it is shown and when Refresh is pressed; it does not watch by itself.

    Speeds are measured by the engine once a day, and when Measure again is pressed.
    """

    def __init__(self, link: EngineLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.refresh_button = QPushButton(self.tr("Refresh"))
        bind_icon(self.refresh_button, "retry", "muted")
        self.refresh_button.clicked.connect(self.refresh)
        self.measure_button = QPushButton(self.tr("Measure again"))
        self.measure_button.setToolTip(self.tr("Measures how fast the memory and the disks are: about two seconds"))
        bind_icon(self.measure_button, "clock", "muted")
        self.measure_button.clicked.connect(self.measure)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Hardware"), "title"), 1)
        head.addWidget(self.measure_button)
        head.addWidget(self.refresh_button)
        self.state = text_label("", "muted", wrap=True)
        self._cards = QVBoxLayout()
        self._cards.setSpacing(metrics.m)
        self._body: QWidget | None = None

        page = QWidget()
        page.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.l)
        column.addLayout(head)
        column.addWidget(self.state)
        column.addLayout(self._cards)
        column.addStretch(1)
        fill_with_page(self, page, sideways=True)
        link.attached.connect(self._engine_came)
        link.model_changed.connect(self._engine_came)

    def refresh(self) -> None:
        """Read the machine again."""
        if not self._link.ready:
            self._say(self.tr("The engine reads the machine. {0}").format(self._link.sentence))
            return
        if self._body is None:
            self._say(self.tr("Reading the machine…"))
        self._enable(False)
        self._link.run(lambda engine: engine.hardware(), success=self.show_report, failure=self._failed)

    def measure(self) -> None:
        """Measure the speeds of memory and disks again."""
        if not self._link.ready:
            self.refresh()  # says why not
            return
        self._say(self.tr("Measuring memory and disks…"))
        self._enable(False)
        self._link.run(lambda engine: engine.measure_hardware(), success=self.show_report, failure=self._failed)

    def show_report(self, report: HardwareReport) -> None:
        """Show a report in place of the one before."""
        self._say("")
        self._enable(True)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        for card in (self._processor(report), self._memory(report), self._graphics(report), self._disks(report),
                     self._model(report), self._engine(report)):  # fmt: skip
            column.addWidget(card)
        if self._body is not None:
            self._cards.removeWidget(self._body)
            self._body.deleteLater()
        self._body = body
        self._cards.addWidget(body)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def _engine_came(self, _what: object) -> None:
        if self.isVisible():
            self.refresh()

    def _enable(self, on: bool) -> None:
        self.refresh_button.setEnabled(on)
        self.measure_button.setEnabled(on)

    def _failed(self, error: ErrorInfo) -> None:
        self._enable(True)
        self._say(error_words(error))

    def _say(self, sentence: str) -> None:
        self.state.setText(sentence)
        self.state.setVisible(bool(sentence))

    # Cards

    def _processor(self, report: HardwareReport) -> QFrame:
        cpu = report.cpu
        cores = self.tr("{0} cores, {1} threads").format(cpu.cores, cpu.threads)
        if cpu.performance_cores and cpu.efficiency_cores:
            cores = self.tr("{0} cores for performance, {1} for efficiency; {2} threads").format(
                cpu.performance_cores, cpu.efficiency_cores, cpu.threads
            )
        features = self.tr("Fast paths: {0}").format(", ".join(cpu.features)) if cpu.features else ""
        return self._card(self.tr("Processor"), cpu.name or self.tr("Unknown processor"), cores, features)

    def _memory(self, report: HardwareReport) -> QFrame:
        memory = report.memory
        used = max(0, memory.total - memory.available)
        meter = Meter(self.tr("In use"))
        share = used / memory.total if memory.total else 0.0
        words = self.tr("{0} of {1} in use, {2} free").format(size(used), size(memory.total), size(memory.available))
        meter.set_value(share, words, "warn" if share > 0.9 else "")
        return self._card(self.tr("Memory"), size(memory.total), meter, self._speed(memory.rate, memory.measured))

    def _graphics(self, report: HardwareReport) -> QFrame:
        if not report.gpus:
            return self._card(
                self.tr("Graphics"),
                self.tr("No graphics processor was found that can run models."),
                self.tr("The model runs on the processor; small models are quick there."),
            )
        parts: list[QWidget | str] = []
        for gpu in report.gpus:
            meter = Meter(f"{gpu.name} ({gpu.backend})" if gpu.backend else gpu.name)
            used = max(0, gpu.vram_total - gpu.vram_free)
            words = self.tr("{0} of {1} video memory in use, {2} free").format(
                size(used), size(gpu.vram_total), size(gpu.vram_free)
            )
            meter.set_value(used / gpu.vram_total if gpu.vram_total else 0.0, words)
            parts += [meter, *self._around(gpu)]
        return self._card(self.tr("Graphics"), *parts)

    def _around(self, gpu: GpuReport) -> list[QWidget | str]:
        """How a card is reached, who else uses it, and that a model cannot."""
        found = []
        if gpu.link:
            found.append(self.tr("Connected by {0}, {1} a second.").format(gpu.link, size(round(gpu.link_rate))))
        if gpu.users:
            users = (f"{one.name} ({size(one.bytes)})" if one.bytes else one.name for one in gpu.users)
            found.append(self.tr("Also used by {0}.").format(", ".join(users)))
        if not gpu.backend:
            found.append(self.tr("Models run without it: this engine was built for the processor alone."))
        return [text_label(words, "muted", wrap=True) for words in found]

    def _disks(self, report: HardwareReport) -> QFrame:
        parts: list[QWidget | str] = []
        for disk in report.disks or [report.disk]:
            parts.append(self._disk(disk))
            if words := self._speed(disk.rate, disk.measured):
                parts.append(text_label(words, "muted", wrap=True))
        return self._card(self.tr("Disks") if len(report.disks) > 1 else self.tr("Disk"), *parts)

    def _disk(self, disk: DiskReport) -> Meter:
        used = max(0, disk.total - disk.free)
        meter = Meter(disk.path)
        share = used / disk.total if disk.total else 0.0
        meter.set_value(share, self.tr("{0} of {1} free").format(size(disk.free), size(disk.total)),
                        "warn" if share > 0.95 else "")  # fmt: skip
        return meter

    def _speed(self, rate: float, measured: float) -> str:
        if not rate:
            return ""
        when = QDateTime.fromSecsSinceEpoch(int(measured)).time()
        clock = QLocale().toString(when, QLocale.FormatType.ShortFormat)
        return self.tr("Read at {0} a second, measured at {1}.").format(size(round(rate)), clock)

    def _model(self, report: HardwareReport) -> QFrame:
        model = report.model
        if model is None:
            return self._card(self.tr("Loaded model"), self.tr("No model is loaded."))
        entry = model.entry
        facts = " · ".join(
            part for part in (parameter_words(entry.parameters), quantization_words(entry.quantization)) if part
        )
        total = report.memory.total
        meter = Meter(self.tr("Model and conversation memory"))
        used = model.held_bytes
        words = self.tr("{0} for the model, {1} for {2} tokens of conversation").format(
            size(model.weight_bytes - model.streamed_bytes), size(model.kv_bytes), count(model.n_ctx)
        )
        if model.draft_bytes:
            words += self.tr(", {0} for the model that guesses").format(size(model.draft_bytes))
        meter.set_value(used / total if total else 0.0, words)
        where = (
            self.tr("{0} of its layers are on the graphics processor").format(model.n_gpu_layers)
            if model.n_gpu_layers > 0
            else self.tr("It runs on {0} processor threads").format(model.n_threads)
        )
        if model.link_bytes:
            where = self.tr(
                "{0} of its layers stay on the graphics processor, {1} of the others pass through it"
            ).format(model.n_gpu_layers, size(model.link_bytes))
        loaded = self.tr("loaded in {0:.1f} s").format(model.load_s)
        return self._card(self.tr("Loaded model"), entry.name, facts, meter, f"{where}, {loaded}.", report.limit)

    def _engine(self, report: HardwareReport) -> QFrame:
        return self._card(
            self.tr("Engine process"),
            self.tr("It uses {0} of memory now.").format(size(report.engine_rss)),
            report.engine_build,
            report.os,
        )

    @staticmethod
    def _card(title: str, *parts: QWidget | str) -> QFrame:
        card = QFrame()
        card.setProperty("card", "surface")
        column = QVBoxLayout(card)
        column.setContentsMargins(metrics.l, metrics.m, metrics.l, metrics.m)
        column.setSpacing(metrics.s)
        column.addWidget(text_label(title, "heading"))
        first = True
        for part in parts:
            if isinstance(part, QWidget):
                column.addWidget(part)
            elif part:
                label = text_label(part, "" if first else "muted", wrap=True)
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                column.addWidget(label)
                first = False
        return card
