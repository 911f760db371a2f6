"""The reference's answers on disk, so that only one model is in memory at a time and a reference is run once.

A folder for each pair of reference and contexts; a file for each context: log-probabilities (rows x n_vocab float16),
surprise (rows float32), likeliest (rows int32), little-endian, one after the other. A file is complete or not there.
767 scored tokens of a vocabulary of 151,936 take 233 MB.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np

from backend.api.errors import DiskFullError
from backend.quantize.evaluation_scores import Expected
from backend.quantize.evaluation_text import Contexts

__all__ = ["LIMIT", "Store", "identity"]

#: bytes of all references together; the ones that were used longest ago go first
LIMIT = 12 << 30
#: what is left free on the disk
_SPARE = 1 << 30
#: raised when the numbers in the files mean something else, or the engine computes with other rounding
_VERSION = 1
#: a folder that was used this recently is never removed: another process may read it
_RECENT_S = 3600.0


def identity(model: Path) -> str:
    """Tells one state of a model's files from another, without reading all of them: names, sizes, times, beginnings."""
    if model.is_dir():
        files = sorted(file for file in model.iterdir() if file.suffix in (".safetensors", ".json"))
    else:
        files = [model]
    found = hashlib.sha256()
    for file in files:
        status = file.stat()
        found.update(f"{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
        with file.open("rb") as opened:
            found.update(opened.read(1 << 16))
    return found.hexdigest()


class Store:
    """The answers of one reference to one set of contexts.

    Args:
        root: the folder of all stores; made if it is not there.
        reference: the model's file or folder.
        contexts: what it is asked.
        n_vocab: numbers of a row of logits.
    """

    def __init__(self, root: Path, reference: Path, contexts: Contexts, n_vocab: int) -> None:
        name = hashlib.sha256(f"{_VERSION} {n_vocab} {identity(reference)} {contexts.digest}".encode()).hexdigest()[:24]
        self._root, self._folder = root, root / name
        self._rows, self._width = contexts.scored, n_vocab
        self._about = {"reference": reference.name, "text": contexts.name, "contexts": len(contexts.tokens)}
        self._bytes = self._rows * (2 * n_vocab + 8)

    def missing(self, contexts: int) -> list[int]:
        """Which of the contexts 0 ... contexts - 1 are not there yet."""
        return [index for index in range(contexts) if not self._complete(index)]

    def prepare(self, contexts: int) -> None:
        """Makes room for what is missing.

        Raises:
            DiskFullError: there is none; nothing was written.
        """
        needed = self._bytes * len(self.missing(contexts))
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("*.new"):
            leftover.unlink()
        about = json.dumps({**self._about, "used": time.time()})
        (self._folder / "about.json").write_text(about, "utf-8")
        self._make_room(needed)
        free = shutil.disk_usage(self._folder).free
        if needed and free < needed + _SPARE:
            raise DiskFullError(
                "There is not enough room on the disk to measure.",
                why=f"What the reference says takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
                remedy="Free some room, or measure on fewer tokens.",
            )

    def write(self, index: int, expected: Expected) -> None:
        """Keeps the answers to one context."""
        path = self._path(index)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            expected.log_probabilities.astype("<f2", copy=False).tofile(file)
            expected.surprise.astype("<f4", copy=False).tofile(file)
            expected.likeliest.astype("<i4", copy=False).tofile(file)
        fresh.replace(path)

    def read(self, index: int) -> Expected:
        """The answers to one context; log-probabilities are mapped from the file."""
        path, rows, width = self._path(index), self._rows, self._width
        logs = np.memmap(path, "<f2", "r", 0, (rows, width))
        start = 2 * rows * width
        surprise = np.fromfile(path, "<f4", rows, offset=start)
        return Expected(logs, surprise, np.fromfile(path, "<i4", rows, offset=start + 4 * rows))

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:05}.bin"

    def _complete(self, index: int) -> bool:
        path = self._path(index)
        return path.is_file() and path.stat().st_size == self._bytes

    def _make_room(self, needed: int) -> None:
        """Removes other references, the one used longest ago first, until all fit LIMIT."""
        others = []
        for folder in self._root.iterdir():
            about = folder / "about.json"
            if folder != self._folder and about.is_file():
                others.append((about.stat().st_mtime, sum(file.stat().st_size for file in folder.iterdir()), folder))
        own = sum(file.stat().st_size for file in self._folder.iterdir())
        total = needed + own + sum(size for _, size, _ in others)
        for used, size, folder in sorted(others):
            if total <= LIMIT or time.time() - used < _RECENT_S:
                break
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
