"""The person's own texts: files and folders, read with care and never changed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from backend.api.errors import InvalidRequestError
from backend.quantize.calibration.shipped import Document

__all__ = ["personal"]

#: of one file; what is behind it is left out
_MOST_BYTES = 4 << 20
#: files of one folder; a home folder must not be read for an hour
_MOST_FILES = 20_000
#: endings that are never text: not even opened
_BINARY = re.compile(
    r"\.(7z|a|avi|bin|bmp|bz2|class|db|dll|dmg|doc|docx|epub|exe|flac|gguf|gif|gz|ico|iso|jar|jpeg|jpg|"
    r"mkv|mov|mp3|mp4|npy|npz|nutshell|o|odt|ogg|onnx|otf|parquet|pdf|png|ppt|pptx|pt|pth|pyc|rar|"
    r"safetensors|so|sqlite|tar|tif|tiff|ttf|wav|webm|webp|whl|woff|woff2|xls|xlsx|xz|zip|zst)$",
    re.IGNORECASE,
)


def personal(paths: Sequence[Path], held_out_lines: frozenset[int]) -> tuple[list[Document], Counter[str]]:
    """The texts, and how many files were left out for each reason.

    Args:
        paths: files and folders; in folders, hidden files and folders are passed over.
        held_out_lines: hashes of lines that quality is measured on (`lines_of`), for a model must not be measured on
            what it was compressed with: they are cut out, and a file of which they are a fifth is left out.

    Raises:
        InvalidRequestError: a path that is not there, or no text in any of them.
    """
    documents: list[Document] = []
    skipped: Counter[str] = Counter()
    for file in _files(paths):
        if _BINARY.search(file.name):
            skipped["not text"] += 1
            continue
        try:
            with file.open("rb") as opened:
                raw = opened.read(_MOST_BYTES)
        except OSError:
            skipped["unreadable"] += 1
            continue
        text = raw.decode("utf-8", "replace")
        if b"\0" in raw or text.count("�") > len(text) // 50:
            skipped["not text"] += 1
        elif not text.strip():
            skipped["empty"] += 1
        elif _is_held_out(text, held_out_lines):
            skipped["quality is measured on it"] += 1
        else:
            text, cut = _without(text, held_out_lines)
            skipped["lines that quality is measured on"] += cut
            documents.append(Document(str(file), "yours", partial(str, text)))
    if paths and not documents:
        left_out = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise InvalidRequestError(
            "There is no text in what you chose for calibration.",
            why=f"Files that were left out: {left_out}." if left_out else "The folder has no files in it.",
            remedy="Choose files of plain text: notes, chats, programs; 100 kB are enough.",
        )
    return documents, +skipped


#: characters of a line that says whose it is; shorter ones stand in every program
_TELLING = 30


def lines_of(text: str) -> set[int]:
    """Hashes of a text's longer lines, spaces aside."""
    return {hash(line) for raw in text.splitlines() if len(line := " ".join(raw.split())) >= _TELLING}


def _without(text: str, held_out: frozenset[int]) -> tuple[str, int]:
    """A text without some lines, and how many there were."""
    lines = text.splitlines(keepends=True)
    kept = [raw for raw in lines if len(raw) < _TELLING or hash(" ".join(raw.split())) not in held_out]
    return "".join(kept), len(lines) - len(kept)


def _is_held_out(text: str, held_out: frozenset[int]) -> bool:
    lines = lines_of(text)
    return bool(lines) and len(lines & held_out) > len(lines) // 5


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    left = _MOST_FILES
    for path in paths:
        if not path.exists():
            raise InvalidRequestError(f"There is no text {path}.", remedy="Choose a file or a folder that is there.")
        if path.is_file():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder) / name
                if name.startswith(".") or not file.is_file():
                    continue
                if left == 0:
                    return
                left -= 1
                yield file
