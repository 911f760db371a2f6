"""The presets of the engine, as the window knows them, and what an open chat changed of its own."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs
from PySide6.QtCore import QObject, QTimer, Signal

from backend.api.schemas import Conversation, ErrorInfo, NewPreset, Preset, PresetUpdate
from ui.bridge.engine_link import EngineLink
from ui.chat.code_buttons import write_file
from ui.presets.sharing import from_file, to_text
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import model_name

__all__ = ["PresetSession", "differences"]

#: A change is written down when typing has paused this long.
SAVE_PAUSE_MS = 400


def differences(preset: Preset, conversation: Conversation) -> list[str]:
    """Which fields of a conversation are not as its preset has them: "system_prompt", "sampling"."""
    found = []
    if conversation.system_prompt != preset.system_prompt:
        found.append("system_prompt")
    if conversation.sampling != preset.sampling:
        found.append("sampling")
    return found


class PresetSession(QObject):
    """Reads, makes, changes and shares presets.

    Signals:
        changed: the list is another one. made(str): the id of a new one.
        problem(ErrorInfo): something could not be done. said(str): what was done.
    """

    changed = Signal()
    made = Signal(str)
    problem = Signal(object)
    said = Signal(str)

    def __init__(self, link: EngineLink, models: ModelSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link, self._models = link, models
        self.presets: list[Preset] = []
        self._unsaved: dict[str, Preset] = {}
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(SAVE_PAUSE_MS)
        self._pause.timeout.connect(self.flush)
        link.attached.connect(lambda _status: self.refresh())

    def refresh(self) -> None:
        """Read them again."""
        self._link.run(lambda engine: engine.presets(), success=self._have, quiet=True)

    def get(self, preset_id: str | None) -> Preset | None:
        """The preset of that id."""
        return next((one for one in self.presets if one.id == preset_id), None)

    def create(self, new: NewPreset) -> None:
        """Make one."""

        def made(preset: Preset) -> None:
            self._have([*self.presets, preset])
            self.made.emit(preset.id)

        self._link.run(lambda engine: engine.create_preset(new), success=made, failure=self.problem.emit)

    def duplicate(self, preset: Preset) -> None:
        """Make another one like it."""
        fields = structs.asdict(preset)
        del fields["id"]
        self.create(NewPreset(**fields | {"name": self.tr("{0} (copy)").format(preset.name)}))

    def keep(self, preset: Preset) -> None:
        """Write down a preset that was changed here, when typing has paused."""
        self._unsaved[preset.id] = preset
        self._pause.start()

    def flush(self) -> None:
        """Write down now what was changed."""
        self._pause.stop()
        for preset in self._unsaved.values():
            fields = structs.asdict(preset)
            self._write(fields.pop("id"), PresetUpdate(**fields))
        self._unsaved.clear()

    def _write(self, preset_id: str, update: PresetUpdate) -> None:
        self._link.run(lambda engine: engine.update_preset(preset_id, update), failure=self.problem.emit)

    def delete(self, preset_id: str) -> None:
        """Remove one; conversations that were made with it stay as they are."""
        self._unsaved.pop(preset_id, None)
        self._link.run(
            lambda engine: engine.delete_preset(preset_id),
            success=lambda _none: self._have([one for one in self.presets if one.id != preset_id]),
            failure=self.problem.emit,
        )

    def export(self, preset: Preset, path: Path) -> None:
        """Write one into a file."""
        names = {entry.id: model_name(entry.name) for entry in self._models.list.entries()}
        problem = write_file(path, to_text(preset, names.get(preset.model, "")))
        if problem:
            what = self.tr("{0} could not be written.").format(path.name)
            self.problem.emit(ErrorInfo(code="storage_error", what=what, why=f"{problem.rstrip('.')}."))
        else:
            self.said.emit(self.tr("Saved as {0}.").format(path.name))

    def import_file(self, path: Path) -> None:
        """Take one in from a file."""
        models = {model_name(entry.name): entry.id for entry in self._models.list.entries() if entry.error is None}
        found = from_file(path, models)
        if isinstance(found, ErrorInfo):
            self.problem.emit(found)
        else:
            self.create(found)

    def _have(self, presets: list[Preset]) -> None:
        self.presets = sorted(presets, key=lambda one: one.name.casefold())
        self.changed.emit()
