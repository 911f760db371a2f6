"""With which preset a chat was begun, and what was changed of it since."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from backend.api.schemas import Conversation, Preset
from ui.presets.session import PresetSession, differences
from ui.theme import metrics
from ui.widgets import ElidedLabel, HoverButton, text_label

__all__ = ["PresetPanel"]


class PresetPanel(QWidget):
    """Hidden for chats without a preset. Each difference has a button that takes it back, and so have all together.

    Signals:
        reset_requested(list): the fields to take back.
    """

    reset_requested = Signal(list)

    def __init__(self, presets: PresetSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._presets = presets
        self._conversation: Conversation | None = None
        self.name = ElidedLabel("", "heading")
        self.state = text_label("", "secondary", wrap=True)
        words = {
            "system_prompt": self.tr("Take back the system prompt"),
            "sampling": self.tr("Take back the word choice"),
            "": self.tr("Take back everything"),
        }
        self.buttons: dict[str, HoverButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self.name)
        column.addWidget(self.state)
        for field, text in words.items():
            button = self.buttons[field] = HoverButton(text, icon="undo")
            button.setProperty("align", "flush")
            button.clicked.connect(lambda _=False, field=field: self.reset_requested.emit(self._fields(field)))
            column.addWidget(button)
        presets.changed.connect(self._show)
        self._show()

    def preset(self) -> Preset | None:
        """The preset of the chat that is shown."""
        return self._presets.get(self._conversation.preset_id) if self._conversation is not None else None

    def set_conversation(self, conversation: Conversation) -> None:
        """Show how a chat stands to its preset."""
        self._conversation = conversation
        self._show()

    def _fields(self, field: str) -> list[str]:
        return [field] if field else ["system_prompt", "sampling"]

    def _show(self) -> None:
        preset = self.preset()
        self.setVisible(preset is not None)
        if preset is None or self._conversation is None:
            return
        changed = differences(preset, self._conversation)
        names = {"system_prompt": self.tr("system prompt"), "sampling": self.tr("word choice")}
        self.name.setText(preset.name)
        if changed:
            listed = self.tr(" and ").join(names[field] for field in changed)
            self.state.setText(self.tr("Changed in this chat: {0}.").format(listed))
        else:
            self.state.setText(self.tr("Answers as this preset says."))
        for field, button in self.buttons.items():
            button.setVisible(field in changed if field else len(changed) > 1)
