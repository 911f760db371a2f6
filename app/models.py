"""Which model a start begins with: the one asked for, the one used last, or the built-in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api.errors import NoModelError, NotFoundError
from backend.api.schemas import ModelEntry
from backend.config.paths import paths
from backend.config.settings import Settings
from backend.hub.catalogue import builtin_file

if TYPE_CHECKING:
    from backend.hub.local import LocalModels

__all__ = ["ModelWish", "default_model", "first_model", "local_models", "match_model", "no_model"]


@dataclass(frozen=True, slots=True)
class ModelWish:
    """A model to load.

    Attributes:
        path: its file; None where `text` is a name or an id that only the list of models can tell, or where there is
            no model at all.
        text: what the person typed, "" for nothing.
        notices: sentences to show, for example that another model takes the place of a missing one.
    """

    path: Path | None
    text: str = ""
    notices: list[str] = field(default_factory=list)


def first_model(wanted: str, settings: Settings | None = None) -> ModelWish:
    """What to load for `wanted` (a path, a name, an id), or for "" the model used last, else the built-in one.

    Raises:
        NotFoundError: `wanted` is a path and there is no such file.
    """
    if wanted:
        return _asked_for(wanted)
    notices: list[str] = []
    where = paths()
    settings = settings or Settings.load(where.settings)
    if settings.last_model:
        from backend.hub.home import where_now

        last = Path(settings.last_model)
        now = last if last.exists() else where_now(last)  # a file, or a Hugging Face folder
        if now is not None:
            return ModelWish(now)
        notices.append(
            f"The model used last is no longer where it was ({last}), so the built-in model answers. "
            "Choose another one in the model menu."
        )
    return ModelWish(builtin_file(where.models), notices=notices)


def default_model(wanted: str = "") -> ModelEntry:
    """As `first_model`, read in this process: for benchmarks, which need no engine process to know a file.

    Raises:
        NoModelError, NotFoundError, ModelError.
    """
    wish, local = first_model(wanted), local_models()
    if wish.path is not None:
        return local.entry_for(wish.path)
    if not wish.text:
        raise no_model()
    return match_model(wish.text, local.scan())


def local_models() -> LocalModels:
    """The models of this machine, read in this process."""
    from backend.hub.home import folders
    from backend.hub.local import LocalModels

    where = paths()
    return LocalModels(builtin_file(where.models), [where.models, where.builds], chosen=folders)


def match_model(wanted: str, entries: Sequence[ModelEntry]) -> ModelEntry:
    """The entry with this id, this name, or the only one whose name holds the text (case does not matter).

    Raises:
        NotFoundError: none, or more than one.
        ModelError: the file is there but cannot be used.
    """
    low = wanted.casefold()
    found = (
        [entry for entry in entries if entry.id == wanted]
        or [entry for entry in entries if entry.name.casefold() == low]
        or [entry for entry in entries if low in entry.name.casefold()]
    )
    if not found:
        raise NotFoundError(
            f'There is no model "{wanted}" on this machine.',
            remedy="The command nutshell models lists those that are; a path to a model file or folder works too.",
        )
    if len(found) > 1:
        names = ", ".join(sorted(entry.name for entry in found)[:5])
        raise NotFoundError(
            f'"{wanted}" fits {len(found)} models: {names}.', remedy="Give more of the name, or the path."
        )
    if (told := found[0].error) is not None:
        raise told.to_error()
    return found[0]


def no_model() -> NoModelError:
    """For a command that needs a model where there is none."""
    return NoModelError(
        "There is no model on this machine yet.",
        why="The built-in model has not been fetched.",
        remedy="Run python3 -m installer run once with a network, or give a model file with --model.",
    )


def _asked_for(wanted: str) -> ModelWish:
    path = Path(wanted).expanduser()
    if path.is_file() or (path / "config.json").is_file():
        return ModelWish(path.resolve())
    looks_like_path = path.suffix.lower() in (".gguf", ".nutshell") or len(path.parts) > 1
    if looks_like_path and not path.exists():
        raise NotFoundError(f"There is no file {path}.", remedy="Check the path; nutshell models lists what is there.")
    return ModelWish(None, wanted)
