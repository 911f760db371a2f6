"""The list at the side: pinned ones, folders, then by date; the archive; the trash; filtered by what is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from enum import IntEnum
from typing import Literal, NamedTuple

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from backend.api.schemas import Conversation, Folder, SearchHit
from ui.viewmodels.words import date_group

__all__ = ["ConversationListModel", "ConversationRole", "Place"]

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
#: what the list shows: conversations in use, those put away, those thrown away
Place = Literal["chats", "archive", "trash"]


class ConversationRole(IntEnum):
    """Data roles of the list beside Qt's own."""

    ID = Qt.ItemDataRole.UserRole + 1
    IS_HEADER = Qt.ItemDataRole.UserRole + 2
    STREAMING = Qt.ItemDataRole.UserRole + 3
    SNIPPET = Qt.ItemDataRole.UserRole + 4
    FOLDER = Qt.ItemDataRole.UserRole + 6  # id of the folder that a heading is of, or ""
    FOLDED = Qt.ItemDataRole.UserRole + 7
    PINNED = Qt.ItemDataRole.UserRole + 8
    MESSAGE = Qt.ItemDataRole.UserRole + 5  # id of the message that the snippet is of, or ""


class _Row(NamedTuple):
    header: str  # the heading's text, or ""
    id: str  # the conversation's id, or ""
    folder: str = ""  # the folder's id, where the heading is one's


class ConversationListModel(QAbstractListModel):
    """Headings and conversations as rows of one list.

    Rows move with as few signals as a change needs, so that the selection and an open editor survive. `today` gives
    the date for the headings (replaced in tests).
    """

    rename_requested = Signal(str, str)  # id, title
    folder_rename_requested = Signal(str, str)  # id, name

    def __init__(self, parent: QObject | None = None, *, today: Callable[[], date] = date.today) -> None:
        super().__init__(parent)
        self._today = today
        self._all: dict[str, Conversation] = {}
        self._trash: dict[str, Conversation] = {}
        self._folders: dict[str, Folder] = {}
        self._folded: set[str] = set()
        self._place: Place = "chats"
        self._rows: list[_Row] = []
        self._streaming: frozenset[str] = frozenset()
        self._filter = ""
        self._hits: dict[str, SearchHit] = {}  # conversation id -> its first match inside a message, or in the title

    # What is shown

    def set_conversations(self, conversations: Iterable[Conversation]) -> None:
        """Replace them all."""
        self._all = {one.id: one for one in conversations if one.deleted_at is None}
        self._update()
        self._touch(self._all)

    def put(self, conversation: Conversation) -> None:
        """Add, change or (when it is in the trash) remove one."""
        if conversation.deleted_at is None:
            self._all[conversation.id] = conversation
            self._trash.pop(conversation.id, None)
        else:
            self._all.pop(conversation.id, None)
            self._trash[conversation.id] = conversation
        self._update()
        self._touch([conversation.id])

    def remove(self, conversation_id: str) -> None:
        """Take one out of the list."""
        if self._all.pop(conversation_id, None) is not None:
            self._update()

    def set_streaming(self, conversation_ids: Iterable[str]) -> None:
        """Mark the conversations in which an answer is being written."""
        new = frozenset(conversation_ids)
        changed, self._streaming = new ^ self._streaming, new
        self._touch(changed)

    def set_filter(self, text: str, hits: Iterable[SearchHit] = ()) -> None:
        """Show only titles that contain `text`, and the conversations of `hits` (matches inside messages)."""
        self._filter = text.strip().casefold()
        self._hits = {}
        for hit in hits:
            known = self._hits.get(hit.conversation_id)
            if known is None or (known.message_id is None and hit.message_id is not None):
                self._hits[hit.conversation_id] = hit
        self._update()
        self._touch([row.id for row in self._rows if row.id])

    @property
    def place(self) -> Place:
        """What the list shows."""
        return self._place

    def set_place(self, place: Place) -> None:
        """Show the conversations in use, the archive or the trash."""
        self._place = place
        self._update()

    def set_trash(self, conversations: Iterable[Conversation]) -> None:
        """Replace what is in the trash."""
        self._trash = {one.id: one for one in conversations}
        self._update()

    def set_folders(self, folders: Iterable[Folder]) -> None:
        """Replace the folders."""
        self._folders = {one.id: one for one in folders}
        self._update()
        self._touch_headings()

    def folders(self) -> list[Folder]:
        """The folders, by name."""
        return sorted(self._folders.values(), key=lambda one: one.name.casefold())

    def toggle_folder(self, folder_id: str) -> None:
        """Fold a folder, or unfold it."""
        self._folded ^= {folder_id}
        self._update()
        self._touch_headings()

    # Reading

    def get(self, conversation_id: str) -> Conversation | None:
        """The conversation of that id."""
        return self._all.get(conversation_id)

    def newest(self, most: int) -> list[Conversation]:
        """Up to so many of those that are not in the trash, the newest first, whatever the list shows."""
        return sorted(self._all.values(), key=lambda one: -one.updated_at)[:most]

    def index_of(self, conversation_id: str) -> QModelIndex:
        """The row of a conversation; invalid when it is not shown."""
        for position, row in enumerate(self._rows):
            if row.id and row.id == conversation_id:
                return self.index(position)
        return QModelIndex()

    def neighbour(self, conversation_id: str, step: int) -> str | None:
        """The conversation shown `step` places after this one; the first or last one when this one is not shown."""
        ids = [row.id for row in self._rows if row.id]
        if not ids:
            return None
        if conversation_id not in ids:
            return ids[0] if step > 0 else ids[-1]
        position = ids.index(conversation_id) + step
        return ids[position] if 0 <= position < len(ids) else None

    @property
    def shown(self) -> int:
        """How many conversations (not headings) are shown."""
        return sum(1 for row in self._rows if row.id)

    def __len__(self) -> int:
        return len(self._all)

    # QAbstractListModel

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        """Headings and conversations."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Title or heading; the roles of `ConversationRole`; accessible text that says what streams."""
        if not index.isValid() or not 0 <= index.row() < len(self._rows):
            return None
        row = self._rows[index.row()]
        if role == ConversationRole.IS_HEADER:
            return bool(row.header)
        if row.header:
            return self._heading(row, role)
        conversation = self._all.get(row.id) or self._trash.get(row.id)
        if conversation is None:
            return None  # on its way out: the view may still ask while its row is being removed
        title = conversation.title or self.tr("New chat")
        streaming = row.id in self._streaming
        hit = self._hits.get(row.id) if self._filter else None
        values: Mapping[int, object] = {
            Qt.ItemDataRole.DisplayRole: title,
            Qt.ItemDataRole.EditRole: conversation.title,
            Qt.ItemDataRole.ToolTipRole: title,
            Qt.ItemDataRole.AccessibleTextRole: self.tr("{0}, answering").format(title) if streaming else title,
            ConversationRole.ID: row.id,
            ConversationRole.STREAMING: streaming,
            ConversationRole.PINNED: conversation.pinned and self._place == "chats",
            ConversationRole.SNIPPET: hit.snippet if hit is not None and hit.message_id else "",
            ConversationRole.MESSAGE: (hit.message_id or "") if hit is not None else "",
        }
        return values.get(role)

    def _heading(self, row: _Row, role: int) -> object:
        folded = row.folder in self._folded
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return row.header
        if role == Qt.ItemDataRole.AccessibleTextRole:
            if not row.folder:
                return row.header
            return (self.tr("Folder {0}, closed") if folded else self.tr("Folder {0}, open")).format(row.header)
        return {int(ConversationRole.FOLDER): row.folder, int(ConversationRole.FOLDED): folded}.get(role)

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Rename in place: asks by `rename_requested` and shows the new title at once."""
        row = self._rows[index.row()] if index.isValid() else None
        title = " ".join(str(value).split())
        if row is None or role != Qt.ItemDataRole.EditRole or not title:
            return False
        if row.folder:
            self.folder_rename_requested.emit(row.folder, title)
            return True
        if not row.id or row.id not in self._all:
            return False
        conversation = self._all[row.id]
        if title != conversation.title:
            conversation.title = title
            self._touch([row.id])
            self.rename_requested.emit(row.id, title)
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Headings of dates can be neither selected nor edited, those of folders be opened and renamed."""
        if not index.isValid() or (self._rows[index.row()].header and not self._rows[index.row()].folder):
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable

    # Moving rows

    def _wanted(self) -> list[_Row]:
        shown = [one for one in self._shown_here() if self._matches(one)]
        rows: list[_Row] = []
        if self._place == "trash":
            return self._by_date(sorted(shown, key=lambda one: (-(one.deleted_at or 0), one.id)), trash=True)
        shown.sort(key=lambda one: (-one.updated_at, one.id))
        if self._place == "archive":
            return self._by_date(shown)
        pinned = [one for one in shown if one.pinned and not one.archived]
        if pinned:
            rows += [_Row(self.tr("Pinned"), ""), *(_Row("", one.id) for one in pinned)]
        rest = [one for one in shown if not one.pinned and not one.archived]
        for folder in self.folders():
            inside = [one for one in rest if one.folder_id == folder.id]
            if inside or not self._filter:
                rows.append(_Row(folder.name, "", folder.id))
            if self._filter or folder.id not in self._folded:
                rows += [_Row("", one.id) for one in inside]
        rows += self._by_date([one for one in rest if one.folder_id not in self._folders])
        put_away = [one for one in shown if one.archived]
        if put_away:  # found by a search
            rows += [_Row(self.tr("Archive"), ""), *(_Row("", one.id) for one in put_away)]
        return rows

    def _shown_here(self) -> Iterable[Conversation]:
        if self._place == "trash":
            return self._trash.values()
        if self._place == "archive":
            return (one for one in self._all.values() if one.archived)
        return (one for one in self._all.values() if self._filter or not one.archived)

    def _matches(self, one: Conversation) -> bool:
        return not self._filter or self._filter in one.title.casefold() or one.id in self._hits

    def _by_date(self, conversations: Iterable[Conversation], *, trash: bool = False) -> list[_Row]:
        rows: list[_Row] = []
        today = self._today()
        heading = ""
        for one in conversations:
            group = date_group((one.deleted_at or 0) if trash else one.updated_at, today)
            if group != heading:
                heading = group
                rows.append(_Row(heading, ""))
            rows.append(_Row("", one.id))
        return rows

    def _touch_headings(self) -> None:
        for position, row in enumerate(self._rows):
            if row.folder:
                self.dataChanged.emit(self.index(position), self.index(position))

    def _update(self) -> None:
        wanted = self._wanted()
        if wanted == self._rows:
            return
        old, new = set(self._rows), set(wanted)
        if len(old ^ new) > 32 or not old:  # another list: one reset is cheaper than a signal per row
            self.beginResetModel()
            self._rows = wanted
            self.endResetModel()
            return
        for position in range(len(self._rows) - 1, -1, -1):
            if self._rows[position] not in new:
                self.beginRemoveRows(QModelIndex(), position, position)
                del self._rows[position]
                self.endRemoveRows()
        self._reorder([row for row in wanted if row in old])
        for position, row in enumerate(wanted):
            if row not in old:
                self.beginInsertRows(QModelIndex(), position, position)
                self._rows.insert(position, row)
                self.endInsertRows()

    def _reorder(self, order: list[_Row]) -> None:
        if order == self._rows:
            return
        self.layoutAboutToBeChanged.emit()
        place = {row: position for position, row in enumerate(order)}
        before = self.persistentIndexList()
        after = [self.index(place[self._rows[index.row()]]) for index in before]
        self._rows = order
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _touch(self, conversation_ids: Iterable[str]) -> None:
        ids = set(conversation_ids)
        for position, row in enumerate(self._rows):
            if row.id in ids and row.id:
                index = self.index(position)
                self.dataChanged.emit(index, index)
