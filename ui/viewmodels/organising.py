"""Order among conversations: pinned, put away, in folders, thrown away for good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import UNSET, UnsetType
from PySide6.QtCore import QObject, Signal

from backend.api.schemas import Conversation, ConversationUpdate, ErrorInfo, Folder, FolderUpdate, NewFolder
from ui.bridge.engine_client import EngineClient
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.conversation_list import ConversationListModel, Place

__all__ = ["Organiser"]


class Organiser(QObject):
    """What a person does with the list. Every change shows when the engine has made it.

    Signals:
        problem(ErrorInfo): a change could not be made.
        emptied(int): so many conversations are gone from the trash for good.
    """

    problem = Signal(object)
    emptied = Signal(int)

    def __init__(self, link: EngineLink, listed: ConversationListModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self._list = listed
        link.attached.connect(lambda _status: self.refresh())
        listed.folder_rename_requested.connect(self.rename_folder)

    def refresh(self) -> None:
        """Read the folders again, and the trash where it is shown."""
        self._link.run(lambda engine: engine.folders(), success=self._list.set_folders, quiet=True)
        if self._list.place == "trash":
            self._read_trash()

    def show(self, place: Place) -> None:
        """Show the conversations in use, the archive or the trash."""
        self._list.set_place(place)
        if place == "trash":
            self._read_trash()

    def _read_trash(self) -> None:
        self._link.run(lambda engine: engine.conversations(deleted=True), success=self._list.set_trash, quiet=True)

    def change(
        self,
        conversation_ids: Sequence[str],
        *,
        pinned: bool | UnsetType = UNSET,
        archived: bool | UnsetType = UNSET,
        folder_id: str | UnsetType | None = UNSET,
    ) -> None:
        """Pin, put away or move conversations; `folder_id` None takes them out of their folder."""
        update = ConversationUpdate(pinned=pinned, archived=archived, folder_id=folder_id)

        async def change(engine: EngineClient) -> list[Conversation]:
            return list(await asyncio.gather(*(engine.update_conversation(key, update) for key in conversation_ids)))

        self._link.run(change, success=self._put, failure=self._failed)

    def restore(self, conversation_ids: Sequence[str]) -> None:
        """Take conversations out of the trash."""

        async def restore(engine: EngineClient) -> list[Conversation]:
            return list(await asyncio.gather(*(engine.restore_conversation(key) for key in conversation_ids)))

        self._link.run(restore, success=self._put, failure=self._failed)

    def empty_trash(self) -> None:
        """Remove for good what is in the trash."""

        def gone(number: int) -> None:
            self._list.set_trash([])
            self.emptied.emit(number)

        self._link.run(lambda engine: engine.empty_trash(), success=gone, failure=self._failed)

    def new_folder(self, name: str, conversation_ids: Sequence[str] = ()) -> None:
        """Make a folder, and move conversations into it."""
        name = " ".join(name.split())
        if not name:
            return

        def made(folder: Folder) -> None:
            self._list.set_folders([*self._list.folders(), folder])
            if conversation_ids:
                self.change(conversation_ids, folder_id=folder.id)

        self._link.run(lambda engine: engine.create_folder(NewFolder(name=name)), success=made, failure=self._failed)

    def rename_folder(self, folder_id: str, name: str) -> None:
        """Give a folder another name."""
        self._link.run(
            lambda engine: engine.update_folder(folder_id, FolderUpdate(name=name)),
            success=lambda _folder: self.refresh(),
            failure=self._failed,
        )

    def delete_folder(self, folder_id: str) -> None:
        """Remove a folder; its conversations stay."""

        async def delete(engine: EngineClient) -> list[Conversation]:
            await engine.delete_folder(folder_id)
            return await engine.conversations()

        def gone(conversations: list[Conversation]) -> None:
            self._list.set_folders([one for one in self._list.folders() if one.id != folder_id])
            self._list.set_conversations(conversations)

        self._link.run(delete, success=gone, failure=self._failed)

    def _put(self, conversations: list[Conversation]) -> None:
        for conversation in conversations:
            self._list.put(conversation)

    def _failed(self, error: ErrorInfo) -> None:
        self.problem.emit(error)
