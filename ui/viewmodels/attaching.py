"""Files that are given with the message that is being written: read by the engine, counted, sent or taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
from msgspec import structs
from PySide6.QtCore import QObject, Signal

from backend.api.schemas import ErrorInfo, HeldFile, NewFile
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.model_session import ModelSession

__all__ = ["MOST_FILES", "Attaching", "PendingFile"]

_keys = count(1)
#: files that were sent and may still come back, when their message could not be
_MOST_SENT = 50
#: characters of pasted texts and pictures that are kept over an end of the program; files are kept by their paths
_MOST_KEPT = 1_000_000
#: files of one message; more than this nobody looks through, and no window of a model holds
MOST_FILES = 20


@dataclass(slots=True, eq=False)
class PendingFile:
    """A file on its way into a message. `held` is None while it is being read."""

    key: int
    name: str
    source: NewFile
    pasted: bool = False  # a long text that was pasted: it can become text again
    held: HeldFile | None = None
    asked: bool = False  # the engine is reading it

    @property
    def is_image(self) -> bool:
        """Whether it is a picture."""
        return self.held is not None and self.held.mime.startswith("image/")


class _Kept(msgspec.Struct, kw_only=True):
    """A file that was not sent, as it is kept."""

    chat: str
    source: NewFile
    pasted: bool = False


def _written(files: list[_Kept]) -> str:
    return msgspec.json.encode(files).decode() if files else ""


class Attaching(QObject):
    """The files of the chat that is shown; each chat has its own until they are sent.

    Signals:
        changed: files came, went, or were read.
        problem(ErrorInfo): a file cannot be attached; it is gone from the list.
    """

    changed = Signal()
    problem = Signal(object)

    def __init__(self, link: EngineLink, models: ModelSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link, self._models = link, models
        self._lists: dict[str, list[PendingFile]] = {}
        self._sent: list[PendingFile] = []
        self._chat = ""
        self._model = models.loaded.entry.id if models.loaded is not None else ""
        link.attached.connect(self._attached)
        models.changed.connect(self._models_changed)

    # What there is

    def files(self) -> list[PendingFile]:
        """The files of the chat that is shown, in the order in which they were attached."""
        return list(self._lists.get(self._chat, ()))

    @property
    def reading(self) -> list[str]:
        """Names of the files that are still being read."""
        return [file.name for file in self.files() if file.held is None]

    def tokens(self) -> int:
        """Tokens of all files together."""
        return sum(file.held.tokens for file in self.files() if file.held is not None)

    def show_chat(self, conversation_id: str) -> None:
        """Another chat is shown."""
        if conversation_id != self._chat:
            self._chat = conversation_id
            self.changed.emit()

    def chat_created(self, conversation_id: str) -> None:
        """The new chat, which is shown, has become a conversation."""
        files = self._lists.pop("", [])
        if files:
            self._lists.setdefault(conversation_id, []).extend(files)
        self._chat = conversation_id

    # Changing it

    def add_paths(self, paths: Sequence[str]) -> None:
        """Attach files of this machine."""
        for path in paths:
            self._add(Path(path).name or path, NewFile(path=path))

    def add_text(self, text: str) -> None:
        """Attach a text that was pasted."""
        taken = {file.name for file in self.files()}
        name, number = self.tr("Pasted text.txt"), 1
        while name in taken:
            number += 1
            name = self.tr("Pasted text {0}.txt").format(number)
        self._add(name, NewFile(name=name, text=text), pasted=True)

    def add_image(self, png: bytes) -> None:
        """Attach a picture that was pasted."""
        name = self.tr("Pasted image.png")
        self._add(name, NewFile(name=name, data=png))

    def remove(self, key: int) -> None:
        """Take a file away."""
        file = self._find(key)
        if file is None:
            return
        self._forget(file)
        held = file.held
        if held is not None and self._link.ready:
            self._link.run(lambda engine: engine.drop_file(held.id), quiet=True)
        self.changed.emit()

    def as_text(self, key: int) -> str:
        """Take a pasted text away, to be put where one types; "" where it is not one."""
        file = self._find(key)
        if file is None or not file.pasted:
            return ""
        self.remove(key)
        return file.source.text

    def take(self) -> list[PendingFile]:
        """The files of the chat that is shown, for sending; the list is empty then."""
        taken = self._lists.pop(self._chat, [])
        self._sent = [*self._sent, *taken][-_MOST_SENT:]
        if taken:
            self.changed.emit()
        return taken

    def give_back(self, held_ids: Sequence[str]) -> None:
        """Files of a message that was not sent after all."""
        back = [file for file in self._sent if file.held is not None and file.held.id in held_ids]
        here = self._lists.setdefault(self._chat, [])
        here[:0] = [file for file in back if file not in here]
        self._sent = [file for file in self._sent if file not in back]
        if back:
            self.changed.emit()

    def put_back(self, conversation_id: str, files: Sequence[PendingFile]) -> None:
        """Files of messages that were waiting to be sent: they lie in front of those of their chat again."""
        if files:
            here = self._lists.setdefault(conversation_id, [])
            here[:0] = [file for file in files if file not in here]
            self._sent = [file for file in self._sent if file not in files]
            self.changed.emit()

    # Over an end of the program

    def kept(self) -> str:
        """What `restore` takes: the files of all chats, "" where there are none."""
        room = _MOST_KEPT
        found: list[_Kept] = []
        for chat, files in self._lists.items():
            for file in files:
                room -= len(file.source.text) + len(file.source.data or b"") * 4 // 3
                if room < 0:
                    return _written(found)
                found.append(_Kept(chat=chat, source=file.source, pasted=file.pasted))
        return _written(found)

    def restore(self, kept: str) -> None:
        """Attach what was attached when the program ended; what has gone from the disk since is said and left out."""
        try:
            found = msgspec.json.decode(kept, type=list[_Kept]) if kept else []
        except msgspec.MsgspecError:  # written by another version, or damaged
            return
        for one in found:
            name = one.source.name or Path(one.source.path or "").name
            file = PendingFile(next(_keys), name, one.source, one.pasted)
            self._lists.setdefault(one.chat, []).append(file)
            self._read(file)
        if found:
            self.changed.emit()

    # Inside

    def _find(self, key: int) -> PendingFile | None:
        return next((file for file in self.files() if file.key == key), None)

    def _forget(self, file: PendingFile) -> None:
        for files in self._lists.values():
            if file in files:
                files.remove(file)

    def _add(self, name: str, source: NewFile, *, pasted: bool = False) -> None:
        if len(self.files()) >= MOST_FILES:
            what = self.tr("{0} is not attached.").format(name)
            why = self.tr("A message takes {0} files.").format(MOST_FILES)
            remedy = self.tr("Send these first, or join files.")
            self.problem.emit(ErrorInfo(code="invalid_request", what=what, why=why, remedy=remedy))
            return
        file = PendingFile(next(_keys), name, source, pasted)
        self._lists.setdefault(self._chat, []).append(file)
        self.changed.emit()
        self._read(file)

    def _read(self, file: PendingFile) -> None:
        if file.asked or not self._link.ready:
            return
        file.held, file.asked = None, True

        def done(held: HeldFile) -> None:
            file.held, file.asked = held, False
            self.changed.emit()

        def failed(error: ErrorInfo) -> None:
            self._forget(file)
            self.changed.emit()
            self.problem.emit(error)

        self._link.run(lambda engine: engine.add_file(file.source), success=done, failure=failed)

    def _everything(self) -> list[PendingFile]:
        return [file for files in self._lists.values() for file in files] + self._sent

    def _attached(self, _status: object) -> None:
        """An engine answers: it may be another one, which has read nothing yet."""
        for file in self._everything():
            file.asked = False
        if self._everything():
            self._link.run(lambda engine: engine.held_files(), success=self._have_held, quiet=True)

    def _have_held(self, held: list[HeldFile]) -> None:
        known = {one.id: one for one in held}
        waiting = [file for files in self._lists.values() for file in files]
        for file in waiting:
            if file.held is None or file.held.id not in known:
                self._read(file)
            else:
                file.held = structs.replace(known[file.held.id])
        self.changed.emit()

    def _models_changed(self) -> None:
        """Another model counts other tokens."""
        model = self._models.loaded.entry.id if self._models.loaded is not None else ""
        if model != self._model:
            self._model = model
            if model and self._link.ready and self._everything():
                self._link.run(lambda engine: engine.held_files(), success=self._have_held, quiet=True)
