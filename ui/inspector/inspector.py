"""The bar at the right: system prompt, word choice, what happens when a chat gets long, context and memory."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import QButtonGroup, QCheckBox, QPlainTextEdit, QRadioButton, QScrollArea, QVBoxLayout, QWidget

from backend.api.schemas import ContextPolicy, HardwareReport, Sampling, TurnStats
from ui.bridge.engine_link import EngineLink
from ui.inspector.fields import help_label, section
from ui.inspector.overrides import PresetPanel
from ui.inspector.position import PositionPanel
from ui.inspector.sampling import SamplingPanel
from ui.inspector.speedup import SpeedupPanel
from ui.presets.session import PresetSession
from ui.theme import color, metrics, theme_changed
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import size, tokens_of
from ui.widgets import Meter, text_label

__all__ = ["Inspector"]

#: A change is written down when typing has paused this long; sending or leaving the chat writes it at once.
SAVE_PAUSE_MS = 500
#: While an answer streams the context meter moves at most this often; it moves by a hair, and costs a repaint.
CONTEXT_PAUSE_S = 0.5

_POLICIES: tuple[ContextPolicy, ...] = ("drop_middle", "drop_oldest", "stop")


class Inspector(QWidget):
    """Shows and changes how the open conversation is answered; every change counts from the next turn on."""

    def __init__(
        self,
        chat: ChatSession,
        models: ModelSession,
        link: EngineLink,
        presets: PresetSession,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.preset = PresetPanel(presets)
        self.preset.reset_requested.connect(self._reset_to_preset)
        self._chat, self._models, self._link = chat, models, link
        self._showing = False
        self._dirty, self._dirty_in = False, ""  # changed by the user and not written down; in which conversation
        self._reading = ("", 0, 0)  # message, tokens read, tokens in all
        self._tokens = ("", 0)  # message, tokens written
        self._context_shown = 0.0  # time.monotonic()
        self._report: HardwareReport | None = None
        self.prompt = QPlainTextEdit()
        self.prompt.setPlaceholderText(self.tr("How should it answer? For example: Be brief. Answer in German."))
        self.prompt.setAccessibleName(self.tr("System prompt"))
        self.prompt.setTabChangesFocus(True)
        self.prompt.setFixedHeight(metrics.px(96))
        self.prompt.textChanged.connect(self._changed)
        self.sampling = SamplingPanel()
        self.sampling.changed.connect(self._changed)
        self.position = PositionPanel()
        self.position.wanted.connect(models.move)
        self.position.stale.connect(models.look_for_builds)
        self.position.taken.connect(lambda stop: models.take(stop.load, stop.name))
        self.speedup = SpeedupPanel()
        self.speedup.wanted.connect(models.speculate)
        self.speedup.asks_report.connect(self._ask_passes)
        self.speedup.asks_drafts.connect(self._ask_drafts)
        self.policies = QButtonGroup(self)
        policies = QWidget()
        choices = QVBoxLayout(policies)
        choices.setContentsMargins(0, 0, 0, 0)
        choices.setSpacing(metrics.s)
        for number, (label, words) in enumerate(self._policy_words()):
            button = QRadioButton(label)
            button.setToolTip(words)
            button.setAccessibleDescription(words)
            self.policies.addButton(button, number)
            choices.addWidget(button)
        self.policies.idClicked.connect(self._changed)
        self.context = Meter(self.tr("Context"))
        self.memory = Meter(self.tr("Memory"))
        self.memory_parts = text_label("", "secondary", wrap=True)

        self.kv = QCheckBox(self.tr("Half the conversation memory"))
        words = self.tr(
            "Leaves room for a longer chat. Answers may suffer a little, and a GGUF file reads long texts at half the "
            "speed. The model is loaded again."
        )
        self.kv.setAccessibleDescription(words)
        self.kv_help = help_label(words)
        self.kv.toggled.connect(self._choose_kv)

        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(metrics.l, metrics.m, metrics.l, metrics.l)
        column.setSpacing(metrics.xl)
        column.addWidget(self.preset)
        self.position_section = section(self.tr("Speed or quality"), self.position)
        self.speedup_section = section(self.tr("Speed-up"), self.speedup)
        column.addWidget(self.position_section)
        column.addWidget(section(self.tr("System prompt"), self.prompt))
        column.addWidget(section(self.tr("Creativity"), self.sampling))
        column.addWidget(section(self.tr("When the chat gets too long"), policies))
        column.addWidget(self.speedup_section)
        column.addWidget(section("", self.context))
        column.addWidget(section("", self.memory, self.memory_parts, self.kv, self.kv_help))
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(1, 0, 0, 0)
        outer.addWidget(area)

        self._save = QTimer(self)
        self._save.setSingleShot(True)
        self._save.setInterval(SAVE_PAUSE_MS)
        self._save.timeout.connect(self.flush)
        chat.about_to_ask.connect(self.flush)
        chat.opened.connect(self.refresh)
        chat.details_changed.connect(self.refresh)
        chat.branch_changed.connect(self._show_context)
        chat.message_finished.connect(self._show_context)
        chat.text_arrived.connect(lambda delta: self._written(delta.message_id, delta.tokens))
        chat.text_arrived.connect(self.speedup.text_arrived)
        chat.message_finished.connect(self._ask_passes)
        chat.busy_changed.connect(self._show_speedup)
        chat.progress.connect(self._read)
        chat.busy_changed.connect(self._show_kv)
        chat.busy_changed.connect(self._show_position)
        models.changed.connect(self._model_changed)
        theme_changed.connect(self.update)
        self.refresh()

    def _policy_words(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.tr("Leave out the middle"), self.tr("The model sees the beginning and the newest messages.")),
            (self.tr("Leave out the oldest"), self.tr("The model sees as many of the newest messages as fit.")),
            (self.tr("Stop and say so"), self.tr("Nothing is left out; a message that does not fit is not sent.")),
        )

    # Showing

    def refresh(self) -> None:
        """Show the open conversation. What the user is typing and has not been saved stays."""
        if self._dirty and self._dirty_in == self._chat.open_id:
            return
        self._dirty = False
        self._save.stop()
        conversation = self._chat.conversation
        self._showing = True
        if self.prompt.toPlainText() != conversation.system_prompt:
            self.prompt.setPlainText(conversation.system_prompt)
        self._show_sampling()
        self.preset.set_conversation(conversation)
        policy = conversation.context_policy
        button = self.policies.button(_POLICIES.index(policy) if policy in _POLICIES else 0)
        button.setChecked(True)
        self._showing = False
        self._show_context()

    def flush(self) -> None:
        """Write down now what was changed. Called before anything is sent and before another chat is shown."""
        if not self._dirty:
            return
        self._dirty = False
        self._save.stop()
        self._chat.configure(
            system_prompt=self.prompt.toPlainText(),
            sampling=self.sampling.value,
            context_policy=_POLICIES[self.policies.checkedId()],
        )
        self.preset.set_conversation(self._chat.conversation)

    def _reset_to_preset(self, fields: list[str]) -> None:
        """Take back what this chat changed of its preset."""
        preset = self.preset.preset()
        if preset is None:
            return
        self.flush()
        if "system_prompt" in fields:
            self._chat.configure(system_prompt=preset.system_prompt)
        if "sampling" in fields:
            self._chat.configure(sampling=preset.sampling)
        self.refresh()

    def _show_sampling(self) -> None:
        loaded = self._models.loaded
        self.sampling.set_value(self._chat.conversation.sampling, loaded.sampling if loaded else Sampling())

    def _show_context(self, _message: object = None) -> None:
        loaded = self._models.loaded
        stats: TurnStats | None = next(
            (message.stats for message in reversed(self._chat.branch()) if message.stats is not None), None
        )
        total = loaded.n_ctx if loaded else stats.context_length if stats else 0
        used = stats.context_used if stats else 0
        streaming = self._chat.streaming_id
        if streaming is not None:
            prompt = self._reading[2] if self._reading[0] == streaming else used
            used = prompt + (self._tokens[1] if self._tokens[0] == streaming else 0)
        if total <= 0:
            self.context.set_value(0.0, self.tr("No model is loaded."))
            return
        share = used / total
        self.context.set_value(
            share, tokens_of(used, total), "danger" if share > 0.98 else "warn" if share > 0.85 else ""
        )

    def _read(self, message_id: str, done: int, total: int) -> None:
        self._reading = (message_id, done, total)
        self._show_context()

    def _written(self, message_id: str, tokens: int) -> None:
        self._tokens = (message_id, tokens)
        now = time.monotonic()
        if self.isVisible() and now - self._context_shown >= CONTEXT_PAUSE_S:
            self._context_shown = now
            self._show_context()

    def _model_changed(self) -> None:
        if not self._dirty:
            self._showing = True
            self._show_sampling()
            self._showing = False
        self._show_context()
        self._show_memory()
        if self.isVisible():
            self._ask_memory()

    def _ask_memory(self) -> None:
        if self._link.ready and not self._models.loading:
            self._link.run(lambda engine: engine.hardware(), success=self._have_report, quiet=True)

    def _have_report(self, report: HardwareReport) -> None:
        self._report = report
        self._show_memory()

    def _show_position(self, _busy: object = None) -> None:
        """What the loaded model takes and gives, on a slider where it was made at several sizes or is here in several
        builds.
        """
        models = self._models
        self.position.set_model(models.loaded, models.ladder, moving=models.moving, answering=self._chat.busy)
        self.position_section.setVisible(bool(self.position.track.stops))

    def _show_speedup(self, _busy: object = None) -> None:
        """Models that cannot drop what they have read cannot guess."""
        loaded = self._models.loaded
        self.speedup.set_model(loaded, busy=self._chat.busy or self._models.loading)
        self.speedup_section.setVisible(loaded is not None and loaded.speculation != "")

    def _ask_passes(self, _message: object = None) -> None:
        if self._link.ready and self.speedup.isVisible():
            self._link.run(lambda engine: engine.passes(), success=self.speedup.set_report, quiet=True)

    def _ask_drafts(self) -> None:
        if self._link.ready:
            self._link.run(lambda engine: engine.drafts(), success=self.speedup.set_drafts, quiet=True)

    def _show_kv(self, _busy: object = None) -> None:
        """The choice is there with models that have one, and waits for the end of an answer or a load."""
        loaded = self._models.loaded
        there = loaded is not None and loaded.kv != ""
        self.kv.setVisible(there)
        self.kv_help.setVisible(there)
        self.kv.setEnabled(not self._chat.busy and not self._models.loading)
        self._showing = True
        self.kv.setChecked(self._models.kv == "q8")
        self._showing = False

    def _choose_kv(self, half: bool) -> None:
        if not self._showing:
            self._models.choose_kv("q8" if half else "f16")

    def _show_memory(self) -> None:
        self._show_kv()
        self._show_position()
        self._show_speedup()
        loaded, report = self._models.loaded, self._report
        if loaded is None:
            self.memory.set_value(0.0, self.tr("No model is loaded."))
            self.memory_parts.hide()
            return
        used = loaded.held_bytes
        if report is not None and report.memory.total > 0:
            words = self.tr("{0} of {1}").format(size(used), size(report.memory.total))
            share = used / report.memory.total
        else:
            words, share = size(used), 0.0
        self.memory.set_value(share, words, "warn" if share > 0.8 else "")
        held = size(loaded.weight_bytes - loaded.streamed_bytes)
        words = self.tr("Model {0}, conversation memory {1}").format(held, size(loaded.kv_bytes))
        if loaded.draft_bytes:
            words += self.tr(", the model that guesses {0}").format(size(loaded.draft_bytes))
        if loaded.streamed_bytes:
            words += " · " + self.tr("{0} of the model are read from the disk for every word").format(
                size(loaded.streamed_bytes)
            )
        self.memory_parts.setText(words)
        self.memory_parts.show()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_context()
        self._show_memory()
        if self._report is None:
            self._ask_memory()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), color("window"))
        at_right = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        painter.fillRect(self.width() - 1 if at_right else 0, 0, 1, self.height(), color("line"))

    # Changing

    def _changed(self, *_: object) -> None:
        if not self._showing:
            self._dirty, self._dirty_in = True, self._chat.open_id
            self._save.start()
