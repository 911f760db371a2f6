"""The text that builds are measured on, cut into contexts of the model's tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidRequestError
from backend.engine.model import Tokenizer
from backend.engine.tokenizing import HfTokenizer, gguf_tokenizer_files
from backend.formats.checkpoint import open_checkpoint
from backend.formats.pack import PackCheckpoint
from backend.formats.sniff import recognise

__all__ = ["Contexts", "EvaluationText", "cut", "read_text", "refuse_learned", "tokenizer_of"]

#: more text than this is not read: it would be tokens by the hundred thousand
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """A text and what it is called in tables."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Contexts:
    """What is run: each row by itself, from an empty cache.

    Attributes:
        name: of the text.
        tokens: (contexts, length) int32; begins with the model's start token where it has one.
        unscored: how many tokens of each row are only there to be read; those behind are predicted and scored.
        bytes: UTF-8 bytes of all scored tokens.
    """

    name: str
    tokens: npt.NDArray[np.int32]
    unscored: int
    bytes: int

    @property
    def scored(self) -> int:
        """Tokens of each row that are predicted."""
        return int(self.tokens.shape[1]) - 1 - self.unscored

    @property
    def digest(self) -> str:
        """Of the tokens and what is scored of them."""
        found = hashlib.sha256(f"{self.tokens.shape} {self.unscored} ".encode())
        found.update(self.tokens.astype("<i4").tobytes())
        return found.hexdigest()


def read_text(path: Path) -> EvaluationText:
    """A UTF-8 file.

    Raises:
        InvalidRequestError: it is not there, cannot be read, or is not text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES)
    except OSError as error:
        raise InvalidRequestError(
            f"The text {path.name} cannot be read.",
            why=f"The system said: {error.strerror or error}.",
            remedy="Give a text file that is there.",
        ) from error
    if b"\0" in raw:
        raise InvalidRequestError(
            f"The file {path.name} is not text.", why="It has zero bytes.", remedy="Give a file of plain text (UTF-8)."
        )
    return EvaluationText(path.name, raw.decode("utf-8", "replace"))


def refuse_learned(text: Path, build: Path) -> None:
    """Raises InvalidRequestError if a build was made with this text: what is then measured says nothing.

    Args:
        text: the file that is to be measured on.
        build: a pack that tells which files and folders it was made with; of anything else nothing is known.
    """
    if recognise(build) != "pack":
        return
    checkpoint = PackCheckpoint(build)
    try:
        calibration = checkpoint.metadata.get("calibration")
    finally:
        checkpoint.close()
    texts = calibration.get("texts") if isinstance(calibration, dict) else None
    where = text.resolve()
    for learned in (Path(str(one)).resolve() for one in (texts if isinstance(texts, list) else [])):
        if learned == where or learned in where.parents:
            raise InvalidRequestError(
                f"{build.name} was made with {text.name}, so it cannot be measured on it.",
                why=f"It learned from {learned}: the figures would be better than the build is.",
                remedy="Measure on another text, or on code or prose, which no build learns from.",
            )


def tokenizer_of(path: Path) -> Tokenizer:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelError: it is damaged, or of a kind that is not known here.
    """
    checkpoint = open_checkpoint(path)
    try:
        files = gguf_tokenizer_files(path) if checkpoint.kind == "gguf" else checkpoint.tokenizer_files()
        return HfTokenizer(files, checkpoint.config)
    finally:
        checkpoint.close()


def cut(text: EvaluationText, tokenizer: Tokenizer, *, tokens: int, length: int, unscored: int) -> Contexts:
    """Contexts spread evenly over the text.

    Args:
        text: what is measured on.
        tokenizer: the reference's.
        tokens: at most as many in all; at least one context is taken.
        length: of each context.
        unscored: at the beginning of each, as in `Contexts`.

    Raises:
        InvalidRequestError: the text is shorter than one context.
        ValueError: nothing would be scored.
    """
    if not 0 <= unscored < length - 1:
        raise ValueError(f"{unscored} of {length} tokens unscored")
    start = _start(tokenizer)
    ids = tokenizer.encode(text.content, special=False)
    ids = ids[len(start) :] if start and ids[: len(start)] == start else ids
    step = length - len(start)
    there = len(ids) // step
    if there < 1:
        raise InvalidRequestError(
            f"The text {text.name} is too short to measure on.",
            why=f"It has {len(ids):,} tokens, and one context has {length:,}.",
            remedy="Give a longer text; some thousand tokens are good.",
        )
    wanted = max(1, min(there, tokens // length))
    # the tokens that are left over lie between the contexts
    firsts = [row * (len(ids) - step) // max(1, wanted - 1) for row in range(wanted)]
    rows = [start + ids[first : first + step] for first in firsts]
    scored = (token for row in rows for token in row[unscored + 1 :])
    return Contexts(text.name, np.array(rows, np.int32), unscored, sum(len(tokenizer.piece(token)) for token in scored))


def _start(tokenizer: Tokenizer) -> list[int]:
    """What every text of this model begins with."""
    return list(tokenizer.encode("", special=False))
