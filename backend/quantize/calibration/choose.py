"""Which tokens a model reads while it is compressed: chosen by a seed, recorded, and never what it is measured on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidRequestError
from backend.quantize.calibration.personal import lines_of, personal
from backend.quantize.calibration.shipped import Document, is_validation, shipped
from backend.quantize.evaluation_texts import TEXTS, held_out
from backend.quantize.options import Options

__all__ = ["Calibration", "Source", "calibration_tokens"]

Tokens = npt.NDArray[np.int32]

#: validation texts for one of calibration
_VALIDATION = 1 / 8
#: tokens that one document gives at most: many documents are more varied than long ones
_FROM_ONE = 2048
#: What ships: kind and share. Half code, half prose, of which half is ours: docstrings are all alike.
_SHIPPED = (("code", 2), ("manual", 1), ("prose", 1))


class Tokenizer(Protocol):
    """`backend.engine.tokenizing.HfTokenizer`."""

    def encode(self, text: str, *, special: bool) -> Sequence[int]:
        """The ids of a text, with what every text of this model begins with."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A document that gave `tokens`."""

    name: str
    kind: str
    tokens: int

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, {self.tokens} tokens)"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is read.

    Attributes:
        tokens: (texts, length) int32.
        validation: (texts, length) int32, from other files; chooses between checkpoints.
        sources: of `tokens`, in the order in which they are read.
        skipped: files of the person that were left out, by reason.
        seed: that chose.
    """

    tokens: Tokens
    validation: Tokens
    sources: tuple[Source, ...]
    skipped: tuple[tuple[str, int], ...]
    seed: int

    @property
    def digest(self) -> str:
        """Of all tokens: two runs with the same one read the same."""
        found = hashlib.sha256(f"{self.tokens.shape} {self.validation.shape}".encode())
        for part in (self.tokens, self.validation):
            found.update(part.astype("<i4").tobytes())
        return found.hexdigest()


def calibration_tokens(tokenizer: Tokenizer, options: Options) -> Calibration:
    """Chooses texts: half code and half prose of what ships; with texts of the person, half of all is theirs.

    Raises:
        InvalidRequestError: the person's texts are not there, hold no text, or too little of it when they are all.
    """
    length = options.sequence
    wanted = max(1, options.tokens // length)
    checked = max(2, round(wanted * _VALIDATION))
    theirs, skipped = personal(options.texts, _held_out_lines()) if options.texts else ([], Counter[str]())
    groups = [] if options.own_text_only and theirs else [(shipped(kind), share) for kind, share in _SHIPPED]
    if theirs:
        groups.insert(0, (theirs, max(1, sum(share for _, share in groups))))
    start = list(tokenizer.encode("", special=False))
    taken: list[tuple[Tokens, list[Source]]] = []
    for validation, count in ((False, wanted), (True, checked)):
        shares = _shares(count, [share for _, share in groups])
        rows: list[Tokens] = []
        sources: list[Source] = []
        missing = 0
        for number, ((group, _), share) in reversed(list(enumerate(zip(groups, shares, strict=True)))):
            random = np.random.default_rng((options.seed, number, validation))
            part, used = _rows(_split(group, validation), tokenizer, start, length, share + missing, random)
            missing += share - len(part)  # our own texts are few: the others fill up
            rows += part
            sources += used
        if len(rows) < max(1, min(2, count)):
            raise InvalidRequestError(
                "There is too little calibration text.",
                why=f"It gives {len(rows)} texts of {length} tokens.",
                remedy="Add more text, or let the program's own text be used too.",
            )
        order = np.random.default_rng((options.seed, 99, validation)).permutation(len(rows))
        taken.append((np.stack([rows[i] for i in order]), sources))
    return Calibration(taken[0][0], taken[1][0], tuple(taken[0][1]), tuple(sorted(skipped.items())), options.seed)


def _split(group: Sequence[Document], validation: bool) -> list[Document]:
    """A group's part; of two files, one each; a single file is cut in two."""
    if len(group) == 1:
        document, text = group[0], group[0].load()
        at = int(len(text) * (1 - _VALIDATION))
        return [Document(document.name, document.kind, partial(str, text[at:] if validation else text[:at]))]
    chosen = {document.name for document in group if is_validation(document.name)}
    if not chosen or len(chosen) == len({document.name for document in group}):
        chosen = {group[-1].name}
    return [document for document in group if (document.name in chosen) == validation]


def _shares(count: int, parts: Sequence[int]) -> list[int]:
    """`count` in proportion to `parts`; what is left over goes to the first."""
    shares = [count * part // sum(parts) for part in parts]
    return [share + (i < count - sum(shares)) for i, share in enumerate(shares)]


def _rows(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    start: list[int],
    length: int,
    count: int,
    random: np.random.Generator,
) -> tuple[list[Tokens], list[Source]]:
    """Up to `count` texts: documents in a random order, a piece of each, one behind the other."""
    rows: list[Tokens] = []
    sources: list[Source] = []
    waiting: list[int] = []
    step = length - len(start)
    for document in (documents[i] for i in random.permutation(len(documents))):
        if len(rows) == count:
            break
        text = document.load()
        if not text:
            continue
        ids = list(tokenizer.encode(_piece(text, random), special=False))[len(start) :][:_FROM_ONE]
        sources.append(Source(document.name, document.kind, len(ids)))
        waiting += ids
        while len(waiting) >= step and len(rows) < count:
            rows.append(np.array(start + waiting[:step], np.int32))
            waiting = waiting[step:]
    return rows, sources


def _piece(text: str, random: np.random.Generator) -> str:
    """From somewhere in a long document, from the beginning of a line on: licences at the top are all alike."""
    most = 8 * _FROM_ONE
    if len(text) <= most:
        return text
    at = int(random.integers(len(text) - most))
    return text[text.find("\n", at) + 1 :][:most]


def _held_out_lines() -> frozenset[int]:
    found: set[int] = set()
    for name in TEXTS:
        found |= lines_of(held_out(name).content)
    return frozenset(found)
