"""Prompts: named texts that are used again."""

from __future__ import annotations

import sqlite3
import time

from msgspec import UNSET, UnsetType

from backend.api.errors import NotFoundError
from backend.api.schemas import Prompt

from .database import Database
from .rows import PROMPT, clean, new_id, to_prompt

__all__ = ["Prompts"]


def _require_prompt(connection: sqlite3.Connection, prompt_id: str) -> Prompt:
    row = connection.execute(f"SELECT {PROMPT} FROM prompts WHERE id = ?", (prompt_id,)).fetchone()
    if row is None:
        raise NotFoundError("This prompt does not exist any more.", remedy="Choose another one.")
    return to_prompt(row)


class Prompts:
    """The part of the store that keeps prompts."""

    _db: Database

    def list_prompts(self) -> list[Prompt]:
        """All prompts, by name."""
        with self._db.reading() as connection:
            rows = connection.execute(f"SELECT {PROMPT} FROM prompts ORDER BY name COLLATE NOCASE, num").fetchall()
        return [to_prompt(row) for row in rows]

    def create_prompt(self, name: str, text: str) -> Prompt:
        """A new prompt."""

        def work(connection: sqlite3.Connection) -> Prompt:
            prompt_id = new_id()
            connection.execute(
                "INSERT INTO prompts (id, name, text, created_at) VALUES (?, ?, ?, ?)",
                (prompt_id, clean(name), clean(text), time.time()),
            )
            return _require_prompt(connection, prompt_id)

        return self._db.write(work)

    def update_prompt(self, prompt_id: str, *, name: str | UnsetType = UNSET, text: str | UnsetType = UNSET) -> Prompt:
        """Change what is given. Raises NotFoundError."""

        def work(connection: sqlite3.Connection) -> Prompt:
            _require_prompt(connection, prompt_id)
            if name is not UNSET:
                connection.execute("UPDATE prompts SET name = ? WHERE id = ?", (clean(name), prompt_id))
            if text is not UNSET:
                connection.execute("UPDATE prompts SET text = ? WHERE id = ?", (clean(text), prompt_id))
            return _require_prompt(connection, prompt_id)

        return self._db.write(work)

    def delete_prompt(self, prompt_id: str) -> None:
        """Remove a prompt. Raises NotFoundError."""

        def work(connection: sqlite3.Connection) -> None:
            _require_prompt(connection, prompt_id)
            connection.execute("DELETE FROM prompts WHERE id = ?", (prompt_id,))

        self._db.write(work)
