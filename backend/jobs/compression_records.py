"""Compressions as small files beside their builds, so that one that a crash or a power cut ended can go on.

NAME.nutshell               the build, when it is finished
NAME.nutshell.work/         what the compressor has done so far
NAME.nutshell.record.json   what was asked for, how far it is, and its result
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from pathlib import Path

import msgspec
import psutil

from backend.api.compression import Compression
from backend.api.errors import DiskFullError, NotFoundError, ReadOnlyError, StorageError

__all__ = ["Records", "free_name"]

SUFFIX, WORK, RECORD = ".nutshell", ".work", ".record.json"
logger = logging.getLogger(__name__)


class _File(msgspec.Struct, kw_only=True):
    """A record with the engine that works on it: its process, and when that began (numbers of processes return)."""

    compression: Compression
    pid: int = 0
    born: float = 0.0


class Records:
    """The records of one folder. Not safe for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._me = os.getpid()
        self._born = psutil.Process().create_time()

    def list(self) -> list[Compression]:
        """All that can be read, newest first. One that says it runs, and whose engine is gone, is interrupted."""
        found = []
        try:
            paths = sorted(self.folder.glob(f"*{RECORD}"))
        except OSError:
            return []
        for path in paths:
            record = self._read(path)
            if record is not None:
                found.append(record)
        return sorted(found, key=lambda one: -one.created_at)

    def get(self, record_id: str) -> Compression:
        """One of them. Raises NotFoundError."""
        for record in self.list():
            if record.id == record_id:
                return record
        raise NotFoundError("This compression is not there any more.", why="It was deleted, or its folder was moved.")

    def save(self, record: Compression) -> None:
        """Writes it; whole or not at all.

        Raises:
            DiskFullError, ReadOnlyError, StorageError: the folder cannot be written.
        """
        record.updated_at = time.time()
        path = Path(record.out + RECORD)
        fresh = path.with_name(path.name + ".new")
        data = msgspec.json.encode(_File(compression=record, pid=self._me, born=self._born))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise _unwritable(error, self.folder) from error

    def delete(self, record: Compression) -> None:
        """Removes the record and the work folder; of a build that is not finished whatever there is. A finished build
        stays.

        Raises:
            StorageError: something of it could not be removed.
        """
        out = Path(record.out)
        work = out.with_name(out.name + WORK)
        try:
            if work.is_dir() and not work.is_symlink():
                shutil.rmtree(work)
            Path(record.out + RECORD).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                "The work folder could not be deleted.",
                why=f"The system says: {error.strerror}.",
                remedy=f"Delete it by hand: {work}",
                details=str(error),
            ) from error

    def _read(self, path: Path) -> Compression | None:
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the record %s cannot be read: %s", path, error)
            return None
        record = file.compression
        # What is deleted with a record follows from where it lies, not from what it says.
        record.out = str(path.with_name(path.name.removesuffix(RECORD)))
        record.job = None
        if record.state == "running" and not self._alive(file):
            record.state = "interrupted"
        return record

    def _alive(self, file: _File) -> bool:
        try:
            return psutil.pid_exists(file.pid) and abs(psutil.Process(file.pid).create_time() - file.born) < 1.0
        except psutil.Error:
            return False


def free_name(folder: Path, wanted: str) -> Path:
    """A path in the folder for a build of this name, that no build, work folder or record has yet."""
    stem = re.sub(r"[^\w .+\-()]", "_", wanted, flags=re.ASCII).strip(" .")[:100] or "model"
    number = 1
    while True:
        path = folder / (stem + ("" if number == 1 else f" {number}") + SUFFIX)
        if not any(Path(str(path) + ending).exists() for ending in ("", WORK, RECORD)):
            return path
        number += 1


def _unwritable(error: OSError, folder: Path) -> StorageError:
    if error.errno == 28:  # ENOSPC
        return DiskFullError("The disk is full.", remedy="Free some space and try again.", details=str(error))
    return ReadOnlyError(
        "The folder of the builds cannot be written.",
        why=f"The system says: {error.strerror}.",
        remedy=f"Allow writing to {folder}, or choose another data folder.",
        details=str(error),
    )
