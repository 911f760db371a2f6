"""The page of presets: the list of them, and one of them to change."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from backend.api.schemas import ErrorInfo, NewPreset, Preset, Sampling
from ui.inspector.fields import section
from ui.inspector.sampling import SamplingPanel
from ui.presets.session import PresetSession
from ui.presets.sharing import SUFFIX
from ui.shell.exchange import file_stem
from ui.theme import icon, icon_names, metrics, theme_changed
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import error_words, model_name
from ui.widgets import HoverButton, IconButton, NoticeBar, text_label
from ui.widgets.dialogs import ConfirmDialog
from ui.widgets.page import fill_with_page

__all__ = ["PLAIN_ICON", "PresetsPage", "preset_icon"]

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
PLAIN_ICON = "user"
#: offered for presets: pictures of things, not of commands
_ICONS = ("user", "chat", "edit", "file", "folder", "search", "clock", "sun", "moon", "memory", "info", "external")
_WIDEST = 720


def preset_icon(preset: Preset) -> str:
    """The name of a preset's icon; a plain one where it has none that we know."""
    return preset.icon if preset.icon in icon_names() else PLAIN_ICON


class _Presets(QAbstractListModel):
    """The presets as rows."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.presets: list[Preset] = []
        self.default = ""

    def show(self, presets: list[Preset], default: str) -> None:
        self.beginResetModel()
        self.presets, self.default = list(presets), default
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.presets)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not 0 <= index.row() < len(self.presets):
            return None
        preset = self.presets[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            chosen = preset.id == self.default
            return self.tr("{0} (for new chats)").format(preset.name) if chosen else preset.name
        if role == Qt.ItemDataRole.DecorationRole:
            return icon(preset_icon(preset), "muted")
        return None


class PresetsPage(QWidget):
    """Makes, changes, copies, shares and removes presets.

    Signals:
        start_requested(str): a chat with this preset. default_chosen(str): new chats begin with it; "" for none.
        close_requested: back to the chat.
    """

    start_requested = Signal(str)
    default_chosen = Signal(str)
    close_requested = Signal()

    def __init__(
        self, session: PresetSession, models: ModelSession, default: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._models = session, models
        self._default = default
        self._showing = False
        self.close_button = IconButton("close", self.tr("Back to the chat"))
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Presets"), "title"), 1)
        head.addWidget(self.close_button)
        self.notice = NoticeBar(closable=True)
        self.rows = _Presets(self)
        self.list = QListView()
        self.list.setModel(self.rows)
        self.list.setAccessibleName(self.tr("Presets"))
        self.list.setMaximumHeight(metrics.px(190))
        self.list.selectionModel().currentChanged.connect(lambda _now, _before: self._choose())
        self.empty = text_label(
            self.tr("A preset is an assistant of your own: a name, how it should answer, and with which model."),
            "muted", wrap=True,
        )  # fmt: skip
        self.new = QPushButton(self.tr("New preset"))
        self.new.clicked.connect(lambda: session.create(NewPreset(name=self.tr("New preset"))))
        self.take = HoverButton(self.tr("Import…"), icon="file")
        self.take.clicked.connect(self._ask_import)
        row = QHBoxLayout()
        row.addWidget(self.new)
        row.addWidget(self.take)
        row.addStretch(1)
        page = QWidget()
        page.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addLayout(head)
        column.addWidget(self.notice)
        column.addWidget(self.empty)
        column.addWidget(self.list)
        column.addLayout(row)
        self.form = self._build_form()
        column.addWidget(self.form)
        column.addStretch(1)
        fill_with_page(self, page)
        session.changed.connect(self.refresh)
        session.made.connect(self._show_made)
        session.problem.connect(self._problem)
        session.said.connect(lambda words: self.notice.set_notice(words))
        models.list.modelReset.connect(self._fill_models)
        theme_changed.connect(self._tint)
        self._fill_models()
        self._tint()

    def _build_form(self) -> QWidget:
        self.name = QLineEdit()
        self.name.setMaxLength(200)
        self.name.setAccessibleName(self.tr("Name"))
        self.picture = QComboBox()
        self.picture.setAccessibleName(self.tr("Picture"))
        self.picture.setIconSize(QSize(metrics.icon, metrics.icon))
        for name in _ICONS:
            self.picture.addItem(QIcon(), "", name)
            self.picture.setItemData(self.picture.count() - 1, name, Qt.ItemDataRole.AccessibleTextRole)
        self.prompt = QPlainTextEdit()
        self.prompt.setTabChangesFocus(True)
        self.prompt.setFixedHeight(metrics.px(110))
        self.prompt.setAccessibleName(self.tr("System prompt"))
        self.prompt.setPlaceholderText(self.tr("How should it answer? For example: Be brief. Answer in German."))
        self.model = QComboBox()
        self.model.setAccessibleName(self.tr("Model"))
        self.model.setMinimumContentsLength(12)
        self.model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.sampling = SamplingPanel()
        self.start = QPushButton(self.tr("Start a chat"))
        self.start.setProperty("kind", "primary")
        self.start.clicked.connect(lambda: self._with_chosen(lambda one: self.start_requested.emit(one.id)))
        self.default = HoverButton(self.tr("Use for new chats"), icon="check")
        self.default.setCheckable(True)
        self.default.clicked.connect(self._choose_default)
        self.copy = HoverButton(self.tr("Duplicate"), icon="copy")
        self.copy.clicked.connect(lambda: self._with_chosen(self._session.duplicate))
        self.share = HoverButton(self.tr("Export…"), icon="download")
        self.share.clicked.connect(self._ask_export)
        self.remove = HoverButton(self.tr("Delete"), icon="trash")
        self.remove.clicked.connect(self._ask_delete)
        self.name.editingFinished.connect(self._save)
        self.picture.activated.connect(self._save)
        self.model.activated.connect(self._save)
        self.prompt.textChanged.connect(self._save)
        self.sampling.changed.connect(self._save)
        top = QWidget()
        line = QHBoxLayout(top)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.picture)
        line.addWidget(self.name, 1)
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(0, metrics.s, 0, 0)
        column.setSpacing(metrics.l)
        column.addWidget(section(self.tr("Name and picture"), top))
        column.addWidget(section(self.tr("System prompt"), self.prompt))
        column.addWidget(section(self.tr("Model"), self.model))
        column.addWidget(section(self.tr("Creativity"), self.sampling))
        first, second = QHBoxLayout(), QHBoxLayout()
        for button in (self.start, self.default):
            first.addWidget(button)
        for button in (self.copy, self.share, self.remove):
            second.addWidget(button)
        for row in (first, second):
            row.addStretch(1)
            column.addLayout(row)
        return form

    def chosen(self) -> Preset | None:
        """The preset that is shown below the list."""
        return self._session.get(self.chosen_id())

    def chosen_id(self) -> str:
        """The id of what is shown, "" for nothing."""
        row = self.list.currentIndex().row()
        return self.rows.presets[row].id if 0 <= row < len(self.rows.presets) else ""

    def refresh(self) -> None:
        """Show the list as it is now; what is chosen stays chosen."""
        before = self.chosen_id()
        self.rows.show(self._session.presets, self._default)
        there = bool(self._session.presets)
        self.list.setVisible(there)
        self.empty.setVisible(not there)
        self.choose(before)
        self.form.setVisible(there)

    def choose(self, preset_id: str) -> None:
        """Show a preset; the first where that one is not there."""
        row = next((row for row, one in enumerate(self.rows.presets) if one.id == preset_id), 0)
        self.list.setCurrentIndex(self.rows.index(row))
        self._choose()

    # Inside

    def _choose(self) -> None:
        preset = self.chosen()
        if preset is None or self._showing:
            return
        self._showing = True
        if self.name.text().strip() != preset.name:
            self.name.setText(preset.name)
        self.picture.setCurrentIndex(max(0, self.picture.findData(preset_icon(preset))))
        if self.prompt.toPlainText() != preset.system_prompt:
            self.prompt.setPlainText(preset.system_prompt)
        self.model.setCurrentIndex(max(0, self.model.findData(preset.model)))
        self.sampling.set_value(preset.sampling, Sampling())
        self.default.setChecked(preset.id == self._default)
        self._showing = False
        self.form.show()

    def _save(self) -> None:
        preset = self.chosen()
        if preset is None or self._showing:
            return
        name = " ".join(self.name.text().split()) or preset.name
        preset.name, preset.system_prompt = name, self.prompt.toPlainText()
        preset.icon, preset.model = str(self.picture.currentData()), str(self.model.currentData())
        preset.sampling = self.sampling.value
        self._session.keep(preset)
        here = self.list.currentIndex()
        self.rows.dataChanged.emit(here, here)

    def _with_chosen(self, run: object) -> None:
        preset = self.chosen()
        if preset is not None and callable(run):
            run(preset)

    def _choose_default(self) -> None:
        preset = self.chosen()
        if preset is not None:
            self._default = preset.id if self.default.isChecked() else ""
            self.default_chosen.emit(self._default)
            self.refresh()

    def _show_made(self, preset_id: str) -> None:
        self.choose(preset_id)
        if self.isVisible():
            self.name.setFocus(Qt.FocusReason.OtherFocusReason)
            self.name.selectAll()

    def _ask_export(self) -> None:
        preset = self.chosen()
        if preset is None:
            return
        dialog = QFileDialog(self.window(), self.tr("Export"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{file_stem(preset.name)}.{SUFFIX}")
        dialog.fileSelected.connect(lambda path: self._session.export(preset, Path(path)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _ask_import(self) -> None:
        dialog = QFileDialog(self.window(), self.tr("Import a preset"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self.tr("Presets (*.json)"), self.tr("All files (*)")])
        dialog.fileSelected.connect(lambda path: self._session.import_file(Path(path)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _ask_delete(self) -> None:
        preset = self.chosen()
        if preset is None:
            return
        title = self.tr("Delete {0}?").format(preset.name)
        text = self.tr("Chats that were made with it stay as they are.")
        dialog = ConfirmDialog(self.window(), title, text, action=self.tr("Delete"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self._session.delete(preset.id))
        dialog.open()

    def _fill_models(self) -> None:
        chosen = self.model.currentData()
        self.model.clear()
        self.model.addItem(self.tr("Whatever is loaded"), "")
        for entry in self._models.list.entries():
            if entry.error is None:
                self.model.addItem(model_name(entry.name), entry.id)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen or "")))

    def _problem(self, error: ErrorInfo) -> None:
        sentence = error_words(error)
        self.notice.set_notice(sentence, level="error", details=error.details)

    def _tint(self) -> None:
        for place, name in enumerate(_ICONS):
            self.picture.setItemIcon(place, icon(name, "muted"))
        self.refresh()
