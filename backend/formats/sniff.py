"""Says what a file is that was given as a model and is not a GGUF file, in one sentence, reading little of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError

__all__ = [
    "PARTIAL_SUFFIXES",
    "SNIFF_BYTES",
    "Kind",
    "is_partial",
    "not_gguf",
    "partial_download",
    "recognise",
    "unrecognised",
]

#: how much of the file's start `not_gguf` wants
SNIFF_BYTES = 4096

#: endings of files that a download program is still writing
PARTIAL_SUFFIXES = (
    ".incomplete",  # Hugging Face
    ".part",  # Firefox, our own
    ".partial",
    ".crdownload",  # Chrome
    ".downloadinprogress",  # llama.cpp
    ".download",  # Safari
    ".opdownload",  # Opera
    ".aria2",
    ".tmp",
)

Kind = Literal["gguf", "hf", "pack"]
#: what a pack's header begins with, behind its length (pack.md)
PACK_START = b'{"__metadata__":{"format":"nutshell"'

_OLLAMA_PARTIAL = re.compile(r"sha256-[0-9a-f]+-partial(-\d+)?")
_CHOOSE = "Choose a file in the GGUF format; its name usually ends in .gguf."
_AGAIN = "Download the model again."


def is_partial(name: str) -> bool:
    """Whether a file name is that of a half-finished download."""
    lower = name.lower()
    return lower.endswith(PARTIAL_SUFFIXES) or _OLLAMA_PARTIAL.fullmatch(lower) is not None


def partial_download(path: Path) -> InvalidModelFileError:
    """The error for a half-finished download."""
    return InvalidModelFileError(
        "This is an unfinished download.",
        why=f"The ending of {path.name} says that a program is still fetching it, or stopped half-way.",
        remedy="Let the download finish, then open the finished file.",
    )


def recognise(path: Path) -> Kind | None:
    """What a file or folder seems to be, from its first bytes or its names; None for anything else.

    A folder with config.json and weights, its config.json, or a .safetensors file beside it: "hf".
    """
    try:
        if path.is_dir():
            return "hf" if (path / "config.json").is_file() and _has_weights(path) else None
        if not path.is_file():  # before opening: a pipe would block
            return None
        with path.open("rb") as file:
            head = file.read(8 + len(PACK_START))
        if head[:4] == b"GGUF":
            return "gguf"
        if head[8:] == PACK_START:
            return "pack"
        part = path.name == "config.json" or (path.suffix == ".safetensors" and head[8:9] == b"{")
        return "hf" if part and recognise(path.parent) == "hf" else None
    except OSError:
        return None


def _has_weights(folder: Path) -> bool:
    """Stops at the first file whose ending is that of weights; pickled ones are refused later, with a reason."""
    return any(entry.name.endswith((".safetensors", ".safetensors.index.json", ".bin")) for entry in folder.iterdir())


def unrecognised(path: Path) -> ModelError:
    """The error for what `recognise` does not know."""
    if is_partial(path.name):
        return partial_download(path)
    if path.is_dir():
        return InvalidModelFileError(
            "There is no model in this folder.",
            why="A folder that holds a model has the file config.json and files that end in .safetensors.",
            remedy="Choose another folder, or a single file that holds a whole model.",
        )
    try:
        if not path.is_file():
            raise FileNotFoundError(path)
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
        return not_gguf(path, head, path.stat().st_size)
    except OSError as error:
        return InvalidModelFileError(
            "The model file is not there.",
            why=f"{path.name} was moved or deleted, or its disk is not connected.",
            remedy="Choose the file again, or another model.",
            details=str(error),
        )


def _invalid(why: str, remedy: str = _CHOOSE) -> ModelError:
    return InvalidModelFileError("This file is not a model.", why=why, remedy=remedy)


def _unsupported(why: str) -> ModelError:
    return UnsupportedModelError("This model is in a format that cannot be opened here.", why=why, remedy=_CHOOSE)


def _archive(head: bytes) -> ModelError:
    if b".pkl" in head or b"archive/" in head:
        return _unsupported(
            "It is a PyTorch checkpoint; such files can run any program when they are opened, so they are never read."
        )
    return _invalid("It is a ZIP archive.", "Unpack it and open the .gguf file inside, if there is one.")


#: first bytes -> what it is, and whether unpacking could help
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "It is an archive packed with gzip."),
    (b"\xfd7zXZ", "It is an archive packed with xz."),
    (b"\x28\xb5\x2f\xfd", "It is an archive packed with zstd."),
    (b"7z\xbc\xaf", "It is a 7-Zip archive."),
    (b"Rar!", "It is a RAR archive."),
    (b"\x7fELF", "It is a program."),
    (b"MZ", "It is a Windows program."),
    (b"%PDF", "It is a PDF document."),
    (b"\x89PNG", "It is a picture."),
    (b"\xff\xd8\xff", "It is a picture."),
    (b"SQLite format 3", "It is a database."),
)


def not_gguf(path: Path, head: bytes, size: int) -> ModelError:
    """The error for a file whose first four bytes are not "GGUF".

    Args:
        path: for its name only.
        head: the first `SNIFF_BYTES` bytes.
        size: bytes of the whole file.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if size == 0:
        return _invalid("It is empty.", _AGAIN)
    if not head.strip(b"\0"):
        return _invalid("It begins with nothing but zeros, as a download does that never got its first part.", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return _invalid(
            "It is a pointer of a few lines that stands for a large file stored elsewhere (Git LFS).",
            "Fetch the real file, for example with `git lfs pull`.",
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return _invalid("It is a web page, saved in place of the model.", _AGAIN)
    if head.startswith(b"PK"):
        return _archive(head)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _unsupported(
            "It is a Python pickle; such files can run any program when they are opened, so they are never read."
        )
    if head[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg"):
        return _unsupported("It is in the GGML format, which was given up in 2023.")
    if len(head) > 9 and 2 <= int.from_bytes(head[:8], "little") <= max(size - 8, 2) and head[8:9] == b"{":
        return _unsupported("It is a safetensors file, which holds weights without the rest of the model.")
    if head.startswith(b"\x89HDF"):
        return _unsupported("It is a Keras or HDF5 file.")
    for signature, why in _SIGNATURES:
        if head.startswith(signature):
            return _invalid(why)
    if text.startswith((b"{", b"[")) and _is_text(head):
        return _invalid("It is a JSON text.")
    if _is_text(head):
        return _invalid("It is a text.", _AGAIN if size < 1024 else _CHOOSE)
    if len(head) < 4:
        return _invalid(f"It holds only {size} bytes.", _AGAIN)
    return _invalid("It does not begin as a GGUF file does.")


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8 without control characters (a character may be cut at the end)."""
    if any(byte < 9 or 13 < byte < 27 for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
