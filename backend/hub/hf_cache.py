"""The Hugging Face cache: where a file goes so that other programs find it, and what deleting a model frees.

    models--OWNER--NAME/
      blobs/ETAG                       the bytes; ETAG.nutshell.incomplete while they arrive
      snapshots/COMMIT/path            links into blobs (copies where the system has no links)
      refs/main                        the commit of a branch
    .locks/models--OWNER--NAME/ETAG.lock

The layout: huggingface.co/docs/huggingface_hub/guides/manage-cache. A partial file of ours has a name of its own: the
client of the hub gives each process a new one and starts from nothing, which is what is not wanted here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.api.errors import ConflictError, StorageError
from backend.hub.home import check_there, hub_of, read_home

__all__ = ["Place", "cache_folder", "file_place", "locked", "put_in_place", "remove_snapshot", "set_branch"]

PARTIAL = ".nutshell.incomplete"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one file is, or will be."""

    blob: Path
    pointer: Path
    lock: Path

    @property
    def partial(self) -> Path:
        """What has arrived so far."""
        return self.blob.with_name(self.blob.name + PARTIAL)

    @property
    def done(self) -> bool:
        """Whether it is there for everybody."""
        return self.pointer.exists()

    @property
    def arrived(self) -> int:
        """Bytes of it on this disk."""
        for path in (self.pointer, self.blob, self.partial):
            with contextlib.suppress(OSError):
                return path.stat().st_size
        return 0


def cache_folder() -> Path:
    """In the folder that was chosen for models, else where the hub's own client would put one: HF_HUB_CACHE,
    HF_HOME/hub, or the usual place. Raises StorageError where the chosen folder's disk is not there.
    """
    folder = read_home().folder
    check_there(folder)
    return hub_of(folder)


def file_place(root: Path, repository: str, commit: str, path: str, etag: str) -> Place:
    """Of one file; `repository`, `path` and `etag` are checked names."""
    folder = "models--" + repository.replace("/", "--")
    return Place(
        root / folder / "blobs" / etag,
        root / folder / "snapshots" / commit / Path(*path.split("/")),
        root / ".locks" / folder / f"{etag}.lock",
    )


@contextlib.contextmanager
def locked(place: Place) -> Iterator[None]:
    """Holds the lock that other programs of the hub hold while they fetch the same file.

    Raises:
        ConflictError: one of them holds it.
    """
    import filelock

    place.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(place.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConflictError(
            f"Another program is downloading {place.pointer.name}.", remedy="Wait for it, then go on."
        ) from error
    try:
        yield
    finally:
        lock.release()


def put_in_place(place: Place) -> None:
    """Makes a partial file that is complete and checked the file itself."""
    if not place.blob.exists():
        place.partial.replace(place.blob)
    link(place)


def link(place: Place) -> None:
    """The file's name in the snapshot, pointing at the blob."""
    if place.pointer.exists():
        return
    place.pointer.parent.mkdir(parents=True, exist_ok=True)
    place.pointer.unlink(missing_ok=True)  # a link to what was deleted
    try:
        place.pointer.symlink_to(os.path.relpath(place.blob, place.pointer.parent))
    except OSError:  # Windows without the right to make links: the bytes themselves, as the hub's client does it
        shutil.move(place.blob, place.pointer)


def set_branch(root: Path, repository: str, branch: str, commit: str) -> None:
    """Notes which commit a branch was at, for programs that ask for the branch."""
    if branch == commit:
        return
    path = root / ("models--" + repository.replace("/", "--")) / "refs" / branch
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(commit, encoding="utf-8")
    fresh.replace(path)


def remove_snapshot(root: Path, snapshot: Path, only: Path | None = None) -> int:
    """Deletes a snapshot, or one file of it, with the blobs that nothing else names; returns the bytes that are freed.

    Args:
        root: the cache.
        snapshot: models--OWNER--NAME/snapshots/COMMIT in it.
        only: a file in the snapshot.

    Raises:
        StorageError: something could not be deleted.
    """
    repository = snapshot.parent.parent
    if repository.parent != root or not repository.name.startswith("models--") or snapshot.parent.name != "snapshots":
        raise StorageError("This is not a model of the Hugging Face cache.", details=str(snapshot))
    going = [only] if only is not None else [path for path in snapshot.rglob("*") if not path.is_dir()]
    blobs = {_blob(path) for path in going}
    kept = {
        _blob(path)
        for path in (repository / "snapshots").rglob("*")
        if path.is_symlink() and path not in set(going)
    }  # fmt: skip
    freed = 0
    try:
        for path in going:
            freed += 0 if path.is_symlink() else path.stat().st_size
            path.unlink(missing_ok=True)
        for blob in blobs - kept:
            if blob.parent == repository / "blobs" and blob.is_file():
                freed += blob.stat().st_size
                blob.unlink()
        if not any(not path.is_dir() for path in (repository / "snapshots").rglob("*")):
            for partial in (repository / "blobs").glob("*"):
                freed += partial.stat().st_size
            shutil.rmtree(repository)
    except OSError as error:
        raise StorageError(
            "The model could not be deleted completely.",
            why=f"The system says: {error.strerror}.",
            remedy=f"Close programs that use it, or delete {repository} by hand.",
            details=str(error),
        ) from error
    return freed


def _blob(path: Path) -> Path:
    """What a link of a snapshot points at, without following further links."""
    return Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path
