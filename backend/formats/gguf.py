"""Our own reader of GGUF headers: every length is checked before it is used, and no engine sees a file that fails.

The format and what is refused are in gguf.md. The tensor data is never read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from backend.api.errors import InvalidModelFileError
from backend.formats.gguf_checks import check_chat_model
from backend.formats.gguf_cursor import Cursor, split_strings
from backend.formats.gguf_header import GGUFArray, GGUFHeader, TensorInfo, Value
from backend.formats.gguf_layout import check_layout
from backend.formats.gguf_parse import MAX_ELEMENT_BYTES, parse
from backend.formats.gguf_split import join_parts
from backend.formats.gguf_tables import ValueType
from backend.formats.sniff import is_partial, partial_download

__all__ = ["GGUFArray", "GGUFHeader", "TensorInfo", "Value", "parse_part", "read_header", "read_part", "read_strings"]


def read_header(path: Path, *, chat: bool = True) -> GGUFHeader:
    """Reads and checks a model file's header; of a split model, those of all parts.

    Args:
        path: the file; of a split model, its first part.
        chat: also refuse what is sound but not a chat model (adapters, vision parts, bare vocabularies, encoders).

    Raises:
        InvalidModelFileError: missing, damaged, incomplete, or no model at all.
        UnsupportedModelError: sound, but the engine cannot run it.
    """
    header = join_parts(read_part(path), read_part)
    if chat:
        check_chat_model(header)
    return replace(header, buffer=b"")


def read_strings(header: GGUFHeader, key: str) -> list[str]:
    """The strings of an array such as `tokenizer.ggml.tokens`; bytes that are not UTF-8 are replaced.

    Raises:
        KeyError: no such array. InvalidModelFileError: the file has changed.
    """
    array = header.arrays[key]
    if array.element_type != ValueType.STRING:
        raise KeyError(key)
    with header.path.open("rb") as file:
        cursor = Cursor(file, header.file_size)
        cursor.skip(array.offset)
        cursor.skip_strings(array.count, MAX_ELEMENT_BYTES)
        return [item.decode(errors="replace") for item in split_strings(cursor.buffer, array.offset, array.count)]


def parse_part(name: str, file: BinaryIO, size: int) -> GGUFHeader:
    """A header from something that is read like a file and has `size` bytes in all, with its layout checked.

    Raises:
        InvalidModelFileError: damaged, incomplete, or no model at all. What `file.read` raises.
    """
    header = parse(Path(name), Cursor(file, size))
    check_layout(header)
    return header


def read_part(path: Path) -> GGUFHeader:
    """One file's header with its layout checked, whatever it is a part of. Raises as `read_header` does."""
    path = Path(path)
    if is_partial(path.name):
        raise partial_download(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # before opening: a pipe would block
            raise InvalidModelFileError(
                "This is not a model file.",
                why="It is a folder." if stat.S_ISDIR(status.st_mode) else "It is a device or a pipe.",
                remedy="Choose a file in the GGUF format.",
            )
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            cursor = Cursor(raw, size)
            header = parse(path, cursor)
    except FileNotFoundError as error:
        raise InvalidModelFileError(
            "The model file is not there.",
            why=f"{path.name} was moved or deleted, or its disk is not connected.",
            remedy="Choose the file again, or another model.",
            details=str(error),
        ) from error
    except OSError as error:
        raise InvalidModelFileError(
            "The model file cannot be read.",
            why=f"The system said: {error.strerror or error}.",
            remedy="Check that you may read the file and that its disk is well.",
            details=str(error),
        ) from error
    check_layout(header)
    return header
