"""The work folder of a compression (store.md): every linear at every level, as it is made; a kill loses at most one."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import ConflictError, ModelError, StorageError
from backend.formats.pack_layout import check_buffers, check_numbers, check_parameters
from backend.formats.safetensors import DTYPES, TensorFile
from backend.formats.safetensors_writer import TensorWriter, replacing
from backend.storage.locks import FileLock
from kernels.packed import PackedLinear

__all__ = ["FORMAT", "Pieces", "Store", "Stored", "peek", "work_folder"]

FORMAT = "nutshell-level"
_SUFFIX = ".level"
_MANIFEST = "work.json"
_LOCK = "work.lock"
#: endings of what may be deleted: linears, notes, activations, what a kill cut off, the build that is not measured yet
_OURS = (_SUFFIX, ".json", ".bin", ".part", ".unmeasured")
#: bytes of header that are left free: nine buffers and five arrays take 2 KB
_ROOM = 4096

Arrays = Mapping[str, npt.NDArray[Any]]
#: what a run is: options, source, program; JSON's types only
Run = Mapping[str, Any]


def work_folder(out: Path) -> Path:
    """Where the work on a build is kept: beside it, so that the finished file only needs another name."""
    return out.with_name(out.name + ".work")


def peek(folder: Path, name: str) -> Any:
    """A note of a work folder that may be there, without opening it; None where there is none."""
    return _read(folder / f"{name}.json")


@dataclass(frozen=True, slots=True)
class Stored:
    """A linear at one level.

    Attributes:
        packed: views into the mapped file.
        error: relative, squared, under the calibration's Hessian; NaN where none was measured.
        seconds: that it took.
        warm: see `layer.Quantized`.
        notes: what else was said of it (JSON's types).
    """

    packed: PackedLinear
    error: float
    seconds: float
    warm: Arrays
    notes: Mapping[str, Any]


class Store:
    """One work folder, held by one process at a time. What is in it is whole: files appear when they are complete.

    Attributes:
        folder: the folder.
        resumed: whether it was there before.
    """

    def __init__(self, folder: Path, run: Run, *, restart: bool = False) -> None:
        """Opens the folder, or makes it.

        Args:
            folder: see `work_folder`.
            run: what decides the bits. A folder of another run is refused.
            restart: throw away what is there.

        Raises:
            ConflictError: another process works in it, or it belongs to another run; the folder is as it was.
            StorageError: it cannot be written.
        """
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
            self._lock = FileLock(folder / _LOCK)
            if not self._lock.try_acquire():
                raise ConflictError(
                    "This build is being made already.",
                    why=f"Another process works in {folder.name}.",
                    remedy="Wait for it, or stop it; nothing that is done is lost.",
                )
            try:
                self.resumed = self._enter(json.loads(json.dumps(run)), restart=restart)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise _refused(folder, error) from error

    def _enter(self, run: dict[str, Any], *, restart: bool) -> bool:
        manifest = self.folder / _MANIFEST
        known = None if restart else _read(manifest)
        if known is None:
            self._clear()
            write_json(manifest, {"format": FORMAT, "run": run})
            return False
        if known != run:
            raise ConflictError(
                "The work that was begun on this build was another one.",
                why=f"It had other {_differences(known, run)}.",
                remedy="Take the same options and the same source to go on, or start over with --restart.",
                details=json.dumps([known, run])[:2000],
            )
        for half in self.folder.glob("*.part"):  # of a process that was killed
            half.unlink()
        return True

    def _clear(self) -> None:
        """The manifest first: a folder without one is empty, whatever else of ours is in it."""
        found = [path for path in self.folder.iterdir() if path.name != _LOCK]
        strange = [path.name for path in found if path.suffix not in _OURS or path.is_dir()]
        if strange:
            raise ConflictError(
                "The folder for the work on this build is in use for something else.",
                why=f"{self.folder} holds {strange[0]}, which is not Nutshell's.",
                remedy="Choose another name for the build, or move that folder away.",
            )
        for path in sorted(found, key=lambda path: path.name != _MANIFEST):
            path.unlink(missing_ok=True)

    # -- linears -------------------------------------------------------------------------------------------------------

    def put(
        self,
        module: str,
        level: str,
        packed: PackedLinear,
        *,
        error: float = math.nan,
        seconds: float = 0.0,
        warm: Arrays | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps a linear; it is on the disk when this returns.

        Raises:
            ModelError: it cannot be written.
        """
        about = {
            "module": module,
            "level": level,
            "linear": [packed.scheme, packed.out_features, packed.in_features, dict(packed.parameters)],
            "error": None if math.isnan(error) else error,
            "seconds": seconds,
            "notes": dict(notes or {}),
        }
        arrays = {f"buffer/{name}": array for name, array in packed.buffers.items()}
        self._write(self._file(module, level), about, arrays | {f"warm/{n}": a for n, a in (warm or {}).items()})

    def has(self, module: str, level: str) -> bool:
        """Whether there is a whole file of it. It is not read: see `get`."""
        return self._file(module, level).is_file()

    def get(self, module: str, level: str) -> Stored | None:
        """What was put; None where it was not, or is damaged (then it is gone, and can be made again)."""
        path = self._file(module, level)
        read = self._read(path)
        if read is None:
            return None
        about, arrays = read
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"buffer": {}, "warm": {}}
        try:
            for name, array in arrays.items():
                kind, _, rest = name.partition("/")
                parts[kind][rest] = array
            shape = check_parameters(module, *about["linear"])
            packed = PackedLinear(
                shape.scheme, shape.out_features, shape.in_features, shape.parameters, parts["buffer"]
            )
            check_buffers(
                module, packed, {n: (a.dtype.newbyteorder("<").str, a.size) for n, a in packed.buffers.items()}
            )
            check_numbers(module, packed)
            error = math.nan if about["error"] is None else float(about["error"])
            return Stored(packed, error, float(about["seconds"]), parts["warm"], about["notes"])
        except (ModelError, KeyError, TypeError, ValueError):
            self._drop(path)
            return None

    def levels(self, module: str) -> tuple[str, ...]:
        """Those that there are of a linear, sorted."""
        found = self.folder.glob(f"{module}@*{_SUFFIX}")
        return tuple(sorted(path.name.removesuffix(_SUFFIX).rpartition("@")[2] for path in found))

    # -- anything else -------------------------------------------------------------------------------------------------

    def put_arrays(self, name: str, arrays: Arrays, about: Mapping[str, Any] | None = None) -> None:
        """Keeps arrays under a name that no linear has."""
        self._write(self.folder / f"{name}{_SUFFIX}", dict(about or {}), arrays)

    def get_arrays(self, name: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
        """(about, arrays) as put; None where there are none."""
        return self._read(self.folder / f"{name}{_SUFFIX}")

    def put_note(self, name: str, value: Any) -> None:
        """Keeps what JSON can hold."""
        write_json(self.folder / f"{name}.json", {"format": FORMAT, "run": value})

    def note(self, name: str) -> Any:
        """What was kept, or None."""
        return _read(self.folder / f"{name}.json")

    def writing(self, name: str) -> AbstractContextManager[Callable[[str, npt.NDArray[Any]], None]]:
        """Arrays one after another, none of them kept in memory; they are there when the block ends well."""
        return _writing(self.folder / f"{name}{_SUFFIX}", {}, room=1 << 16)

    def reading(self, name: str) -> Pieces | None:
        """What was written so, if every byte is as it was; None else."""
        path = self.folder / f"{name}{_SUFFIX}"
        try:
            return Pieces(path) if path.is_file() else None
        except (ModelError, KeyError, TypeError, ValueError):
            self._drop(path)
            return None

    def forget(self, name: str) -> None:
        """Deletes what was written so."""
        self._drop(self.folder / f"{name}{_SUFFIX}")

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    # -- end -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Lets others in; everything stays."""
        self._lock.release()

    def remove(self) -> None:
        """Deletes the folder: its build is finished. A kill in the middle leaves a folder that counts as empty."""
        with suppress(
            OSError
        ):  # a file that something else looks at: what remains is no build and is cleared next time
            self._clear()
            self._lock.release(remove=True)
            self.folder.rmdir()
        self._lock.release()

    # -- files ---------------------------------------------------------------------------------------------------------

    def _file(self, module: str, level: str) -> Path:
        return self.folder / f"{module}@{level}{_SUFFIX}"

    def _write(self, path: Path, about: Mapping[str, Any], arrays: Arrays) -> None:
        with _writing(path, about) as add:
            for name, array in arrays.items():
                add(name, array)

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
        """The content if every byte is as it was written; a damaged file is removed."""
        if not path.is_file():
            return None
        try:
            file = TensorFile.open(path)
            arrays = {name: file.array(name) for name in file.tensors if not name.startswith("pad/")}
            found = {name: _sum(array) for name, array in arrays.items()}
            found[""] = zlib.crc32(file.metadata["about"].encode())
            if file.metadata["format"] != FORMAT or json.loads(file.metadata["sums"]) != found:
                raise ValueError("another content")
            about = json.loads(file.metadata["about"])
        except (ModelError, KeyError, TypeError, ValueError):
            self._drop(path)
            return None
        return about, arrays

    def _drop(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(path, error) from error


class Pieces:
    """Arrays that are read from the file when they are asked for: nothing stays in memory."""

    def __init__(self, path: Path) -> None:
        """Reads all of it once.

        Raises:
            ModelError, KeyError, TypeError, ValueError: it is damaged.
        """
        self._path = path
        file = TensorFile.open(path, data=False)
        self._tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith("pad/")}
        sums = json.loads(file.metadata["sums"])
        if sums.pop("") != zlib.crc32(file.metadata["about"].encode()) or sums.keys() != self._tensors.keys():
            raise ValueError("another content")
        if any(_sum(self.get(name)) != sums[name] for name in self._tensors):
            raise ValueError("another content")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> tuple[str, ...]:
        """Of all of them."""
        return tuple(self._tensors)

    def get(self, name: str) -> npt.NDArray[Any]:
        """A copy of an array. Raises KeyError: there is none of this name."""
        tensor = self._tensors[name]
        with self._path.open("rb") as file:
            file.seek(tensor.start)
            return np.fromfile(file, DTYPES[tensor.dtype], tensor.elements).reshape(tensor.shape)


@contextmanager
def _writing(
    path: Path, about: Mapping[str, Any], *, room: int = _ROOM
) -> Iterator[Callable[[str, npt.NDArray[Any]], None]]:
    """A file of arrays with the sums of their bytes."""
    sums: dict[str, int] = {}
    with replacing(path) as file:
        writer = TensorWriter(file, room=room, alignment=64)

        def add(name: str, array: npt.NDArray[Any]) -> None:
            writer.add(name, array)
            sums[name] = _sum(array)

        yield add
        text = json.dumps(about, allow_nan=False)
        sums[""] = zlib.crc32(text.encode())
        writer.finish({"format": FORMAT, "about": text, "sums": json.dumps(sums)})


def _sum(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write_json(path: Path, value: Any) -> None:
    """Text that is there whole or not at all, also after a power cut."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1, allow_nan=False).encode())
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Any:
    """None where there is nothing that could have been written by `write_json`."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value.get("run") if isinstance(value, dict) and value.get("format") == FORMAT else None


def _differences(known: Any, run: Mapping[str, Any]) -> str:
    """The first three things that differ, in words: "levels (aqlm-2x8, now aqlm-3x8)"."""
    if not isinstance(known, dict):
        return "options"
    found = list(_walk(known, run))
    return "; ".join(found[:3]) + ("; ..." if len(found) > 3 else "")


def _walk(known: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    for key in [*known, *(key for key in run if key not in known)]:
        before, after = known.get(key), run.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            if key == "source":  # sums and sizes say nothing to a person
                yield from ["files of the model"] if before != after else []
            else:
                yield from _walk(before, after)
        elif before != after:
            yield f"{key} ({_short(before)}, now {_short(after)})"


def _short(value: Any) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return (words or "none")[:60]


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        "The work on this build cannot be kept.",
        why=f"The system said of {path.name}: {error.strerror or error}.",
        remedy=f"Check that you may write into {path.parent}.",
        details=repr(error),
    )
