"""The one model interface: everything is a tree of tokens.

Decoding is a tree of one node, prefill is a chain, speculative verification is a tree. A model holds a KV cache of
`length` committed tokens. `forward` appends provisional nodes behind it and returns logits; `commit` keeps one path of
them and drops the rest; `rewind` forgets committed tokens. Nothing else changes the cache, so the caller (the
generation loop) always knows what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backend.api.schemas import KvChoice

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Tokens to append, as flat arrays; a parent stands before its children.

    Attributes:
        tokens: (n,) token ids.
        parents: (n,) index of each node's parent in this tree; -1 attaches to the last committed token.
        wants_logits: (k,) indices of the nodes whose next-token logits are wanted, ascending.

    A node's position in the sequence is `Model.length` + its depth (0 for a node with parent -1).
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    wants_logits: Sequence[int]

    @classmethod
    def chain(cls, tokens: Sequence[int], *, logits: bool = True) -> TokenTree:
        """One path; logits for its last node, or for none."""
        n = len(tokens)
        return cls(tokens, range(-1, n - 1), [n - 1] if logits and n else [])

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a loaded model. Sizes are bytes."""

    name: str
    architecture: str
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_layers: int
    n_embd: int
    n_batch: int  # the most nodes that one forward takes
    bytes_per_token: int  # weights read for one decoded token
    weight_bytes: int
    kv_bytes: int  # KV cache at full n_ctx
    n_threads: int
    n_gpu_layers: int
    chat_template: str | None = None
    bos_text: str = ""
    eos_text: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    max_leaves: int = 0  # of one tree; 0: nodes once read cannot be dropped (recurrent memory), so no drafts
    streamed_bytes: int = 0  # of the weights, read from the disk in every pass; 0: all of them stay in memory
    link_bytes: int = (
        0  # of the weights, sent to the graphics card in every pass; 0: each is computed with where it lies
    )
    kv: KvChoice = ""  # how keys and values are stored; "": there is no choice with this model
    exact_chain: int = 0  # a chain of up to so many nodes has the logits of one node a pass, bit for bit; 0: not known


class Tokenizer(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; `special` parses control tokens such as <|im_start|>. BOS is added if the model wants it
        and the text does not start with it already.
        """
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; b"" for control tokens."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends generation (EOS, end of turn)."""
        ...


class Grammar(Protocol):
    """Which tokens may come next, for text that must match a GBNF grammar. Stateful; one per generation."""

    def allowed(self, tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """For each of these token ids, whether it may come next: (k,) bool."""
        ...

    def accept(self, token: int) -> None:
        """The token was emitted."""
        ...

    def close(self) -> None:
        """Frees it."""
        ...


class Model(Protocol):
    """A language model with its KV cache. Owned by one thread; see `backend.engine.worker`."""

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary."""
        ...

    @property
    def length(self) -> int:
        """Committed tokens in the KV cache."""
        ...

    def forward(self, nodes: TokenTree) -> Logits:
        """Appends provisional nodes behind the committed tokens; one pass over the weights.

        Returns:
            (len(nodes.wants_logits), n_vocab) float32, valid until the next call of `forward`.

        Raises:
            ContextOverflowError: no room in the KV cache; nothing was appended.
            Aborted: `request_abort` was called; nothing was appended.
        """
        ...

    def commit(self, path: Sequence[int]) -> None:
        """Keeps these provisional nodes (indices of the last forward, root first), and drops the others."""
        ...

    def rewind(self, length: int) -> None:
        """Forgets committed tokens past `length`; provisional nodes are dropped too."""
        ...

    def request_abort(self, flag: bool) -> None:
        """From any thread: makes a running `forward` return early (True), or clears the request (False)."""
        ...

    def grammar(self, gbnf: str) -> Grammar:
        """A grammar over this model's vocabulary.

        Raises:
            GrammarError: the text is not GBNF, or this model cannot follow grammars.
        """
        ...

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Mean-pooled, L2-normalised (n_embd,) float32 of the last hidden states; the KV cache is left as it was."""
        ...

    def close(self) -> None:
        """Frees everything. The model must not be used afterwards."""
        ...


class Aborted(Exception):  # noqa: N818 - an answer to a request, not a failure
    """A forward pass was given up because the caller asked for it."""
