"""The models on this machine: the built-in one, those of other programs read in place, and what the user opened."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from backend.api.errors import ModelError, NotFoundError
from backend.api.schemas import ErrorInfo, ModelEntry
from backend.formats.gguf import read_header
from backend.formats.gguf_checks import NotForChatError
from backend.formats.gguf_split import split_name
from backend.formats.sniff import recognise
from backend.hub.catalogue import known_file
from backend.hub.stores import Candidate, from_folder, huggingface, stores

__all__ = ["MAX_MODELS", "LocalModels", "model_id"]

#: entries in the list; the header of each costs 5 to 100 ms at the first scan
MAX_MODELS = 1000

_Stamp = tuple[tuple[int, int] | None, ...]


def model_id(path: Path) -> str:
    """The id of a path: the first 16 hexadecimal digits of the SHA-256 of the absolute path."""
    return hashlib.sha256(os.fsencode(_absolute(path))).hexdigest()[:16]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are: a store's names live in them


class LocalModels:
    """Finds models and reads their headers. Thread-safe; a scan may take seconds the first time, then milliseconds.

    Attributes of the instance are private; nothing on disk is ever changed.
    """

    def __init__(
        self,
        builtin: Path | None,
        extra: Iterable[Path] = (),
        *,
        env: Mapping[str, str] | None = None,
        home: Path | None = None,
        chosen: Callable[[], Iterable[Path]] = lambda: (),
    ) -> None:
        """Args:
        builtin: the built-in model's file, which may not be there yet.
        extra: folders and files of the user's.
        chosen: folders with `hub` and `builds` in them, as `backend.hub.home` has them; asked at each scan.
        env, home: stand-ins for the environment and the home folder.
        """
        self._builtin = None if builtin is None else _absolute(builtin)
        self._extra = [_absolute(path) for path in extra]
        self._env = os.environ if env is None else env
        self._home = home or Path.home()
        self._chosen = chosen
        self._lock = threading.Lock()
        self._cache: dict[Path, tuple[_Stamp, Candidate, ModelEntry | None]] = {}
        self._opened: dict[Path, Candidate] = {}
        self._entries: dict[str, ModelEntry] = {}

    def scan(self) -> list[ModelEntry]:
        """Every model that is there now: the built-in one first, then by name. A damaged one has `error` set.

        Files that are not chat models (vision companions, adapters, embedding models) are left out, unless the user
        named them. A file that several programs share is listed once.
        """
        with self._lock:
            return self._scan()

    def entry_for(self, path: Path) -> ModelEntry:
        """The entry of one file or Hugging Face folder, from its header; it is in the list from then on.

        Of a split model any part may be given, and of a folder its config.json or a file of its weights.

        Raises:
            InvalidModelFileError, UnsupportedModelError: with the reason in sentences.
        """
        path = _absolute(path)
        part = split_name(path.name)
        if part is not None and part.index > 1 and path.with_name(part.part(1)).is_file():
            path = path.with_name(part.part(1))
        if path.suffix in (".json", ".safetensors") and recognise(path) == "hf":
            path = path.parent
        with self._lock:
            known = self._cache.get(path)
            candidate = known[1] if known else self._own(path)
            entry = _entry(candidate)
            if known is None and candidate.source == "file":
                self._opened[path] = candidate
            self._cache[path] = (_stamp(path), candidate, entry)
            self._entries[entry.id] = entry
            return entry

    def by_id(self, model: str) -> ModelEntry:
        """The entry with this id; scans once if it is not known yet.

        Raises:
            NotFoundError: no such model.
        """
        with self._lock:
            if model not in self._entries:
                self._scan()
            if model in self._entries:
                return self._entries[model]
        raise NotFoundError(
            "There is no such model on this machine.",
            why="It was moved or deleted, or the name is not that of a model in the list.",
            remedy="Choose a model from the list, or open its file.",
            details=model,
        )

    def _scan(self) -> list[ModelEntry]:
        found: dict[Path, ModelEntry] = {}
        files: set[tuple[int, int] | str] = set()
        cache: dict[Path, tuple[_Stamp, Candidate, ModelEntry | None]] = {}
        for candidate, named in self._candidates():
            identity = _identity(candidate.path)
            if identity is None or identity in files:
                continue
            files.add(identity)
            stamp = _stamp(candidate.path)
            known = self._cache.get(candidate.path)
            if known is not None and known[0] == stamp and known[1] == candidate and (known[2] or not named):
                entry = known[2]
            else:
                entry = _entry_or_error(candidate, named=named)
            cache[candidate.path] = (stamp, candidate, entry)
            if entry is not None:
                found[candidate.path] = entry
            if len(found) >= MAX_MODELS:
                break
        self._cache = cache
        entries = sorted(found.values(), key=lambda e: (e.source != "builtin", e.name.casefold(), e.bytes, e.path))
        self._entries = {entry.id: entry for entry in entries}
        return entries

    def _own(self, path: Path) -> Candidate:
        """A file that came from us or from the user, with the catalogue's name if it is a model that we know."""
        builtin = path == self._builtin
        known = known_file(path.name)
        ours = known is not None and (builtin or (path.is_file() and path.stat().st_size == known.bytes))
        return Candidate(path, "builtin" if builtin else "file", known.name if known is not None and ours else "")

    def _candidates(self) -> Iterator[tuple[Candidate, bool]]:
        """What may be a model, and whether the user named that very file."""
        if self._builtin is not None:
            yield self._own(self._builtin), True
        for path in self._extra:
            if path.is_dir():
                yield from ((candidate, False) for candidate in from_folder(path))
            else:
                yield Candidate(path, "file"), True
        for folder in self._chosen():
            yield from ((candidate, False) for candidate in from_folder(folder / "builds"))
            yield from ((candidate, False) for candidate in huggingface(folder / "hub"))
        yield from ((candidate, True) for candidate in self._opened.values())
        yield from ((candidate, False) for candidate in stores(self._env, self._home))


def _entry(candidate: Candidate) -> ModelEntry:
    if recognise(candidate.path) in ("pack", "hf"):
        from backend.hub.builds import build_entry  # 30 ms, only where there is one

        return build_entry(candidate, model_id(candidate.path))
    header = read_header(candidate.path)
    return ModelEntry(
        id=model_id(candidate.path),
        name=candidate.name or header.name,
        path=str(candidate.path),
        source=candidate.source,
        bytes=header.total_bytes,
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        context_length=header.context_length,
        layers=header.layers,
        licence=header.licence,
    )


def _entry_or_error(candidate: Candidate, *, named: bool) -> ModelEntry | None:
    try:
        return _entry(candidate)
    except NotForChatError as error:
        if not named:
            return None
        failure: ModelError = error
    except ModelError as error:
        failure = error
    return ModelEntry(
        id=model_id(candidate.path),
        name=candidate.name or candidate.path.name,
        path=str(candidate.path),
        source=candidate.source,
        bytes=sum(part[0] for part in _stamp(candidate.path) if part),
        error=ErrorInfo.of(failure),
    )


def _identity(path: Path) -> tuple[int, int] | str | None:
    """What two paths of one file have in common; None where there is no file."""
    try:
        status = path.stat()
        if not path.is_file() and not (path / "config.json").is_file():
            return None
        return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
    except OSError:
        return None


def _folder_files(path: Path) -> list[Path]:
    """The files of a Hugging Face folder that its entry is read from; [] where it is none."""
    try:
        return [path / "config.json", *sorted(path.glob("*.safetensors"))] if path.is_dir() else []
    except OSError:
        return []


def _stamp(path: Path) -> _Stamp:
    """Size and time of change, of every file of a model in several: one that arrives later is noticed."""
    part = split_name(path.name)
    files = [path] if part is None else [path.with_name(part.part(index)) for index in range(1, part.count + 1)]
    stamps: list[tuple[int, int] | None] = []
    for file in _folder_files(path) or files:
        try:
            status = file.stat()
            stamps.append((status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append(None)
    return tuple(stamps)
