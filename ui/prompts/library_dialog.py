"""Where prompts are written, changed, deleted, and exchanged as a file."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from backend.api.schemas import Prompt
from ui.theme import metrics
from ui.viewmodels.prompt_library import PromptLibrary
from ui.widgets.dialogs import ConfirmDialog
from ui.widgets.labels import text_label

__all__ = ["LibraryDialog"]

_SIZE = (720, 480)


class LibraryDialog(QDialog):
    """A list of prompts and the one that is chosen, as fields. It deletes itself when it is closed."""

    def __init__(self, library: PromptLibrary, parent: QWidget | None = None, *, text: str = "") -> None:
        """`text` begins a new prompt."""
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Prompts"))
        self._library = library
        self._id = ""
        self._name_wanted = ""
        self.list = QListWidget()
        self.list.setProperty("list", "side")
        self.list.setAccessibleName(self.tr("Prompts"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentItemChanged.connect(lambda item, _before: self._open(item))
        self.name = QLineEdit()
        self.name.setMaxLength(200)
        self.name.setPlaceholderText(self.tr("Name"))
        self.name.setAccessibleName(self.tr("Name"))
        self.text = QPlainTextEdit()
        self.text.setPlaceholderText(self.tr("Translate into {{language}}:"))
        self.text.setAccessibleName(self.tr("Text"))
        self.text.setTabChangesFocus(True)
        help_line = text_label(
            self.tr("What stands in {{double braces}} is asked for when the prompt is used."), "secondary", wrap=True
        )
        self.new = self._button(self.tr("New"), self._new)
        self.save = self._button(self.tr("Save"), self._save)
        self.save.setProperty("kind", "primary")
        self.remove = self._button(self.tr("Delete"), self._ask_delete)
        self.take_in = self._button(self.tr("Import…"), self.ask_import)
        self.write = self._button(self.tr("Export…"), self.ask_export)
        self.close_button = self._button(self.tr("Close"), self.accept)

        left = QVBoxLayout()
        left.setSpacing(metrics.s)
        left.addWidget(self.list, 1)
        left.addWidget(self.new)
        right = QVBoxLayout()
        right.setSpacing(metrics.s)
        right.addWidget(self.name)
        right.addWidget(self.text, 1)
        right.addWidget(help_line)
        actions = QHBoxLayout()
        actions.addWidget(self.remove)
        actions.addStretch(1)
        actions.addWidget(self.save)
        right.addLayout(actions)
        both = QHBoxLayout()
        both.setSpacing(metrics.l)
        both.addLayout(left, 2)
        both.addLayout(right, 3)
        foot = QHBoxLayout()
        foot.addWidget(self.take_in)
        foot.addWidget(self.write)
        foot.addStretch(1)
        foot.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.l, metrics.l, metrics.l, metrics.l)
        column.setSpacing(metrics.m)
        column.addWidget(text_label(self.tr("Prompts"), "heading"))
        column.addLayout(both, 1)
        column.addLayout(foot)
        self.resize(metrics.px(_SIZE[0]), metrics.px(_SIZE[1]))
        self.name.textChanged.connect(self._refresh)
        self.text.textChanged.connect(self._refresh)
        library.changed.connect(self._show)
        self._show()
        library.refresh()
        if text:
            self._new()
            self.text.setPlainText(text)
            self.name.setFocus()

    def _button(self, label: str, run: object) -> QPushButton:
        button = QPushButton(label)
        button.setAutoDefault(False)
        button.clicked.connect(lambda _checked=False: run())  # type: ignore[operator]
        return button

    def _show(self) -> None:
        """The list, the same prompt chosen; fields that are being written in stay as they are."""
        self.list.blockSignals(True)
        self.list.clear()
        chosen: QListWidgetItem | None = None
        for prompt in self._library.prompts():
            item = QListWidgetItem(prompt.name)
            item.setData(Qt.ItemDataRole.UserRole, prompt)
            self.list.addItem(item)
            if prompt.id == self._id or (self._name_wanted and prompt.name == self._name_wanted):
                chosen = item
        self._name_wanted = ""
        if chosen is not None:
            self.list.setCurrentItem(chosen)
        self.list.blockSignals(False)
        if chosen is not None and self._prompt(chosen).id != self._id:
            self._open(chosen)
        self._refresh()

    @staticmethod
    def _prompt(item: QListWidgetItem) -> Prompt:
        prompt = item.data(Qt.ItemDataRole.UserRole)
        assert isinstance(prompt, Prompt)
        return prompt

    def _open(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            prompt = self._prompt(item)
            self._id = prompt.id
            self.name.setText(prompt.name)
            self.text.setPlainText(prompt.text)
        self._refresh()

    def _new(self) -> None:
        self._id = ""
        self.list.setCurrentRow(-1)
        self.name.clear()
        self.text.clear()
        self.name.setFocus()
        self._refresh()

    def _save(self) -> None:
        name, text = " ".join(self.name.text().split()), self.text.toPlainText()
        if self._id:
            self._library.update(self._id, name, text)
        else:
            self._name_wanted = name
            self._library.create(name, text)

    def _ask_delete(self) -> None:
        prompt_id = self._id
        title = self.tr("Delete the prompt “{0}”?").format(self.name.text()[:60])
        dialog = ConfirmDialog(self, title, "", action=self.tr("Delete"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self._delete(prompt_id))
        dialog.open()

    def _delete(self, prompt_id: str) -> None:
        self._library.delete(prompt_id)
        self._new()

    def _refresh(self) -> None:
        known = next((one for one in self._library.prompts() if one.id == self._id), None)
        name, text = self.name.text().strip(), self.text.toPlainText()
        changed = known is None or (known.name, known.text) != (name, text)
        self.save.setEnabled(bool(name) and bool(text.strip()) and changed)
        self.remove.setEnabled(known is not None)
        self.write.setEnabled(bool(self._library.prompts()))

    def ask_import(self) -> QFileDialog:
        """Asks for a file and takes its prompts in."""
        dialog = QFileDialog(self, self.tr("Import prompts"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self.tr("Prompts (*.json)"), self.tr("All files (*)")])
        dialog.fileSelected.connect(self._library.import_file)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        return dialog

    def ask_export(self) -> QFileDialog:
        """Asks where to, and writes all prompts."""
        dialog = QFileDialog(self, self.tr("Export prompts"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile("Prompts.json")
        dialog.fileSelected.connect(self._library.export_file)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
        return dialog
