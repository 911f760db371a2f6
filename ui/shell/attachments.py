"""Files in the chat: the chips over the composer, pictures and files of messages, what is dropped."""

from __future__ import annotations

from PySide6.QtCore import QObject
from PySide6.QtGui import QImage, QPixmap
from PySide6.QtWidgets import QFileDialog, QWidget

from backend.api.schemas import Attachment, ErrorInfo
from ui.bridge.engine_link import EngineLink
from ui.chat.composer import Composer
from ui.chat.conversation_view import ConversationView
from ui.chat.file_chips import PICTURE_PX, FileChip
from ui.chat.file_viewer import FileViewer
from ui.chat.pictures import load_picture, picture_file, to_png
from ui.theme import metrics
from ui.viewmodels.attaching import Attaching, PendingFile
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import count, size

__all__ = ["ChatFiles"]

_LARGE_PX = 2400


class ChatFiles(QObject):
    """Ties the files of a chat to its composer and its messages."""

    def __init__(
        self,
        link: EngineLink,
        chat: ChatSession,
        models: ModelSession,
        composer: Composer,
        view: ConversationView,
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._link, self._chat, self._models = link, chat, models
        self._composer, self._view, self._window = composer, view, window
        self.attaching = Attaching(link, models, self)
        self._chips: dict[int, FileChip] = {}
        composer.attach_requested.connect(self.ask)
        composer.input.files_given.connect(self.attaching.add_paths)
        composer.input.picture_given.connect(lambda picture: self.attaching.add_image(to_png(picture)))
        composer.input.long_text_given.connect(self.attaching.add_text)
        composer.input.textChanged.connect(self._say)
        self.attaching.changed.connect(self.refresh)
        self.attaching.problem.connect(chat.problem)
        chat.files_returned.connect(self.attaching.give_back)
        models.changed.connect(self._say)
        view.file_opened.connect(self.open_file)
        view.picture_wanted.connect(self._fetch_picture)

    def ask(self) -> QFileDialog:
        """Asks for files."""
        dialog = QFileDialog(self._window, self.tr("Attach files"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.filesSelected.connect(self.attaching.add_paths)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        return dialog

    # Over the composer

    def refresh(self) -> None:
        """Shows the files of the chat that is open."""
        files = self.attaching.files()
        known, self._chips = self._chips, {}
        for file in files:
            chip = known.get(file.key) or self._chip(file)
            chip.set_about(self._about(file))
            self._chips[file.key] = chip
        self._say()

    def _chip(self, file: PendingFile) -> FileChip:
        chip = FileChip(self._composer.chips, file.name, "", removable=True, pasted=file.pasted)
        key = file.key
        chip.removed.connect(lambda: self.attaching.remove(key))
        chip.text_wanted.connect(lambda: self._as_text(key))
        data, path = file.source.data, file.source.path
        picture = (
            load_picture(data, PICTURE_PX) if data is not None else picture_file(path, PICTURE_PX) if path else None
        )
        if picture is not None and not picture.isNull():
            chip.set_picture(QPixmap.fromImage(picture))
        return chip

    def _as_text(self, key: int) -> None:
        text = self.attaching.as_text(key)
        if text:
            self._composer.input.insertPlainText(text)
            self._composer.input.ensureCursorVisible()
            self._composer.setFocus()

    def _about(self, file: PendingFile) -> str:
        held = file.held
        if held is None:
            return self.tr("Reading…") if self._link.ready else self.tr("Waits for the engine")
        if file.is_image:
            return size(held.size)
        tokens = self.tr("{0} tokens") if held.counted else self.tr("about {0} tokens")
        return f"{size(held.size)} · {tokens.format(count(held.tokens))}"

    def _say(self) -> None:
        chips = list(self._chips.values())
        if chips or self._composer.chips.chips():
            self._composer.set_chips(chips, note=self._note(), reason=self._reason())

    def _note(self) -> str:
        notes = []
        if any(file.is_image for file in self.attaching.files()):
            notes.append(self.tr("No model here sees pictures yet: it is told their names only."))
        room, used = self._room(), self._used()
        tokens = self.attaching.tokens()
        if room and tokens <= room < tokens + used:
            if self._chat.conversation.context_policy == "stop":
                notes.append(self.tr("With what was said before this does not fit: start a new chat for it."))
            else:
                notes.append(self.tr("Earlier messages will be left out to make room for this."))
        return " ".join(notes)

    def _reason(self) -> str:
        reading = self.attaching.reading
        if reading:
            return self.tr("Reading {0}…").format(reading[0])
        files = [file for file in self.attaching.files() if file.held is not None]
        room, tokens = self._room(), self.attaching.tokens()
        # A guess must not keep anything from being sent; a count does, because the answer would only be an error.
        counted = all(file.held is not None and file.held.counted for file in files)
        if files and room and counted and tokens > room:
            return self.tr(
                "{0} tokens are too many: {1} fit. Remove a file, attach a part of it, or use a larger context."
            ).format(count(tokens), count(room))
        return ""

    def _room(self) -> int:
        """Tokens that a message may have: the window less what is kept for the answer; 0: not known."""
        loaded = self._models.loaded
        return loaded.n_ctx - loaded.n_ctx // 4 if loaded is not None else 0

    def _used(self) -> int:
        answer = self._chat.message("", "assistant")
        return answer.stats.context_used if answer is not None and answer.stats is not None else 0

    # In messages

    def _fetch_picture(self, attachment_id: str) -> None:
        def show(data: bytes) -> None:
            picture = load_picture(data, metrics.px(PICTURE_PX))
            if not picture.isNull():
                self._view.set_picture(attachment_id, QPixmap.fromImage(picture))

        if self._link.ready:
            self._link.run(lambda engine: engine.attachment_content(attachment_id), success=show, quiet=True)

    def open_file(self, file: Attachment) -> None:
        """Shows a picture large, or the text that was read out of a file."""
        if file.mime.startswith("image/"):
            self._link.run(
                lambda engine: engine.attachment_content(file.id),
                success=lambda data: self._show_picture(file.name, load_picture(data, _LARGE_PX)),
                failure=self._chat.problem.emit,
            )
        else:
            self._link.run(
                lambda engine: engine.attachment(file.id),
                success=lambda found: FileViewer(self._window.window(), found.name, text=found.text).open(),
                failure=self._chat.problem.emit,
            )

    def _show_picture(self, name: str, picture: QImage) -> None:
        if picture.isNull():
            what = self.tr("{0} cannot be shown.").format(name)
            self._chat.problem.emit(
                ErrorInfo(code="invalid_request", what=what, why=self.tr("It is damaged, or too large."))
            )
            return
        FileViewer(self._window.window(), name, image=picture).open()
