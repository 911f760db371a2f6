"""Models without weights: the engine's logic is tested with these, in microseconds and with known answers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from backend.api.errors import ContextOverflowError, GrammarError
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry, Sampling
from backend.engine.model import Aborted, Grammar, Logits, Model, ModelInfo, TokenTree

N_VOCAB = 259
END = 256
CONTROL = {257: b"<|im_start|>", 258: b"<|im_end|>"}


def as_bytes(tokens: Iterable[int]) -> bytes:
    """Tokens as the text that they were, control tokens included."""
    return b"".join(CONTROL.get(t, b"") if t >= 256 else bytes([t]) for t in tokens)


class ByteTokenizer:
    """One token per byte; 256 ends an answer, 257 and 258 are ChatML's control tokens."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        raw = text.encode()
        if not special:
            return list(raw)
        tokens: list[int] = []
        for part in re.split(rb"(<\|im_start\|>|<\|im_end\|>)", raw):
            known = next((token for token, name in CONTROL.items() if name == part), None)
            tokens += [known] if known is not None else list(part)
        return tokens

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""

    def is_end(self, token: int) -> bool:
        return token == END


class FakeModel:
    """A model whose next token is decided by `next_token(tokens so far)`; its KV cache is a list, so that tests see it.

    Args:
        next_token: committed and provisional tokens of a path -> the token with nearly all probability.
        delay_s: time of one pass, waited on an event so that an abort ends it at once.
    """

    def __init__(
        self,
        next_token: Callable[[Sequence[int]], int],
        *,
        n_ctx: int = 4096,
        n_batch: int = 64,
        delay_s: float = 0.0,
    ) -> None:
        self.tokenizer = ByteTokenizer()
        self.info = ModelInfo(
            name="echo",
            architecture="fake",
            n_vocab=N_VOCAB,
            n_ctx=n_ctx,
            n_ctx_train=n_ctx,
            n_layers=1,
            n_embd=8,
            n_batch=n_batch,
            bytes_per_token=1,
            weight_bytes=1,
            kv_bytes=n_ctx,
            n_threads=1,
            n_gpu_layers=0,
            chat_template=None,
        )
        self.cache: list[int] = []
        self.passes: list[int] = []  # nodes per forward
        self.closed = False
        self._next = next_token
        self._delay_s = delay_s
        self._pending: TokenTree | None = None
        self._abort = threading.Event()

    @property
    def length(self) -> int:
        return len(self.cache)

    def forward(self, nodes: TokenTree) -> Logits:
        assert not self.closed
        if self.length + len(nodes) > self.info.n_ctx:
            raise ContextOverflowError("The context window is full.")
        if (self._delay_s and self._abort.wait(self._delay_s)) or self._abort.is_set():
            raise Aborted
        self._pending = nodes
        self.passes.append(len(nodes))
        rows = np.full((len(nodes.wants_logits), N_VOCAB), -30.0, np.float32)
        for row, node in zip(rows, nodes.wants_logits, strict=True):
            row[self._next(self.cache + self._path(node))] = 0.0
        return rows

    def _path(self, node: int) -> list[int]:
        assert self._pending is not None
        path: list[int] = []
        while node >= 0:
            path.insert(0, self._pending.tokens[node])
            node = self._pending.parents[node]
        return path

    def commit(self, path: Sequence[int]) -> None:
        assert self._pending is not None
        self.cache += [self._pending.tokens[i] for i in path]
        self._pending = None

    def rewind(self, length: int) -> None:
        self._pending = None
        del self.cache[length:]

    def request_abort(self, flag: bool) -> None:
        self._abort.set() if flag else self._abort.clear()

    def grammar(self, gbnf: str) -> Grammar:
        raise GrammarError("This model cannot follow a grammar.", details=gbnf)

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        vector = np.bincount([t % 8 for t in tokens], minlength=8).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def close(self) -> None:
        self.closed = True


def echo(*, n_ctx: int = 4096, n_batch: int = 64, delay_s: float = 0.0) -> FakeModel:
    """A model that repeats the last user message of a ChatML prompt, then ends."""
    turn = re.compile(rb".*<\|im_start\|>user\n(.*?)<\|im_end\|>\n<\|im_start\|>assistant\n(.*)", re.DOTALL)

    def following(tokens: Sequence[int]) -> int:
        found = turn.fullmatch(as_bytes(tokens))
        if not found or len(found[2]) >= len(found[1]):
            return END
        return found[1][len(found[2])]

    return FakeModel(following, n_ctx=n_ctx, n_batch=n_batch, delay_s=delay_s)


#: Where the answer of a `scripted` model begins: behind ChatML's last marker, or behind a NUL in a raw prompt.
_ANSWER = re.compile(rb".*(?:<\|im_start\|>assistant\n|\x00)(.*)", re.DOTALL)


def scripted(answer: str, *, n_ctx: int = 4096, n_batch: int = 64, delay_s: float = 0.0) -> FakeModel:
    """A model that answers every prompt with the same text. A raw prompt must end with a NUL; a chat has its marker."""
    text = answer.encode()

    def following(tokens: Sequence[int]) -> int:
        found = _ANSWER.fullmatch(as_bytes(tokens))
        said = found[1] if found else b""
        return text[len(said)] if len(said) < len(text) else END

    return FakeModel(following, n_ctx=n_ctx, n_batch=n_batch, delay_s=delay_s)


def loader_of(
    make: Callable[[], Model],
) -> Callable[[ModelEntry, LoadModel, Callable[[float], bool]], tuple[Model, LoadedModel]]:
    """A loader for `Engine` that makes fakes."""

    def load(entry: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> tuple[Model, LoadedModel]:
        started = time.perf_counter()
        progress(1.0)
        model = make()
        info = model.info
        return model, LoadedModel(
            entry=entry,
            n_ctx=info.n_ctx,
            n_threads=1,
            n_gpu_layers=options.n_gpu_layers,
            n_vocab=info.n_vocab,
            weight_bytes=info.weight_bytes,
            kv_bytes=info.kv_bytes,
            load_s=time.perf_counter() - started,
            sampling=Sampling(),
        )

    return load


def fake_entry(name: str = "echo") -> ModelEntry:
    """An entry to load a fake with."""
    return ModelEntry(id="0123456789abcdef", name=name, path=f"/models/{name}.gguf", source="file", bytes=1)
