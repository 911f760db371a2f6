"""Looking through folders that others wrote: bounded, safe against loops, silent about what may not be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MAX_ENTRIES", "walk"]

#: directory entries looked at below one root; a home folder given by mistake must not cost minutes
MAX_ENTRIES = 50_000


def walk(root: Path, depth: int, *, limit: int = MAX_ENTRIES) -> Iterator[Path]:
    """Files below `root`, at most `depth` folders down (1: only its own), in the order of their names.

    Links are followed; a folder is entered once, whatever links lead to it. After `limit` entries it stops.
    """
    seen: set[tuple[int, int]] = set()
    pending = [(root, depth)]
    left = limit
    while pending:
        folder, levels = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = []
                for entry in listing:  # not sorted(listing): a folder of millions must not be held in memory
                    entries.append(entry)
                    left -= 1
                    if left < 0:
                        return
        except OSError:
            continue
        folders = []
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif entry.is_file():
                    yield Path(entry.path)
            except OSError:
                continue
        if levels > 1:
            pending.extend((below, levels - 1) for below in reversed(folders))
