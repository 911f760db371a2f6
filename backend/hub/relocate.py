"""Changing the folder of the models: what belongs to Nutshell is moved, and what belongs to all stays.

From a chosen folder everything moves. From the usual places the builds move, and of the shared Hugging Face cache only
repositories all of whose files Nutshell downloaded; the others are left to the programs that put them there, and are
read where they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backend.api.errors import ConflictError
from backend.config.paths import paths
from backend.hub.home import Home, builds_of, hub_of, prepare, read_home, write_home
from backend.hub.moving import Far, Item, Outcome, move

__all__ = ["items", "relocate"]


def relocate(
    folder: str,
    etags: Callable[[], set[str]],
    told: Callable[[Far], None] = lambda _: None,
    stop: threading.Event | None = None,
    *,
    in_use: Callable[[Sequence[Item]], None] = lambda _: None,
) -> Outcome:
    """Chooses a folder ("": the usual places) and moves what is ours there. The same call goes on after anything.

    From its first moment new downloads go to the new folder, and models of both are listed.

    Args:
        folder: the new one.
        etags: of all files that Nutshell downloaded.
        told: hears how far it is.
        stop: set it to end with StoppedError.
        in_use: raises where something of the items is in use.

    Raises:
        ConflictError: another Nutshell moves models. InvalidRequestError, StorageError and its kin; StoppedError.
    """
    with _alone():
        home = read_home()
        folder = prepare(folder)
        before = [one for one in dict.fromkeys([home.folder, *home.also, ""]) if one != folder]
        # one whose disk is not there is kept in mind: its models are listed again when it comes back
        there = [one for one in before if not one or Path(one).is_dir()]
        wanted = [item for one in there for item in items(one, folder, etags())]
        in_use(wanted)
        also = [one for one in before if one]
        write_home(Home(folder=folder, also=also, unfinished=True))
        outcome = move(wanted, told, stop)
        left = [one for one in also if not Path(one).is_dir() or next(_things(one, set()), None) is not None]
        write_home(Home(folder=folder, also=left))
        return outcome


def items(old: str, new: str, etags: set[str]) -> list[Item]:
    """What of one place would move to another, builds first: they cannot be fetched again."""
    # the staging must lie on the disk of the target: of the usual places the cache and the builds may be on two
    found = []
    for source in _things(old, etags):
        target = (builds_of if source.parent == builds_of(old) else hub_of)(new) / source.name
        if target == source:  # HF_HUB_CACHE names the folder that was chosen
            continue
        found.append(Item(source, target, Path(new) if new else target.parent))
    return found


def _things(folder: str, etags: set[str]) -> Iterator[Path]:
    builds, hub = builds_of(folder), hub_of(folder)
    if builds.is_dir():
        yield from sorted(one for one in builds.iterdir() if not one.name.startswith(".") and not _passing(one))
    if hub.is_dir():
        for one in sorted(hub.glob("models--*")):
            if one.is_dir() and (folder or _all_ours(one, etags)):
                yield one


def _passing(path: Path) -> bool:
    """A file that something else is about to rename."""
    return path.name.endswith((".new", ".part"))


def _all_ours(repository: Path, etags: set[str]) -> bool:
    blobs = [one.name.removesuffix(".nutshell.incomplete") for one in (repository / "blobs").glob("*")]
    return bool(blobs) and all(name in etags for name in blobs)


@contextmanager
def _alone() -> Iterator[None]:
    import filelock

    path = paths().data / "models-folder.lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConflictError("Another Nutshell is moving the models.", remedy="Wait for it.") from error
    try:
        yield
    finally:
        lock.release()
