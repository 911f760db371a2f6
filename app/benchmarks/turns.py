"""One answer written twice in turns of a second or two, with drafts and without, so that noise meets both alike.

A turn with drafts ends with a pass. The same tokens are then written one a pass from the same place, and the next turn
begins behind them, in the cache that the plain passes left. Greedy; the model's own end ends it, too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from backend.engine.generate import Session
from backend.engine.model import Model
from backend.speculative.decoder import DraftStats, Speculation, Steps

__all__ = ["Answer", "answer"]

#: Tokens of a turn, at least.
TURN = 24
Row = npt.NDArray[np.float32]


@dataclass(slots=True)
class Answer:
    """One answer: tokens behind the first, seconds for them in both ways, and what the drafts did.

    Attributes:
        parted: tokens at which plain decoding would have gone on otherwise, with the distance of its two best logits.
        bookkeeping_s: of `drafted_s`, what neither the model nor a draft model took, the choice of tokens left out.
    """

    tokens: int = 0
    plain_s: float = 0.0
    drafted_s: float = 0.0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    model_s: float = 0.0
    bookkeeping_s: float = 0.0
    parted: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Times plain decoding; 1 for an answer without tokens."""
        return self.plain_s / self.drafted_s if self.drafted_s else 1.0

    def add(self, stats: DraftStats) -> None:
        """Of a turn."""
        self.passes += stats.passes
        self.drafted += stats.drafted
        self.accepted += stats.accepted
        self.model_s += stats.model_s
        self.bookkeeping_s += stats.draft_s - stats.model_s


def answer(model: Model, speculation: Speculation, prompt: str, tokens: int) -> Answer:
    """An answer of at most `tokens` tokens from an empty cache."""
    model.rewind(0)
    session = Session(model)
    ids = model.tokenizer.encode(prompt, special=True)
    step = model.info.n_batch
    row: Row = np.empty(0, np.float32)
    for start in range(0, len(ids), step):
        rows = session.extend(ids[start : start + step], logits=start + step >= len(ids))
        row = rows[0].copy() if len(rows) else row
    found = Answer()
    ended = False
    while not ended and found.tokens < tokens and model.length + 1 < model.info.n_ctx:
        written, ended = _drafted(session, row, speculation, found, tokens - found.tokens)
        if not written:
            break
        model.rewind(model.length - len(written))
        del session.tokens[model.length :]
        row = _plain(session, row, written, found)
        found.tokens += len(written)
    return found


def _drafted(session: Session, row: Row, speculation: Speculation, found: Answer, most: int) -> tuple[list[int], bool]:
    """A turn with drafts: its tokens, all of them committed, and whether the answer ended there."""
    model = session.model
    steps = Steps(model, session.tokens, row, speculation)
    written: list[int] = []
    ended = False
    started = time.perf_counter()
    while True:
        token = int(steps.row.argmax())
        ended = model.tokenizer.is_end(token)
        room = steps.position + 1 < model.info.n_ctx
        if ended or len(written) >= most or not room or (len(written) >= TURN and not steps.has(token)):
            break
        model.tokenizer.piece(token)
        written.append(token)
        steps.advance(token, most - len(written) + 1)
    found.drafted_s += time.perf_counter() - started
    steps.close()
    found.add(steps.stats)
    return written, ended or not room


def _plain(session: Session, row: Row, written: list[int], found: Answer) -> Row:
    """The same tokens one a pass; the row behind them."""
    model = session.model
    steps = Steps(model, session.tokens, row, None)
    started = time.perf_counter()
    for token in written:
        best = int(steps.row.argmax())
        if best != token:
            found.parted.append(float(steps.row[best] - steps.row[token]))
        model.tokenizer.piece(token)
        steps.advance(token, None)
    found.plain_s += time.perf_counter() - started
    last = steps.row.copy()
    steps.close()
    return last
