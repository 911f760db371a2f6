"""Hugging Face builds, turned into packs once: the kernels read their own layout, straight from the mapped file.

A pack lies in the user's cache folder and is named after the build's path, the size and time of its files and the
version of the pack's layout; when these change it is made again and the old one goes. It can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.api.errors import NutshellError
from backend.config.paths import paths
from backend.engine.model import Aborted
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack import SUFFIX, VERSION
from backend.formats.pack_writer import write_pack
from kernels.packed import PackedLinear

__all__ = ["packed_path", "packs_folder"]

_log = logging.getLogger(__name__)
#: files of a build that a pack is made from
_SOURCES = (".safetensors", ".json", ".jinja")
#: left free on the disk beside the pack
_SPARE = 256 << 20
_ABANDONED_S = 24 * 3600.0


def packs_folder() -> Path:
    """Where the packs made here are kept."""
    return paths().cache / "packs"


def packed_path(folder: Path, progress: Callable[[float], bool]) -> Path | None:
    """The pack of a Hugging Face build, made first if there is none that is up to date.

    Args:
        folder: with config.json and .safetensors files.
        progress: called with the fraction done while it is made; False gives up.

    Returns:
        The pack; None where it cannot be kept (no room, no right to write): then the build is to be loaded as it is.

    Raises:
        ModelError: the build is damaged or of a kind that is not known.
        Aborted: `progress` returned False.
    """
    build, version = _names(folder)
    target = packs_folder() / f"{build}-{version}{SUFFIX}"
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < _weight_bytes(folder) * 1.1 + _SPARE:
            _log.warning("no room to keep a pack of %s", folder)
            return None
    except OSError as error:
        _log.warning("packs cannot be kept: %s", error)
        return None
    try:
        _write(folder, target, progress)
    except NutshellError as error:
        if not isinstance(error.__cause__, OSError):  # the build is at fault, not the disk
            raise
        _log.warning("the pack of %s cannot be kept: %s", folder, error)
        return None
    _clean(target, build)
    return target


def _clean(target: Path, build: str) -> None:
    """Deletes packs of the same build as it was before, and what interrupted runs left more than a day ago."""
    old = [path for path in target.parent.glob(f"{build}-*{SUFFIX}") if path != target]
    for path in target.parent.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                old.append(path)
    for path in old:
        with contextlib.suppress(OSError):  # Windows: another process still has it mapped
            path.unlink()


def _write(folder: Path, target: Path, progress: Callable[[float], bool]) -> None:
    checkpoint = open_checkpoint(folder)
    try:
        write_pack(
            target,
            checkpoint.config,
            _modules(checkpoint, progress),
            [(name, checkpoint.array(name)) for name in checkpoint.arrays()],
            checkpoint.tokenizer_files(),
            {"name": folder.name, "source": folder.name},
        )
    finally:
        checkpoint.close()


def _modules(checkpoint: Checkpoint, progress: Callable[[float], bool]) -> Iterator[tuple[str, PackedLinear]]:
    """Each linear, with a word on the progress before it. The sizes are not known yet, so every one counts the same."""
    names = checkpoint.linears()
    for done, name in enumerate(names):
        if not progress(done / len(names)):
            raise Aborted
        yield name, checkpoint.linear(name)
    if not progress(1.0):
        raise Aborted


def _names(folder: Path) -> tuple[str, str]:
    """16 hexadecimal digits for the path, and as many for the state of its files."""
    folder = folder.resolve()
    digest = hashlib.sha256(f"{VERSION}\0".encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in _SOURCES:
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16], digest.hexdigest()[:16]


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
