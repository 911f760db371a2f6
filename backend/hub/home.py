"""Where Nutshell puts models: the usual places, or one folder that the person chose.

Usual: downloads go into the Hugging Face cache, which other programs share (HF_HUB_CACHE, HF_HOME), and builds into the
folder of the data. A chosen folder has both:

    FOLDER/hub/       downloads, as a Hugging Face cache: other programs find them with HF_HUB_CACHE=FOLDER/hub
    FOLDER/builds/    what was compressed here
    FOLDER/.nutshell-models    says that the disk with the folder is there

A folder that was chosen before stays in the list of models until nothing is in it any more. The choice is a small file
of the data folder, written by whoever moves, and read each time: the terminal and the window agree.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from backend.api.errors import InvalidRequestError, ReadOnlyError, StorageError
from backend.config.paths import paths
from backend.hub.stores import hf_roots

__all__ = ["Home", "builds_of", "check_there", "folders", "hub_of", "prepare", "read_home", "where_now", "write_home"]

MARK = ".nutshell-models"
_FILE = "models-folder.json"


class Home(msgspec.Struct, kw_only=True):
    """The choice.

    Attributes:
        folder: chosen; "" for the usual places.
        also: folders chosen before that still hold something.
        unfinished: a move into `folder` has begun and not ended.
    """

    folder: str = ""
    also: list[str] = []
    unfinished: bool = False


def read_home() -> Home:
    """The choice as it is now; the usual places where there is none, or where it cannot be read."""
    try:
        return msgspec.json.decode((paths().data / _FILE).read_bytes(), type=Home)
    except (OSError, msgspec.MsgspecError):
        return Home()


def write_home(home: Home) -> None:
    """Keeps the choice: the old or the new one is there at any time. Raises ReadOnlyError."""
    path = paths().data / _FILE
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(home))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ReadOnlyError(
            "The choice of the folder could not be kept.",
            why=f"The system says: {error.strerror}.",
            remedy=f"Allow writing to {path.parent}.",
        ) from error


def hub_of(folder: str) -> Path:
    """Where downloads go with this choice."""
    return Path(folder) / "hub" if folder else hf_roots(os.environ, Path.home())[0]


def builds_of(folder: str) -> Path:
    """Where builds go with this choice."""
    return Path(folder) / "builds" if folder else paths().builds


def folders() -> list[Path]:
    """Chosen folders, the present one first; their models are listed beside those of the usual places."""
    home = read_home()
    return [Path(one) for one in dict.fromkeys([home.folder, *home.also]) if one]


def where_now(path: Path) -> Path | None:
    """Where a model is that was at `path` before a move; None where it cannot be found."""
    at = next((n for n, part in enumerate(path.parts) if part.startswith("models--")), None)
    for folder in [*map(str, folders()), ""]:
        now = builds_of(folder) / path.name if at is None else hub_of(folder).joinpath(*path.parts[at:])
        if now.exists():
            return now
    return None


def check_there(folder: str) -> None:
    """Raises StorageError where the disk with the chosen folder is not there: else it would be made on another one."""
    if folder and not (Path(folder) / MARK).exists():
        raise StorageError(
            "The folder of the models is not there.",
            why=f"{folder} cannot be found; perhaps its disk is not connected.",
            remedy="Connect the disk, or choose another folder under Get a model.",
        )


def prepare(folder: str) -> str:
    """Makes a folder ready to be chosen; returns its absolute path, "" for "".

    Raises:
        InvalidRequestError: it cannot be one. StorageError: it cannot be written.
    """
    if not folder.strip():
        return ""
    path = Path(os.path.abspath(Path(folder.strip()).expanduser()))  # noqa: PTH100 - a link stays what it is
    if path.exists() and not path.is_dir():
        raise InvalidRequestError(f"{path} is a file.", remedy="Choose a folder.")
    if path == Path(path.anchor):
        raise InvalidRequestError("The whole disk is no folder for models.", remedy="Choose a folder on it.")
    inside = [paths().builds, hub_of(""), *(folder for folder in folders() if folder != path)]
    for other in inside:
        if other == path / "hub":  # HF_HUB_CACHE names it, so that other programs find the models
            continue
        if path.is_relative_to(other) or other.is_relative_to(path / "hub") or other.is_relative_to(path / "builds"):
            raise InvalidRequestError(
                f"{path} cannot be the folder of the models.",
                why=f"It and {other} lie inside one another.",
                remedy="Choose a folder apart from it.",
            )
    try:
        for part in (path, path / "hub", path / "builds"):
            part.mkdir(parents=True, exist_ok=True)
        (path / MARK).write_text("Nutshell keeps models in this folder.\n", encoding="utf-8")
    except OSError as error:
        with contextlib.suppress(OSError):
            path.rmdir()
        raise StorageError(
            f"Nothing can be written into {path}.",
            why=f"The system says: {error.strerror}.",
            remedy="Choose another folder, or allow writing there.",
        ) from error
    return str(path)
