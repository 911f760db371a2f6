"""llama.cpp's own small types of a GGUF file, made by its `llama_model_quantize`: what our builds are compared with.

A quantization runs in a process of its own (`python -m backend.quantize.evaluation_peers`): it takes minutes, cannot be
interrupted from inside, and llama.cpp ends the process on some errors.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from backend.api.errors import DiskFullError, ModelError, UnsupportedModelError
from backend.formats.gguf import read_header
from backend.formats.gguf_names import to_hf
from backend.formats.sniff import recognise
from backend.quantize.evaluation_importance import importance
from backend.quantize.evaluation_model import is_layer
from backend.quantize.evaluation_store import identity
from kernels.program import Floats

__all__ = ["TYPES", "Peers", "same_type"]

#: what llama.cpp calls them -> its llama_ftype, from the smallest to the largest
TYPES: Mapping[str, int] = {
    "IQ2_XXS": 19,
    "IQ2_XS": 20,
    "IQ2_S": 28,
    "Q2_K": 10,
    "IQ3_XXS": 23,
    "IQ3_S": 26,
    "Q3_K_M": 12,
    "IQ4_XS": 30,
}


class Peers:
    """Builds of one source by llama.cpp, made when they are asked for and kept.

    Args:
        source: a GGUF file.
        tokens: (contexts, length) int32: calibration text for the importance matrix; all types get it.
        root: the folder for what is made: a folder in it for each pair of source and calibration.
        threads: that compute.

    Raises:
        UnsupportedModelError: the source is no GGUF file; llama.cpp makes its types of nothing else.
    """

    def __init__(self, source: Path, tokens: npt.NDArray[np.int32], root: Path, threads: int) -> None:
        if recognise(source) != "gguf":
            raise UnsupportedModelError(
                "llama.cpp's types can only be made of a GGUF file.",
                why=f"{source.name} is none.",
                remedy="Give the model as a GGUF file.",
            )
        self._source, self._tokens, self._threads = source, tokens, threads
        digest = hashlib.sha256(identity(source).encode() + tokens.astype("<i4").tobytes()).hexdigest()
        self.folder = root / f"{source.stem}-{digest[:12]}"

    def make(self, name: str, told: Callable[[str], None] = lambda _: None) -> Path:
        """The build of a type; one that was made before is given again.

        Args:
            name: one of TYPES.
            told: what is done now.

        Raises:
            ModelError: llama.cpp cannot make it. DiskFullError: no room.
        """
        path = self.folder / f"{name}.gguf"
        if path.is_file():
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        size = self._source.stat().st_size
        if shutil.disk_usage(self.folder).free < size:
            raise DiskFullError(
                "There is not enough room on the disk for a build to compare with.",
                why=f"It may take {size / 1e9:.1f} GB.",
                remedy="Free some room.",
            )
        matrix = self._matrix(told)
        told(f"{name}: llama.cpp makes it")
        fresh = self.folder / f"{name}.new"
        try:
            _run(str(self._source), str(fresh), str(TYPES[name]), str(matrix), str(self._threads))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return path

    def _matrix(self, told: Callable[[str], None]) -> Path:
        """The importance matrix, as a safetensors file by llama.cpp's names."""
        path = self.folder / "importance.safetensors"
        if path.is_file():
            return path
        told(f"importance matrix from {self._tokens.size:,} tokens")
        read = 0

        def count(tokens: int) -> None:
            nonlocal read
            read += tokens
            told(f"importance matrix: {read:,} of {self._tokens.size:,} tokens")

        found = importance(self._source, self._tokens, threads=self._threads, told=count)
        names = {to_hf(tensor.name): tensor.name for tensor in read_header(self._source, chat=False).tensors}
        fresh = path.with_suffix(".new")
        save_file({names[f"{module}.weight"]: values for module, values in found.items()}, fresh)
        fresh.replace(path)
        return path


def same_type(source: Path, build: Path) -> float:
    """The share of the layers' weights that a build has in the type that they have in its source.

    Rounding them once more to the grid that they lie on changes nothing, so such a build says little about its type.
    """
    theirs = {tensor.name: tensor.type for tensor in read_header(source, chat=False).tensors}
    ours = [tensor for tensor in read_header(build, chat=False).tensors if is_layer(tensor)]
    same = sum(tensor.elements for tensor in ours if theirs.get(tensor.name) == tensor.type)
    return same / max(1, sum(tensor.elements for tensor in ours))


def _run(*arguments: str) -> None:
    """Calls `main` in a process of its own.

    Raises:
        ModelError: it failed, with its messages.
    """
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            _, said = process.communicate()
        except BaseException:  # also Ctrl+C
            process.kill()
            raise
    if process.returncode:
        raise ModelError(
            f"llama.cpp could not make {Path(arguments[1]).stem} of {Path(arguments[0]).name}.",
            why=said.strip().splitlines()[-1] if said.strip() else f"It ended with code {process.returncode}.",
            details=said,
        )


def main(arguments: list[str]) -> int:
    """Quantizes: source, file to write, llama_ftype, importance matrix, threads."""
    from backend.engine.llama_library import library, log_tail

    source, out, kind, matrix, threads = arguments
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = int(kind), int(threads), True
    entries, _kept = _entries(lib, load_file(matrix))
    params.imatrix = ctypes.cast(entries, ctypes.POINTER(lib.llama_model_imatrix_data))
    failed = lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params))
    if failed:
        print(log_tail.errors(), file=sys.stderr)
    return int(bool(failed))


def _entries(lib: Any, matrix: Mapping[str, Floats]) -> tuple[Any, list[Floats]]:
    """An array of llama_model_imatrix_data that ends with an empty one, and what has to live as long as it."""
    kept = [np.ascontiguousarray(values, np.float32) for values in matrix.values()]
    entries = (lib.llama_model_imatrix_data * (len(kept) + 1))()
    for entry, name, values in zip(entries, matrix, kept, strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries, kept


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
