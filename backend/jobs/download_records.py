"""Downloads as small files, so that one that a crash or a power cut ended is known and can go on.

ID.json in the folder `downloads` of the data; the bytes themselves are in the Hugging Face cache.
"""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path

import msgspec
import psutil

from backend.api.downloads import Download
from backend.api.errors import NotFoundError, ReadOnlyError
from backend.hub.remote import RemoteFile

__all__ = ["DownloadRecords", "Known"]

logger = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Known(msgspec.Struct, kw_only=True):
    """A download with its files, and the engine that works on it: its process, and when that began."""

    download: Download
    files: list[RemoteFile]
    pid: int = 0
    born: float = 0.0


class DownloadRecords:
    """The records of one folder. Not safe for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._me = os.getpid()
        self._born = psutil.Process().create_time()

    def list(self) -> list[Known]:
        """All that can be read, newest first. One that says it runs, and whose engine is gone, is interrupted."""
        try:
            paths = [path for path in self._folder.glob("*.json") if _ID.fullmatch(path.stem)]
        except OSError:
            return []
        found = [known for path in paths if (known := self._read(path)) is not None]
        return sorted(found, key=lambda one: -one.download.created_at)

    def get(self, download_id: str) -> Known:
        """One of them. Raises NotFoundError."""
        known = self._read(self._path(download_id)) if _ID.fullmatch(download_id) else None
        if known is None:
            raise NotFoundError("This download is not there any more.", why="It was deleted.")
        return known

    def save(self, known: Known) -> None:
        """Writes it; whole or not at all. Raises ReadOnlyError."""
        known.download.updated_at = time.time()
        known.pid, known.born = self._me, self._born
        path = self._path(known.download.id)
        fresh = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(known))
            fresh.replace(path)
        except OSError as error:
            raise ReadOnlyError(
                "The list of downloads cannot be written.",
                why=f"The system says: {error.strerror}.",
                remedy=f"Allow writing to {self._folder}.",
                details=str(error),
            ) from error

    def delete(self, download_id: str) -> None:
        """Forgets it; the bytes stay."""
        self._path(download_id).unlink(missing_ok=True)

    def _path(self, download_id: str) -> Path:
        return self._folder / f"{download_id}.json"

    def _read(self, path: Path) -> Known | None:
        try:
            known = msgspec.json.decode(path.read_bytes(), type=Known)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the record %s cannot be read: %s", path, error)
            return None
        download = known.download
        download.id, download.job = path.stem, None
        if download.state in ("running", "queued") and not self._alive(known):
            download.state = "interrupted"
        return known

    def _alive(self, known: Known) -> bool:
        try:
            return psutil.pid_exists(known.pid) and abs(psutil.Process(known.pid).create_time() - known.born) < 1.0
        except psutil.Error:
            return False
