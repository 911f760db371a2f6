"""Who is alive: one locked file per open store, beside the database.

An answer belongs to the store that streams it (`messages.owner`). When its process dies, in whatever way, the system
drops the lock, and the next store that opens sees that the answer will not go on.
"""

from __future__ import annotations

import os
from pathlib import Path

from .locks import FileLock

__all__ = ["Owner", "living_owners"]


def _pattern(database: Path) -> str:
    return f"{database.name}-owner-"


class Owner:
    """A store's sign of life. `id` is 16 hexadecimal digits."""

    def __init__(self, database: Path) -> None:
        self.id = os.urandom(8).hex()
        self._lock = FileLock(database.with_name(_pattern(database) + self.id))

    def register(self) -> None:
        """Show that this store is alive. To be called behind the gate. Raises OSError."""
        self._lock.try_acquire()

    def leave(self) -> None:
        """Say good-bye and remove the file."""
        self._lock.release(remove=True)


def living_owners(database: Path) -> set[str]:
    """Ids of the stores that are open now, in any process. Removes the files of the dead.

    To be called behind the gate, so that no owner is between creating its file and locking it.
    """
    prefix = _pattern(database)
    living = set()
    for path in database.parent.glob(prefix.replace("[", "[[]") + "*"):
        lock = FileLock(path)
        try:
            dead = lock.try_acquire()
        except OSError:  # not ours to read: somebody's, then
            dead = False
        if dead:
            lock.release(remove=True)
        else:
            living.add(path.name.removeprefix(prefix))
    return living
