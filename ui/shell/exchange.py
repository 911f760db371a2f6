"""Conversations as files: the dialogs, and what is written where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from PySide6.QtCore import QMarginsF, QObject, QUrl, Signal
from PySide6.QtGui import QFont, QPageLayout, QPageSize, QPdfWriter, QTextDocument
from PySide6.QtWidgets import QFileDialog, QWidget

from backend.api.schemas import Conversation, ErrorInfo, ExportFormat
from ui.bridge.engine_link import EngineLink
from ui.chat.code_buttons import write_file
from ui.viewmodels.conversation_list import ConversationListModel

__all__ = ["FORMATS", "Exchange", "FileFormat", "document_of", "file_stem", "write_pdf"]

FileFormat = Literal["markdown", "html", "pdf", "json"]
#: format -> ending of the file's name
FORMATS: Final[dict[FileFormat, str]] = {"markdown": "md", "html": "html", "pdf": "pdf", "json": "json"}
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*\u202a-\u202e\u2066-\u2069]+')
_POINTS: Final = 10


def file_stem(title: str) -> str:
    """A title as the name of a file on any system, without its ending."""
    name = _FORBIDDEN.sub(" ", title)
    return " ".join(name.split())[:80].strip(". ") or "Conversation"


def document_of(page: str) -> QTextDocument:
    """An HTML page of ours, to be printed; it loads nothing."""
    document = _Page()
    font = QFont()
    font.setPointSize(_POINTS)
    document.setDefaultFont(font)
    document.setHtml(page)
    return document


def write_pdf(path: Path, page: str) -> str:
    """An HTML page of ours as a PDF on A4; words about what went wrong, or ""."""
    document = document_of(page)
    writer = QPdfWriter(str(path))
    writer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    writer.setPageMargins(QMarginsF(), QPageLayout.Unit.Millimeter)  # QTextDocument leaves 2 cm by itself
    document.print_(writer)
    try:
        return "" if path.stat().st_size > 0 else "nothing was written"
    except OSError as error:
        return error.strerror or str(error)


class _Page(QTextDocument):
    """Loads nothing, from no address."""

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        del kind, name
        return None


class Exchange(QObject):
    """Writes conversations into files and takes them in from files.

    Signals:
        said(str): a sentence about what was done. problem(ErrorInfo): it could not be done.
        imported(str): the first conversation that was taken in.
    """

    said = Signal(str)
    problem = Signal(object)
    imported = Signal(str)

    def __init__(self, link: EngineLink, listed: ConversationListModel, window: QWidget) -> None:
        super().__init__(window)
        self._link, self._list, self._window = link, listed, window

    def ask_export(self, conversation_ids: Sequence[str], file_format: FileFormat) -> QFileDialog:
        """Asks where to, for one conversation a file, for several a folder, and writes."""
        ids = list(conversation_ids)
        dialog = QFileDialog(self._window, self.tr("Export"))
        if len(ids) == 1:
            dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
            known = self._list.get(ids[0])
            dialog.selectFile(f"{file_stem(known.title if known else '')}.{FORMATS[file_format]}")
            dialog.fileSelected.connect(lambda path: self.export(ids[0], file_format, Path(path)))
        else:
            dialog.setFileMode(QFileDialog.FileMode.Directory)
            dialog.fileSelected.connect(lambda path: self.export_all(ids, file_format, Path(path)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        return dialog

    def export_all(self, conversation_ids: Sequence[str], file_format: FileFormat, folder: Path) -> None:
        """Writes each into a file of its own, named by its title; files that are there stay."""
        taken: set[Path] = set()
        for conversation_id in conversation_ids:
            known = self._list.get(conversation_id)
            stem, number = file_stem(known.title if known else ""), 1
            path = folder / f"{stem}.{FORMATS[file_format]}"
            while path in taken or path.exists():
                number += 1
                path = folder / f"{stem} {number}.{FORMATS[file_format]}"
            taken.add(path)
            self.export(conversation_id, file_format, path)

    def export(self, conversation_id: str, file_format: FileFormat, path: Path) -> None:
        """Writes one conversation into a file."""
        wanted: ExportFormat = "html" if file_format == "pdf" else file_format

        def write(text: str) -> None:
            problem = write_pdf(path, text) if file_format == "pdf" else write_file(path, text)
            if problem:
                what = self.tr("{0} could not be written.").format(path.name)
                self.problem.emit(ErrorInfo(code="storage_error", what=what, why=f"{problem.rstrip('.')}."))
            else:
                self.said.emit(self.tr("Saved as {0}.").format(path.name))

        self._link.run(
            lambda engine: engine.export_conversation(conversation_id, wanted),
            success=write,
            failure=self.problem.emit,
        )

    def ask_import(self) -> QFileDialog:
        """Asks for a file and takes its conversations in."""
        dialog = QFileDialog(self._window, self.tr("Import conversations"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(
            [
                self.tr("Nutshell, ChatGPT, LM Studio, Jan (*.json *.jsonl *.zip)"),
                self.tr("All files (*)"),
            ]
        )
        dialog.fileSelected.connect(self.import_file)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        return dialog

    def import_file(self, path: str) -> None:
        """Takes in what a file holds."""

        def done(made: list[Conversation]) -> None:
            for conversation in made:
                self._list.put(conversation)
            self.said.emit(self.tr("%n conversation(s) taken in.", "", len(made)))
            if made:
                self.imported.emit(made[0].id)

        self._link.run(lambda engine: engine.import_file(path), success=done, failure=self.problem.emit)
