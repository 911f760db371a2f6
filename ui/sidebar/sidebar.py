"""The bar at the left: new chat, search, conversations by date, and the hardware page at the foot."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QIcon, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ui.actions import Actions
from ui.sidebar.conversation_delegate import ConversationDelegate
from ui.sidebar.list_menu import ask_to_empty, conversation_menu, folder_menu, place_menu
from ui.theme import bind_icon, color, metrics, theme_changed
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.conversation_list import ConversationRole, Place
from ui.widgets import HoverButton, IconButton, rule, text_label

__all__ = ["Sidebar"]

#: Typing pauses for this long before the engine is asked; titles are filtered at once.
SEARCH_PAUSE_MS = 150
_SELECTING = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


class SearchBox(QLineEdit):
    """A search field with its icon inside. Esc empties it, Down goes to the list."""

    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText(self.tr("Search"))
        self.setAccessibleName(self.tr("Search conversations"))
        self.setClearButtonEnabled(True)
        mark = self.addAction(QIcon(), QLineEdit.ActionPosition.LeadingPosition)
        bind_icon(mark, "search", "muted")

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Down, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.left.emit()
        elif event.key() == Qt.Key.Key_Escape:
            self.clear()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        override = event.type() == QEvent.Type.ShortcutOverride
        if override and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape and self.text():
            event.accept()  # Esc empties the field first; only then is it Stop
            return True
        return super().event(event)


class _PlaceBar(QWidget):
    """Above the archive and the trash: the way back, their name, and for the trash the way to empty it."""

    def __init__(self) -> None:
        super().__init__()
        self.back = IconButton("chevron-left", self.tr("Back to the conversations"))
        self.title = text_label("", "heading")
        self.empty = HoverButton(self.tr("Empty"), icon="trash")
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.s, metrics.xs, metrics.s, 0)
        row.addWidget(self.back)
        row.addWidget(self.title, 1)
        row.addWidget(self.empty)
        self.hide()

    def show_place(self, place: Place, shown: int) -> None:
        """Says where the list is."""
        self.setVisible(place != "chats")
        self.title.setText(self.tr("Trash") if place == "trash" else self.tr("Archive"))
        self.empty.setVisible(place == "trash" and shown > 0)


class Sidebar(QWidget):
    """The list of conversations and the ways to other pages.

    Signals:
        opened(str): a conversation was chosen.
        export_requested(list, str): conversations shall be written as files of a format. import_requested: files read.
        found(str, str): the message in it that was found, and what was looked for; ("", "") when nothing is any more.
    """

    export_requested = Signal(list, str)
    import_requested = Signal()
    opened = Signal(str)
    found = Signal(str, str)

    def __init__(self, chat: ChatSession, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._chat, self._actions = chat, actions
        self.new = QPushButton(self.tr("New chat"))
        self.new.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.new.setIconSize(QSize(metrics.icon, metrics.icon))
        bind_icon(self.new, "plus", "accent")
        self.new.setToolTip(actions["chat.new"].shortcut().toString())
        self.new.clicked.connect(actions["chat.new"].trigger)
        self.hide_button = IconButton("sidebar", self.tr("Hide conversations"), shortcut="Ctrl+B")
        self.hide_button.clicked.connect(actions["view.sidebar"].trigger)
        self.search = SearchBox()
        self.search.left.connect(self._focus_list)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(SEARCH_PAUSE_MS)
        self._pause.timeout.connect(lambda: chat.search(self.search.text()))
        self.search.textChanged.connect(self._typed)

        self.list = QListView()
        self.list.setProperty("list", "side")
        self.list.setModel(chat.list)
        self.delegate = ConversationDelegate(self.list)
        self.list.setItemDelegate(self.delegate)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setMouseTracking(True)
        self.list.setAccessibleName(self.tr("Conversations"))
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._menu)
        self.list.addAction(actions["chat.delete"])
        self.list.clicked.connect(self._open)
        self.list.activated.connect(self._open)
        self.empty = text_label("", "muted", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self.hardware = HoverButton(self.tr("Hardware"), icon="hardware")
        self.hardware.setCheckable(True)
        self.hardware.setProperty("align", "start")
        self.hardware.clicked.connect(actions["view.hardware"].trigger)
        actions["view.hardware"].toggled.connect(self.hardware.setChecked)

        top = QHBoxLayout()
        top.setSpacing(metrics.xs)
        top.addWidget(self.new, 1)
        top.addWidget(self.hide_button)
        head = QVBoxLayout()
        head.setContentsMargins(metrics.m, metrics.s, metrics.s, metrics.xs)
        head.setSpacing(metrics.s)
        head.addLayout(top)
        head.addWidget(self.search)
        self.places = IconButton("more", self.tr("Archive, trash, folders"))
        self.places.clicked.connect(self._show_places)
        self.place_bar = _PlaceBar()
        self.place_bar.back.clicked.connect(lambda: self.go_to("chats"))
        self.place_bar.empty.clicked.connect(lambda: ask_to_empty(self, chat))
        foot = QHBoxLayout()
        foot.setContentsMargins(metrics.s, metrics.xs, metrics.s, metrics.s)
        foot.addWidget(self.hardware, 1)
        foot.addWidget(self.places)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 1, 0)  # the hairline at the side is drawn by paintEvent
        column.setSpacing(0)
        column.addLayout(head)
        column.addWidget(self.place_bar)
        column.addWidget(self.list, 1)
        column.addWidget(self.empty, 1)
        column.addWidget(rule())
        column.addLayout(foot)

        model = chat.list
        for changed in (model.modelReset, model.rowsInserted, model.rowsRemoved):
            changed.connect(self._refresh_empty)
        chat.opened.connect(self.mark_open)
        theme_changed.connect(self.update)
        self._refresh_empty()

    # What the window's commands do here

    def mark_open(self) -> None:
        """Mark the row of the open conversation."""
        self.delegate.current = self._chat.open_id
        index = self._chat.list.index_of(self._chat.open_id)
        if index.isValid():
            self.list.setCurrentIndex(index)
            self.list.scrollTo(index)
        else:
            self.list.setCurrentIndex(QModelIndex())
        self.list.viewport().update()

    def selected(self) -> str:
        """What a command is meant for: the list's row when the list has the focus, else the open conversation."""
        index = self.list.currentIndex()
        if self.list.hasFocus() and index.isValid():
            return str(index.data(ConversationRole.ID) or "")
        return self._chat.open_id

    def selection(self) -> list[str]:
        """All that a command is meant for: the selected rows when the list has the focus, else what is open."""
        if self.list.hasFocus():
            rows = sorted(self.list.selectedIndexes(), key=lambda index: index.row())
            found = [str(index.data(ConversationRole.ID) or "") for index in rows]
            if any(found):
                return [one for one in found if one]
        return [self._chat.open_id] if self._chat.open_id else []

    def rename(self, conversation_id: str) -> bool:
        """Edit a title in the list; False when the conversation is not listed now."""
        index = self._chat.list.index_of(conversation_id)
        if not index.isValid():
            return False
        self.list.setCurrentIndex(index)
        self._edit(QPersistentModelIndex(index))
        return True

    def _edit(self, row: QPersistentModelIndex) -> None:
        """Edit a row, if it is still there and no row is being edited: Qt would say a warning of either."""
        if row.isValid() and self.list.state() != QAbstractItemView.State.EditingState:
            self.list.edit(self._chat.list.index(row.row()))

    def focus_search(self) -> None:
        """Go to the search field, all of it selected."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), color("window"))
        at_left = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        painter.fillRect(0 if at_left else self.width() - 1, 0, 1, self.height(), color("line"))

    # Inside

    def _typed(self, text: str) -> None:
        if text.strip():
            self._pause.start()
        else:
            self._pause.stop()
            self._chat.search("")
            self.found.emit("", "")

    def _focus_list(self) -> None:
        first = self._chat.list.neighbour("", 1)
        if first is not None:
            if not self.list.currentIndex().isValid():
                self.list.setCurrentIndex(self._chat.list.index_of(first))
            self.list.setFocus(Qt.FocusReason.TabFocusReason)

    def _show_places(self) -> None:
        menu = place_menu(self, self._chat, self.import_requested.emit)
        menu.triggered.connect(lambda _action: self._place_changed())
        menu.popup(self.places.mapToGlobal(self.places.rect().topLeft()) - QPoint(0, menu.sizeHint().height()))

    def go_to(self, place: Place) -> None:
        """Show the conversations in use, the archive or the trash."""
        self._chat.organiser.show(place)
        self._place_changed()

    def _place_changed(self) -> None:
        self.place_bar.show_place(self._chat.list.place, self._chat.list.shown)
        self._refresh_empty()

    def _open(self, index: QModelIndex) -> None:
        if QGuiApplication.keyboardModifiers() & _SELECTING:
            return  # rows are being chosen
        folder_id = str(index.data(ConversationRole.FOLDER) or "")
        if folder_id:
            self._chat.list.toggle_folder(folder_id)
            return
        conversation_id = str(index.data(ConversationRole.ID) or "")
        message_id = str(index.data(ConversationRole.MESSAGE) or "")
        if conversation_id:
            self.opened.emit(conversation_id)
            self.found.emit(message_id, self.search.text() if message_id else "")

    def _menu(self, place: QPoint) -> None:
        index = self.list.indexAt(place)
        menu = self.menu_for(index) if index.isValid() else None
        if menu is not None:
            menu.popup(self.list.viewport().mapToGlobal(place))

    def menu_for(self, index: QModelIndex) -> QMenu | None:
        """The menu of a row; of all that are selected, where it is one of these."""
        folder_id = str(index.data(ConversationRole.FOLDER) or "")
        if folder_id:
            row = QPersistentModelIndex(index)
            return folder_menu(self, self._chat, folder_id, lambda: self._edit(row))
        conversation_id = str(index.data(ConversationRole.ID) or "")
        if not conversation_id:
            return None
        if index not in self.list.selectedIndexes():
            self.list.setCurrentIndex(index)
        self.list.setFocus(Qt.FocusReason.PopupFocusReason)
        chosen = self.selection() or [conversation_id]
        return conversation_menu(self, self._chat, self._actions, chosen, self.export_requested.emit)

    def _refresh_empty(self) -> None:
        found = self._chat.list.rowCount() > 0
        self.list.setVisible(found)
        self.empty.setVisible(not found)
        self.empty.setContentsMargins(metrics.l, metrics.xl, metrics.l, 0)
        self.place_bar.show_place(self._chat.list.place, self._chat.list.shown)
        if self._chat.list.place == "trash" and not self.search.text().strip():
            self.empty.setText(self.tr("The trash is empty."))
        elif self._chat.list.place == "archive" and not self.search.text().strip():
            self.empty.setText(
                self.tr("Nothing is archived. Archived conversations are kept here and found by search.")
            )
        elif self.search.text().strip():
            self.empty.setText(self.tr("Nothing found. Try fewer or other words."))
        else:
            self.empty.setText(self.tr("Your conversations will be listed here."))
        self.mark_open()
