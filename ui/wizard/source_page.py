"""The first page: which model, or one that was left unfinished."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QListView, QPushButton, QVBoxLayout, QWidget

from backend.api.compression import Compression, CompressionSource
from ui.theme import metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.compression_words import level_code, level_name, state_words
from ui.viewmodels.words import model_name
from ui.widgets import ElidedLabel, HoverButton, IconButton, text_label
from ui.wizard.build_list import BuildList
from ui.wizard.source_list import SOURCE, SourceDelegate, SourceListModel

__all__ = ["SourcePage", "UnfinishedCard"]


class UnfinishedCard(QFrame):
    """One that can go on.

    Signals:
        resume_requested(str), delete_requested(str): its id.
    """

    resume_requested = Signal(str)
    delete_requested = Signal(str)

    def __init__(self, compression: Compression, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "surface")
        key = compression.id
        name = ElidedLabel(compression.name, "heading", mode=Qt.TextElideMode.ElideMiddle)
        levels = ", ".join(f"{level_name(level)} ({level_code(level)})" for level in compression.levels)
        details = " · ".join((state_words(compression), levels, model_name(compression.source_name)))
        words = QVBoxLayout()
        words.setSpacing(metrics.px(2))
        words.addWidget(name)
        words.addWidget(ElidedLabel(details, "secondary"))
        if compression.error is not None:
            words.addWidget(text_label(compression.error.what, "warn", wrap=True))
        self.resume = QPushButton(self.tr("Go on"))
        self.resume.setAccessibleName(self.tr("Go on with {0}").format(compression.name))
        self.resume.clicked.connect(lambda: self.resume_requested.emit(key))
        self.delete = IconButton("trash", self.tr("Delete {0}").format(compression.name))
        self.delete.clicked.connect(lambda: self.delete_requested.emit(key))
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.l, metrics.m, metrics.m, metrics.m)
        row.setSpacing(metrics.s)
        row.addLayout(words, 1)
        row.addWidget(self.resume)
        row.addWidget(self.delete)
        self.setAccessibleName(f"{compression.name}, {details}")


class SourcePage(QWidget):
    """Signals: chosen(CompressionSource), path_chosen(str), resume_requested(str), delete_requested(str),
    result_requested(str).
    """

    chosen = Signal(object)
    path_chosen = Signal(str)
    resume_requested = Signal(str)
    delete_requested = Signal(str)
    result_requested = Signal(str)

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.model = SourceListModel(self)
        self.cards: list[UnfinishedCard] = []
        self._shown: list[Compression] = []
        self._unfinished = QWidget()
        self._unfinished.hide()
        self._stack = QVBoxLayout(self._unfinished)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.setSpacing(metrics.s)
        self._stack.addWidget(text_label(self.tr("Not finished yet"), "heading"))
        intro = text_label(
            self.tr(
                "A smaller build takes less memory and answers faster. It is made on this computer, from a model that "
                "is already here; the original stays as it is."
            ),
            "muted",
            wrap=True,
        )
        self.list = QListView()
        self.list.setModel(self.model)
        self.list.setItemDelegate(SourceDelegate(self.list))
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.setAccessibleName(self.tr("Models that can be made smaller"))
        self.list.setMinimumHeight(metrics.px(180))
        self.list.doubleClicked.connect(lambda _index: self._next())
        self.list.installEventFilter(self)
        self.empty = text_label(
            self.tr("No model was found that could be made smaller. Open a folder or a file with one."),
            "muted",
            wrap=True,
        )
        self.file = HoverButton(self.tr("Open a file…"), icon="file")
        self.file.clicked.connect(self._ask_file)
        self.folder = HoverButton(self.tr("Open a folder…"), icon="folder")
        self.folder.clicked.connect(self._ask_folder)
        self.next = QPushButton(self.tr("Next"))
        self.next.setProperty("kind", "primary")
        self.next.clicked.connect(self._next)
        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addWidget(self.file)
        row.addWidget(self.folder)
        row.addStretch(1)
        row.addWidget(self.next)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addWidget(self._unfinished)
        column.addWidget(text_label(self.tr("Which model?"), "heading"))
        column.addWidget(intro)
        column.addWidget(self.list, 1)
        column.addWidget(self.empty)
        column.addStretch(0)
        column.addLayout(row)
        self.builds = BuildList()
        self.builds.show_requested.connect(self.result_requested)
        column.addWidget(self.builds)
        self.list.selectionModel().currentChanged.connect(lambda *_: self._enable())
        self.refresh()

    def refresh(self) -> None:
        """Show what the session knows."""
        sources = self._session.sources
        self.model.set_sources(sources or [])
        found = self.model.rowCount() > 0
        self.list.setVisible(found)
        self.empty.setVisible(sources is not None and not found)
        if found and not self.list.currentIndex().isValid():
            first = self.model.index(0)
            if first.flags() & Qt.ItemFlag.ItemIsSelectable:
                self.list.setCurrentIndex(first)
        self._show_unfinished()
        self.builds.set_builds(self._session.finished)
        self._enable()

    def focus_first(self) -> None:
        """The keyboard to what is most wanted."""
        if self.cards:
            self.cards[0].resume.setFocus(Qt.FocusReason.OtherFocusReason)
        else:
            self.list.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        pressed = watched is self.list and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress
        if pressed and isinstance(event, QKeyEvent) and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._next()
            return True
        return super().eventFilter(watched, event)

    def _show_unfinished(self) -> None:
        unfinished = self._session.unfinished
        if unfinished == self._shown:
            return
        self._shown = unfinished
        for card in self.cards:
            self._stack.removeWidget(card)
            card.deleteLater()
        self.cards = [UnfinishedCard(one) for one in unfinished]
        for card in self.cards:
            card.resume_requested.connect(self.resume_requested)
            card.delete_requested.connect(self.delete_requested)
            self._stack.addWidget(card)
        self._unfinished.setVisible(bool(unfinished))

    def _enable(self) -> None:
        self.next.setEnabled(self._source(self.list.currentIndex()) is not None)

    def _source(self, index: QModelIndex) -> CompressionSource | None:
        source = index.data(SOURCE) if index.isValid() else None
        return source if isinstance(source, CompressionSource) and not source.reason else None

    def _next(self) -> None:
        source = self._source(self.list.currentIndex())
        if source is not None:
            self.chosen.emit(source)

    def _ask_file(self) -> None:
        self._ask(QFileDialog.FileMode.ExistingFile, self.tr("Open a model file"))

    def _ask_folder(self) -> None:
        self._ask(QFileDialog.FileMode.Directory, self.tr("Open a model folder"))

    def _ask(self, mode: QFileDialog.FileMode, title: str) -> None:
        dialog = QFileDialog(self.window(), title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(mode)
        if mode == QFileDialog.FileMode.ExistingFile:
            dialog.setNameFilters([self.tr("Models (*.gguf *.safetensors config.json)"), self.tr("All files (*)")])
        dialog.fileSelected.connect(self.path_chosen)
        dialog.open()
