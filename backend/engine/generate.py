"""The generation loop: a plain generator over the model interface. Pulling drives it; not pulling cancels it.

    encode the prompt -> keep the common prefix with what is in the KV cache -> prefill the rest in passes
    -> per token: sampler chain, text, stop rules, and the next row of logits

Where the next row comes from, a pass over one token or the tree of a pass before, is the business of
`backend.speculative`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from backend.api.errors import ContextOverflowError
from backend.api.schemas import Completion, FinishReason
from backend.engine.model import Aborted, Logits, Model, TokenTree
from backend.engine.randomness import fresh_seed
from backend.engine.sampling import Sampler, log_softmax
from backend.engine.text import TextStream
from backend.speculative.decoder import DraftStats, Speculation, Steps

Row = npt.NDArray[np.float32]  # (n_vocab,) logits


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural-log probability of a token under the model's own distribution (before the sampler chain)."""

    token: str
    raw: bytes
    logprob: float
    top: list[tuple[str, bytes, float]]


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt is being read: tokens done (cached ones included) of total."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. `text` may be "" while a character or a stop string is undecided.

    Attributes:
        guessed: it stood in a draft, and its row was there already.
        drafts: of the answer so far; they go on changing.
    """

    text: str
    logprob: TokenLogprob | None
    guessed: bool = False
    drafts: DraftStats = field(default_factory=DraftStats, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """The last item. `text` is what was still held back."""

    reason: FinishReason
    text: str
    seed: int
    drafts: DraftStats = field(default_factory=DraftStats, compare=False)


class Session:
    """A model with a record of the committed tokens, which makes the prefix of the last prompt reusable.

    Args:
        model: the model; nobody else may use it.
        speculation: drafts for it; None: one token a pass.
    """

    def __init__(self, model: Model, speculation: Speculation | None = None) -> None:
        self.model = model
        self.speculation = speculation
        self.tokens: list[int] = []

    def request_abort(self, flag: bool) -> None:
        """Makes the pass that runs, or the next one, raise `Aborted`, be it a draft model's; from any thread."""
        self.model.request_abort(flag)
        if self.speculation is not None and self.speculation.drafter is not None:
            self.speculation.drafter.request_abort(flag)

    def reuse(self, prompt: Sequence[int]) -> int:
        """Rewinds to the longest common prefix with `prompt` (its last token excluded: its logits are needed).

        Returns:
            How many tokens of the prompt are in the KV cache.
        """
        common = 0
        for ours, theirs in zip(self.tokens, prompt[:-1], strict=False):
            if ours != theirs:
                break
            common += 1
        self.model.rewind(common)
        del self.tokens[self.model.length :]  # a recurrent model may have had to forget more
        return len(self.tokens)

    def extend(self, tokens: Sequence[int], *, logits: bool) -> Logits:
        """One pass over a chain, committed. Returns (1, n_vocab) or (0, n_vocab)."""
        rows = self.model.forward(TokenTree.chain(tokens, logits=logits))
        self.model.commit(range(len(tokens)))
        self.tokens.extend(tokens)
        return rows


def generate(
    session: Session, completion: Completion, cancelled: Callable[[], bool]
) -> Iterator[Prefill | Token | End]:
    """Goes on from a prompt.

    Yields:
        Prefill after each pass over the prompt, Token for each token, and End exactly once, last.

    Raises:
        ContextOverflowError: the prompt does not fit with at least one token of answer.
        GrammarError, InvalidRequestError: the request cannot be followed.
    """
    model, sampling = session.model, completion.sampling
    prompt = model.tokenizer.encode(completion.prompt, special=True) or [0]
    if len(prompt) >= model.info.n_ctx:
        raise prompt_too_long(len(prompt), model.info.n_ctx)
    seed = sampling.seed if sampling.seed is not None else fresh_seed()
    grammar = model.grammar(completion.grammar) if completion.grammar else None
    try:
        sampler = Sampler(sampling, seed, model.info.n_vocab, grammar)
        sampler.prime(prompt)
        text = TextStream(sampling.stop)
        drafts = DraftStats()
        try:
            row = yield from _prefill(session, prompt, cancelled)
            steps = Steps(model, session.tokens, row, session.speculation)
            drafts = steps.stats
            try:
                reason = yield from _decode(model, steps, completion, sampler, text, cancelled)
            finally:
                steps.close()
        except Aborted:
            reason = "cancelled"
        yield End(reason, text.finish(), seed, drafts)
    finally:
        if grammar is not None:
            grammar.close()


def prompt_too_long(tokens: int, n_ctx: int) -> ContextOverflowError:
    """The sentence for a prompt of `tokens` tokens that cannot be answered in `n_ctx`."""
    return ContextOverflowError(
        f"The text is {tokens:,} tokens long; the context window holds {n_ctx:,}.",
        why="The window must hold the text and the answer.",
        remedy="Shorten it, or load the model with a larger context.",
    )


def _prefill(session: Session, prompt: list[int], cancelled: Callable[[], bool]) -> Generator[Prefill, None, Row]:
    cached = done = session.reuse(prompt)
    # The passes begin at multiples of the batch, whatever was cached or cancelled before, so that the same prompt is
    # cut in the same way each time: a different cut rounds differently and can change the text for the same seed.
    step = session.model.info.n_batch
    rows: Logits = np.empty((0, 0), np.float32)
    yield Prefill(done, len(prompt), cached)
    while done < len(prompt):
        if cancelled():
            raise Aborted
        end = min((done // step + 1) * step, len(prompt))
        rows = session.extend(prompt[done:end], logits=end == len(prompt))
        done = end
        yield Prefill(done, len(prompt), cached)
    row: Row = rows[0]
    return row


def _decode(
    model: Model,
    steps: Steps,
    completion: Completion,
    sampler: Sampler,
    text: TextStream,
    cancelled: Callable[[], bool],
) -> Generator[Token, None, FinishReason]:
    tokenizer = model.tokenizer
    limit = completion.sampling.max_tokens
    count = 0
    while not cancelled():
        row = steps.row
        token = sampler.pick(row, steps.position)
        if tokenizer.is_end(token):
            return "stop"
        count += 1
        guessed = steps.has(token)
        logprob = None if completion.logprobs is None else _logprob(model, row, token, completion.logprobs)
        sampler.accept(token)
        yield Token(text.push(tokenizer.piece(token)), logprob, guessed, steps.stats)
        if text.stopped:
            return "stop"
        if limit is not None and count >= limit:
            return "length"
        if steps.position + 1 >= model.info.n_ctx:
            return "context_full"
        steps.advance(token, None if limit is None else limit - count)
    return "cancelled"


def _logprob(model: Model, row: Row, token: int, top: int) -> TokenLogprob:
    values = log_softmax(row)
    best = np.argsort(-values, kind="stable")[:top] if top else ()

    def named(t: int) -> tuple[str, bytes]:
        piece = model.tokenizer.piece(t)
        return piece.decode("utf-8", "replace"), piece

    name, raw = named(token)
    return TokenLogprob(name, raw, float(values[token]), [(*named(int(t)), float(values[t])) for t in best])
