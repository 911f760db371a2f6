"""Text that every installation has: our own prose and dialogue, and the library of the Python that runs the program.

Files are divided by name, never by content: what `evaluation_texts` measures on is no calibration, and one file in
eight is kept for choosing between checkpoints (validation).
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backend.quantize.evaluation_texts import CODE_MODULES

__all__ = ["Document", "is_validation", "shipped"]

#: A file in so many is kept for validation.
_VALIDATION_SHARE = 8
#: Shorter files and docstrings are mostly names.
_LEAST = 1500
#: Characters of one file: else the five longest would be most of it.
_MOST = 40_000
#: Folders of the library that are no prose of programs: tests hold tables of odd input, the others foreign code.
_LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "pydoc_data", "encodings"}
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is read when it is wanted.

    Attributes:
        name: decides whether it is validation.
        kind: "code", "manual" (docstrings), "prose" (our own), or "yours".
        load: reads it; an empty text is passed over.
    """

    name: str
    kind: str
    load: Callable[[], str]


def is_validation(name: str) -> bool:
    """Whether a file is kept for validation: decided by its name alone."""
    return hashlib.sha256(name.encode()).digest()[0] % _VALIDATION_SHARE == 0


def shipped(kind: str) -> list[Document]:
    """The documents of a kind, in the order of their names."""
    return list(_own()) if kind == "prose" else [Document(name, kind, load) for name, load in _library(kind)]


def _own() -> Iterator[Document]:
    for file in sorted((Path(__file__).parent / "texts").glob("*.txt")):
        for part, text in enumerate(file.read_text("utf-8").split("\n----\n")):
            yield Document(f"{file.stem}/{part}", "prose", partial(str.__add__, text.strip(), "\n"))


def _library(kind: str) -> Iterator[tuple[str, Callable[[], str]]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root)
        if _LEFT_OUT & set(inside.parts[:-1]) or inside.parts[0].removesuffix(".py") in CODE_MODULES:
            continue
        yield f"python/{inside.as_posix()}", partial(_read, file, kind)


def _read(file: Path, kind: str) -> str:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    text = text if kind == "code" else _docstrings(text)
    return text[:_MOST] if len(text) >= _LEAST else ""


def _docstrings(source: str) -> str:
    """What a module says of itself, without the code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files have escapes that newer Pythons warn of
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return "\n\n".join(text for text in found if text and len(text) > 80)
