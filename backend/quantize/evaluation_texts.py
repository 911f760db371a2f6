"""Text to measure on that comes with every Python: sources of its library, and its manual."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from backend.api.errors import NotFoundError
from backend.quantize.evaluation_text import EvaluationText

__all__ = ["CODE_MODULES", "TEXTS", "held_out"]

TEXTS = ("code", "prose")
#: modules whose sources are the text "code": no calibration reads them
CODE_MODULES = ("tarfile", "argparse", "doctest", "ipaddress", "zipfile", "statistics")
#: characters of each piece
_MOST = 40_000


def held_out(name: str) -> EvaluationText:
    """One of TEXTS.

    Raises:
        NotFoundError: this Python comes without it.
    """
    if name == "prose":
        from pydoc_data import topics

        return EvaluationText("prose", "\n\n".join(text for _, text in sorted(topics.topics.items())))
    return EvaluationText("code", _sources(CODE_MODULES))


def _sources(modules: Sequence[str]) -> str:
    found = [spec.origin for module in modules if (spec := importlib.util.find_spec(module)) and spec.origin]
    pieces = [Path(file).read_text("utf-8")[:_MOST] for file in found if file.endswith(".py")]
    if not pieces:
        raise NotFoundError(
            "There is no text to measure on.",
            why="This Python comes without the sources of its library.",
            remedy="Give a text file with --text.",
        )
    return "\n\n".join(pieces)
