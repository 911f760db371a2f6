"""Presets: a named system prompt with sampling, an icon and a model. The last two are small fields in `extra`."""

from __future__ import annotations

import sqlite3
import time

from msgspec import UNSET, UnsetType

from backend.api.errors import NotFoundError
from backend.api.schemas import Preset, Sampling

from .database import Database
from .rows import PRESET, clean, dump, merge, new_id, to_preset

__all__ = ["Presets"]


def _require_preset(connection: sqlite3.Connection, preset_id: str) -> Preset:
    row = connection.execute(f"SELECT {PRESET} FROM presets WHERE id = ?", (preset_id,)).fetchone()
    if row is None:
        raise NotFoundError("This preset does not exist any more.", remedy="Choose another one.")
    return to_preset(row)


def _set_small(connection: sqlite3.Connection, preset_id: str, **values: str | UnsetType) -> None:
    for field, value in values.items():
        if value is not UNSET:
            connection.execute(
                "UPDATE presets SET extra = json_set(iif(json_valid(extra), extra, '{}'), ?, ?) WHERE id = ?",
                (f"$.{field}", clean(str(value)), preset_id),
            )


class Presets:
    """The part of the store that keeps presets."""

    _db: Database

    def list_presets(self) -> list[Preset]:
        """All presets, by name."""
        with self._db.reading() as connection:
            rows = connection.execute(f"SELECT {PRESET} FROM presets ORDER BY name COLLATE NOCASE, num").fetchall()
        return [to_preset(row) for row in rows]

    def create_preset(
        self, name: str, system_prompt: str = "", sampling: Sampling | None = None, *, icon: str = "", model: str = ""
    ) -> Preset:
        """A new preset."""

        def work(connection: sqlite3.Connection) -> Preset:
            preset_id = new_id()
            connection.execute(
                "INSERT INTO presets (id, name, system_prompt, sampling, created_at) VALUES (?, ?, ?, ?, ?)",
                (preset_id, clean(name), clean(system_prompt), dump(sampling), time.time()),
            )
            _set_small(connection, preset_id, icon=icon, model=model)
            return _require_preset(connection, preset_id)

        return self._db.write(work)

    def update_preset(
        self,
        preset_id: str,
        *,
        name: str | UnsetType = UNSET,
        system_prompt: str | UnsetType = UNSET,
        sampling: Sampling | UnsetType | None = UNSET,
        icon: str | UnsetType = UNSET,
        model: str | UnsetType = UNSET,
    ) -> Preset:
        """Change what is given. Conversations that were made with the preset stay as they are. Raises NotFoundError."""

        def work(connection: sqlite3.Connection) -> Preset:
            _require_preset(connection, preset_id)
            if name is not UNSET:
                connection.execute("UPDATE presets SET name = ? WHERE id = ?", (clean(name), preset_id))
            if system_prompt is not UNSET:
                connection.execute(
                    "UPDATE presets SET system_prompt = ? WHERE id = ?", (clean(system_prompt), preset_id)
                )
            if sampling is not UNSET:
                old = connection.execute("SELECT sampling FROM presets WHERE id = ?", (preset_id,)).fetchone()[0]
                connection.execute("UPDATE presets SET sampling = ? WHERE id = ?", (merge(old, sampling), preset_id))
            _set_small(connection, preset_id, icon=icon, model=model)
            return _require_preset(connection, preset_id)

        return self._db.write(work)

    def delete_preset(self, preset_id: str) -> None:
        """Remove a preset. Raises NotFoundError."""

        def work(connection: sqlite3.Connection) -> None:
            _require_preset(connection, preset_id)
            connection.execute("DELETE FROM presets WHERE id = ?", (preset_id,))

        self._db.write(work)
