"""Text that comes with every Python: to measure on, and to make the importance matrix of llama.cpp's types from."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.api.errors import NotFoundError
from backend.quantize.evaluation_text import EvaluationText, cut, tokenizer_of

__all__ = ["TEXTS", "calibration_contexts", "held_out"]

TEXTS = ("code", "prose")
_CODE = ("tarfile", "argparse", "doctest", "ipaddress", "zipfile", "statistics")
#: no file of this is in _CODE
_CALIBRATION = (
    "inspect",
    "subprocess",
    "typing",
    "datetime",
    "pathlib",
    "logging",
    "socket",
    "shutil",
    "unittest.mock",
)
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
    return EvaluationText("code", _sources(_CODE))


def calibration_contexts(model: Path, *, tokens: int, length: int) -> npt.NDArray[np.int32]:
    """(contexts, length) int32 of sources that are not measured on, in the model's tokens.

    Raises:
        NotFoundError: this Python comes without them.
    """
    text = EvaluationText("calibration", _sources(_CALIBRATION))
    return cut(text, tokenizer_of(model), tokens=tokens, length=length, unscored=0).tokens


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
