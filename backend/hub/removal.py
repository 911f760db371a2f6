"""Deleting a model from the disk: what may be deleted, and what it frees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.api.errors import ConflictError, StorageError
from backend.api.schemas import ModelEntry
from backend.formats.gguf_split import split_name
from backend.hub.hf_cache import remove_snapshot

__all__ = ["remove"]

_OWNERS = {"lmstudio": "LM Studio", "ollama": "Ollama", "llamacpp": "llama.cpp"}


def remove(entry: ModelEntry, ours: Sequence[Path]) -> int:
    """Deletes a model and returns the bytes that are freed.

    What lies in the Hugging Face cache goes with every blob that no other revision names. Other programs' models and
    files outside our own folders are not ours to delete.

    Args:
        entry: of the list of models.
        ours: folders whose files are Nutshell's.

    Raises:
        ConflictError: it is not ours. StorageError: the system refuses.
    """
    path = Path(entry.path)
    if entry.source == "huggingface":
        snapshot = next((folder for folder in (path, *path.parents) if folder.parent.name == "snapshots"), None)
        if snapshot is None:
            raise ConflictError("This model is not where the Hugging Face cache keeps its models.", details=str(path))
        root = snapshot.parent.parent.parent
        if snapshot == path:
            return remove_snapshot(root, snapshot)
        return sum(remove_snapshot(root, snapshot, part) for part in _parts(path))
    if entry.source in _OWNERS:
        owner = _OWNERS[entry.source]
        raise ConflictError(f"This model belongs to {owner}.", remedy=f"Delete it in {owner}.")
    if entry.source == "builtin" or not any(path.is_relative_to(folder) for folder in ours):
        why = "It came with the program." if entry.source == "builtin" else "It is a file of yours that was opened."
        raise ConflictError(
            "Nutshell does not delete this model.", why=why, remedy=f"Delete it by hand if you want to: {path}"
        )
    freed = 0
    try:
        for part in _parts(path):
            freed += part.stat().st_size
            part.unlink()
    except OSError as error:
        raise StorageError(
            "The model could not be deleted.", why=f"The system says: {error.strerror}.", details=str(error)
        ) from error
    return freed


def _parts(path: Path) -> list[Path]:
    """All files of a model in several, or the one."""
    split = split_name(path.name)
    files = [path] if split is None else [path.with_name(split.part(index)) for index in range(1, split.count + 1)]
    return [file for file in files if file.exists()]
