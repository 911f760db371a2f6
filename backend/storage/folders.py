"""Folders of conversations, nested as deep as the user likes."""

from __future__ import annotations

import sqlite3
import time

from msgspec import UNSET, UnsetType

from backend.api.errors import InvalidRequestError, NotFoundError
from backend.api.schemas import Folder

from .database import Database
from .rows import FOLDER, clean, new_id, to_folder

__all__ = ["Folders"]


def _require_folder(connection: sqlite3.Connection, folder_id: str) -> Folder:
    row = connection.execute(f"SELECT {FOLDER} FROM folders WHERE id = ?", (folder_id,)).fetchone()
    if row is None:
        raise NotFoundError("This folder does not exist any more.", remedy="Choose another one.")
    return to_folder(row)


class Folders:
    """The part of the store that keeps folders."""

    _db: Database

    def list_folders(self) -> list[Folder]:
        """All folders, by name."""
        with self._db.reading() as connection:
            rows = connection.execute(f"SELECT {FOLDER} FROM folders ORDER BY name COLLATE NOCASE, num").fetchall()
        return [to_folder(row) for row in rows]

    def create_folder(self, name: str, parent_id: str | None = None) -> Folder:
        """A new folder. Raises NotFoundError for an unknown parent."""

        def work(connection: sqlite3.Connection) -> Folder:
            if parent_id is not None:
                _require_folder(connection, parent_id)
            folder_id = new_id()
            connection.execute(
                "INSERT INTO folders (id, name, parent_id, created_at) VALUES (?, ?, ?, ?)",
                (folder_id, clean(name), parent_id, time.time()),
            )
            return _require_folder(connection, folder_id)

        return self._db.write(work)

    def update_folder(
        self, folder_id: str, *, name: str | UnsetType = UNSET, parent_id: str | UnsetType | None = UNSET
    ) -> Folder:
        """Rename or move a folder. Raises NotFoundError, and InvalidRequestError for a move into itself."""

        def work(connection: sqlite3.Connection) -> Folder:
            _require_folder(connection, folder_id)
            if name is not UNSET:
                connection.execute("UPDATE folders SET name = ? WHERE id = ?", (clean(name), folder_id))
            if parent_id is not UNSET:
                above = parent_id
                while above is not None:
                    if above == folder_id:
                        raise InvalidRequestError("A folder cannot be put into itself.", remedy="Choose another place.")
                    above = _require_folder(connection, above).parent_id
                connection.execute("UPDATE folders SET parent_id = ? WHERE id = ?", (parent_id, folder_id))
            return _require_folder(connection, folder_id)

        return self._db.write(work)

    def delete_folder(self, folder_id: str) -> None:
        """Remove a folder; what is in it moves one level up. Raises NotFoundError."""

        def work(connection: sqlite3.Connection) -> None:
            parent_id = _require_folder(connection, folder_id).parent_id
            connection.execute("UPDATE folders SET parent_id = ? WHERE parent_id = ?", (parent_id, folder_id))
            connection.execute("UPDATE conversations SET folder_id = ? WHERE folder_id = ?", (parent_id, folder_id))
            connection.execute("DELETE FROM folders WHERE id = ?", (folder_id,))

        self._db.write(work)
