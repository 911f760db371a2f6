"""The `Model` interface on llama.cpp, through llama-cpp-python's low-level calls and a context of our own.

One context per model with a unified KV cache. Sequence 0 holds the committed tokens. A chain of provisional nodes goes
into sequence 0 too (dropping them is one `seq_rm`); a branching tree uses one further sequence per leaf, each node
belonging to the sequences of all leaves below it, because llama.cpp's mask lets a query see the cells of its first
sequence id (src/llama-kv-cache.cpp). No KV data moves in either case.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from backend.api.errors import (
    ContextOverflowError,
    GrammarError,
    InvalidRequestError,
    MemoryShortageError,
    ModelLoadError,
    NutshellError,
)
from backend.api.schemas import KvChoice
from backend.engine.llama_library import AbortFlag, library, log_tail
from backend.engine.llama_threads import ThreadPool
from backend.engine.model import Aborted, Logits, ModelInfo, TokenTree

#: Leaves of one tree. llama.cpp allows 256; every further sequence costs a column in the mask bookkeeping of each pass.
MAX_LEAVES = 63
#: numbers that share a scale in a q8 cache
_BLOCK = 32
_ABORTED = 2  # llama_decode's answer when the abort callback said so


class LlamaCppTokenizer:
    """llama.cpp's tokenizer for the vocabulary of a loaded model."""

    def __init__(self, vocab: Any) -> None:
        self._lib = library()
        self._vocab = vocab
        self._pieces: dict[int, bytes] = {}
        self.n_vocab: int = self._lib.llama_vocab_n_tokens(vocab)
        self.bos: int = self._lib.llama_vocab_bos(vocab)
        self.adds_bos: bool = bool(self._lib.llama_vocab_get_add_bos(vocab))
        self._ends = {t for t in range(self.n_vocab) if self._lib.llama_vocab_is_eog(vocab, t)}

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See `Tokenizer.encode`."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        while True:
            out = (ctypes.c_int32 * room)()
            n = self._lib.llama_tokenize(self._vocab, raw, len(raw), out, room, False, special)
            if n >= 0:
                break
            room = -n
        tokens = out[:n]
        if self.adds_bos and self.bos >= 0 and (not tokens or tokens[0] != self.bos):
            tokens.insert(0, self.bos)
        return tokens

    def piece(self, token: int) -> bytes:
        """See `Tokenizer.piece`."""
        known = self._pieces.get(token)
        if known is None:
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                n = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, False)
                if n >= 0:
                    break
                room = -n
            known = self._pieces[token] = buffer.raw[:n]
        return known

    def text_of(self, token: int) -> str:
        """A token as its vocabulary writes it, control tokens included."""
        if token < 0:
            return ""
        raw: bytes = self._lib.llama_vocab_get_text(self._vocab, token)
        return raw.decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """See `Tokenizer.is_end`."""
        return token in self._ends


class LlamaCppGrammar:
    """A GBNF grammar, followed by llama.cpp's own grammar sampler."""

    def __init__(self, vocab: Any, gbnf: str) -> None:
        self._lib = library()
        log_tail.clear()
        self._sampler = self._lib.llama_sampler_init_grammar(vocab, gbnf.encode(), b"root")
        if not self._sampler:
            raise GrammarError(
                "The grammar cannot be read.",
                why="It is not valid GBNF, or it has no rule named root.",
                details=log_tail.errors(),
            )

    def allowed(self, tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """See `Grammar.allowed`."""
        n = len(tokens)
        # llama_token_data: int32 id, float logit, float p. A rejected token gets the logit -inf.
        table = np.zeros(n, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        table["id"] = tokens
        candidates = self._lib.llama_token_data_array(
            ctypes.cast(table.ctypes.data, self._lib.llama_token_data_p), n, -1, False
        )
        self._lib.llama_sampler_apply(self._sampler, ctypes.byref(candidates))
        mask: npt.NDArray[np.bool_] = table["logit"] == 0
        return mask

    def accept(self, token: int) -> None:
        """See `Grammar.accept`."""
        self._lib.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """See `Grammar.close`."""
        if self._sampler:
            self._lib.llama_sampler_free(self._sampler)
            self._sampler = None


class LlamaCppModel:
    """A GGUF file, loaded.

    Args:
        path: the file, already checked by `backend.formats.gguf` (the first part of a split one).
        n_ctx: tokens of context; more than the model was trained for is cut down to that.
        n_threads: threads for decode and prefill.
        n_gpu_layers: what goes to the build's devices: the head, then so many of the last layers less one; -1: all.
        n_batch: most tokens of one pass.
        kv: how keys and values are stored; where heads are no multiple of 32 wide, with 16 bits all the same.
        progress: called with the loaded fraction; returning False gives up.

    Raises:
        ModelLoadError, MemoryShortageError: a sentence, with llama.cpp's own lines in `details`.
        Aborted: `progress` returned False.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int,
        n_threads: int,
        n_gpu_layers: int = -1,
        n_batch: int = 512,
        kv: Literal["f16", "q8"] = "f16",
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        self._lib = lib = library()
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        self._threads: ThreadPool | None = None
        log_tail.clear()
        self._model = self._load(path, n_gpu_layers, progress)
        try:
            self._abort = AbortFlag()
            trained = lib.llama_model_n_ctx_train(self._model)
            n_ctx = min(n_ctx, trained) if trained > 0 else n_ctx
            self._kv: KvChoice = kv if self._takes_q8() else ""
            self._context = self._make_context(n_ctx, n_threads, n_batch)
            self._threads = ThreadPool(self._context, n_threads)
            self._memory = lib.llama_get_memory(self._context)
            self._batch = lib.llama_batch_init(n_batch, 0, MAX_LEAVES + 1)
            self.tokenizer = LlamaCppTokenizer(lib.llama_model_get_vocab(self._model))
            self.info = self._describe(path, n_threads, n_gpu_layers, n_batch)
        except BaseException:
            self.close()
            raise
        self.length = 0
        self._pending: TokenTree | None = None
        self._leaf_of: list[int] = []  # for a branching tree: a sequence id below each node; [] for a chain

    # -- Model ---------------------------------------------------------------------------------------------------------

    def forward(self, nodes: TokenTree) -> Logits:
        """See `Model.forward`."""
        self._drop_pending()
        n = len(nodes)
        if n > self.info.n_batch:
            raise ValueError(f"a pass takes at most {self.info.n_batch} nodes, not {n}")
        if self.length + n > self.info.n_ctx:
            raise ContextOverflowError("The context window is full.", why=f"It holds {self.info.n_ctx:,} tokens.")
        chain = all(parent == i - 1 for i, parent in enumerate(nodes.parents))
        self._fill_chain(nodes) if chain else self._fill_tree(nodes)
        self._pending = nodes
        answer = self._lib.llama_decode(self._context, self._batch)
        if answer:
            self._drop_pending()
            if answer == _ABORTED:
                raise Aborted
            raise _decode_error(answer)
        rows = len(nodes.wants_logits)
        if not rows:
            return np.empty((0, self.info.n_vocab), np.float32)
        pointer = self._lib.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (rows, self.info.n_vocab))

    def commit(self, path: Sequence[int]) -> None:
        """See `Model.commit`."""
        if self._pending is None:
            raise RuntimeError("commit without a forward")
        lib, memory = self._lib, self._memory
        end = self.length + len(path)
        if self._leaf_of:
            if path:
                leaf = self._leaf_of[path[-1]]
                lib.llama_memory_seq_rm(memory, leaf, end, -1)
                lib.llama_memory_seq_cp(memory, leaf, 0, self.length, end)
            self._clear_leaves()
        elif len(path) < len(self._pending):
            lib.llama_memory_seq_rm(memory, 0, end, -1)
        self.length = end
        self._pending = None

    def rewind(self, length: int) -> None:
        """See `Model.rewind`."""
        self._drop_pending()
        if length < self.length:
            if not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
                # recurrent models cannot forget a tail; then everything is read again
                self._lib.llama_memory_seq_rm(self._memory, 0, 0, -1)
                length = 0
            self.length = length

    def request_abort(self, flag: bool) -> None:
        """See `Model.request_abort`."""
        self._abort.set(flag)

    def grammar(self, gbnf: str) -> LlamaCppGrammar:
        """See `Model.grammar`."""
        return LlamaCppGrammar(self._lib.llama_model_get_vocab(self._model), gbnf)

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """See `Model.embed`. A short-lived context of its own, so that the conversation's KV cache stays."""
        lib = self._lib
        n = len(tokens)
        if not 0 < n <= self.info.n_ctx:
            raise InvalidRequestError(
                f"An input to embed must have 1 to {self.info.n_ctx:,} tokens; this one has {n:,}."
            )
        context = self._make_context(n, self.info.n_threads, n, embeddings=True)
        batch = lib.llama_batch_init(n, 0, 1)
        try:
            batch.n_tokens = n
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, i, 1, 0
                batch.logits[i] = 1
            if lib.llama_decode(context, batch):
                raise _decode_error(-1)
            pooled = np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, 0), (self.info.n_embd,))
            return (pooled / max(float(np.linalg.norm(pooled)), 1e-12)).astype(np.float32)
        finally:
            lib.llama_batch_free(batch)
            lib.llama_free(context)

    def close(self) -> None:
        """See `Model.close`."""
        lib = self._lib
        if self._batch is not None:
            lib.llama_batch_free(self._batch)
        if self._threads is not None:
            self._threads.close()
        if self._context is not None:
            lib.llama_free(self._context)
        if self._model is not None:
            lib.llama_model_free(self._model)
        self._batch = self._threads = self._context = self._model = None

    # -- passes --------------------------------------------------------------------------------------------------------

    def _fill_chain(self, nodes: TokenTree) -> None:
        batch, start = self._batch, self.length
        self._leaf_of = []
        batch.n_tokens = len(nodes)
        for i, token in enumerate(nodes.tokens):
            batch.token[i] = token
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 0
        for i in nodes.wants_logits:
            batch.logits[i] = 1

    def _fill_tree(self, nodes: TokenTree) -> None:
        n = len(nodes)
        leaves = sorted(set(range(n)) - set(nodes.parents))
        if len(leaves) > MAX_LEAVES:
            raise ValueError(f"a tree has at most {MAX_LEAVES} leaves here, not {len(leaves)}")
        below: list[list[int]] = [[] for _ in range(n)]
        for sequence, leaf in enumerate(leaves, 1):
            self._lib.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
            node = leaf
            while node >= 0:
                below[node].append(sequence)
                node = nodes.parents[node]
        self._leaf_of = [sequences[0] for sequences in below]
        batch = self._batch
        batch.n_tokens = n
        depth = [0] * n
        for i, (token, parent) in enumerate(zip(nodes.tokens, nodes.parents, strict=True)):
            depth[i] = depth[parent] + 1 if parent >= 0 else 0
            batch.token[i] = token
            batch.pos[i] = self.length + depth[i]
            batch.n_seq_id[i] = len(below[i])
            for j, sequence in enumerate(below[i]):
                batch.seq_id[i][j] = sequence
            batch.logits[i] = 0
        for i in nodes.wants_logits:
            batch.logits[i] = 1

    def _drop_pending(self) -> None:
        if self._pending is not None:
            if self._leaf_of:
                self._clear_leaves()
            else:
                self._lib.llama_memory_seq_rm(self._memory, 0, self.length, -1)
            self._pending = None

    def _clear_leaves(self) -> None:
        for sequence in set(self._leaf_of):
            self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._leaf_of = []

    # -- loading -------------------------------------------------------------------------------------------------------

    def _load(self, path: Path, n_gpu_layers: int, progress: Callable[[float], bool] | None) -> Any:
        lib = self._lib
        params = lib.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers if n_gpu_layers >= 0 else 999
        given_up = False

        @lib.llama_progress_callback  # type: ignore[untyped-decorator,unused-ignore]
        def on_progress(fraction: float, _user: object) -> bool:
            nonlocal given_up
            given_up = progress is not None and not progress(fraction)
            return not given_up

        params.progress_callback = on_progress
        started = time.perf_counter()
        model = lib.llama_model_load_from_file(str(path).encode(), params)
        self.load_s = time.perf_counter() - started
        if given_up:
            if model:
                lib.llama_model_free(model)
            raise Aborted
        if not model:
            raise _load_error(path, log_tail.errors())
        return model

    def _make_context(self, n_ctx: int, n_threads: int, n_batch: int, *, embeddings: bool = False) -> Any:
        lib = self._lib
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_threads = params.n_threads_batch = n_threads
        params.n_seq_max = 1 if embeddings else _most_leaves(n_ctx, n_batch) + 1
        params.kv_unified = True  # sequences may share cells only in a unified cache
        params.no_perf = True
        if self._kv == "q8" and not embeddings:
            params.type_k = params.type_v = lib.GGML_TYPE_Q8_0
            params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED  # values in blocks are read by it only
        if embeddings:
            params.embeddings = True
            params.pooling_type = lib.LLAMA_POOLING_TYPE_MEAN
        context = lib.llama_init_from_model(self._model, params)
        if not context:
            raise MemoryShortageError(
                f"There is not enough memory for a context of {n_ctx:,} tokens.",
                remedy="Choose a smaller context or a smaller model.",
                details=log_tail.errors(),
            )
        if not embeddings:
            lib.llama_set_abort_callback(context, self._abort.callback, self._abort.data)
        return context

    def _head_widths(self, metadata: Mapping[str, str]) -> tuple[int, int]:
        """Numbers of a key and of a value."""
        heads = self._lib.llama_model_n_head(self._model)
        usual = self._lib.llama_model_n_embd(self._model) // max(heads, 1)
        prefix = f"{metadata.get('general.architecture', '')}.attention."
        return int(metadata.get(f"{prefix}key_length", usual)), int(metadata.get(f"{prefix}value_length", usual))

    def _takes_q8(self) -> bool:
        widths = self._head_widths(_metadata(self._lib, self._model))
        return not self._recurrent() and all(width and width % _BLOCK == 0 for width in widths)

    def _recurrent(self) -> bool:
        return bool(self._lib.llama_model_is_recurrent(self._model) or self._lib.llama_model_is_hybrid(self._model))

    def _describe(self, path: Path, n_threads: int, n_gpu_layers: int, n_batch: int) -> ModelInfo:
        lib, model = self._lib, self._model
        metadata = _metadata(lib, model)
        weight_bytes = lib.llama_model_size(model)
        n_embd, n_vocab = lib.llama_model_n_embd(model), self.tokenizer.n_vocab
        layers = lib.llama_model_n_layer(model)
        n_ctx = lib.llama_n_ctx(self._context)
        numbers = n_ctx * layers * lib.llama_model_n_head_kv(model) * sum(self._head_widths(metadata))
        template = lib.llama_model_chat_template(model, None)
        return ModelInfo(
            name=metadata.get("general.name") or path.stem,
            architecture=metadata.get("general.architecture", ""),
            n_vocab=n_vocab,
            n_ctx=n_ctx,
            n_ctx_train=lib.llama_model_n_ctx_train(model),
            n_layers=layers,
            n_embd=n_embd,
            n_batch=n_batch,
            bytes_per_token=weight_bytes,
            weight_bytes=weight_bytes,
            kv_bytes=numbers // _BLOCK * 34 if self._kv == "q8" else numbers * 2,  # 32 bytes and an f16 scale
            kv=self._kv,
            n_threads=n_threads,
            n_gpu_layers=_layers_there(n_gpu_layers, layers) if lib.llama_supports_gpu_offload() else 0,
            chat_template=template.decode("utf-8", "replace") if template else None,
            bos_text=self.tokenizer.text_of(self.tokenizer.bos),
            eos_text=self.tokenizer.text_of(lib.llama_vocab_eos(lib.llama_model_get_vocab(model))),
            metadata=metadata,
            max_leaves=0 if self._recurrent() else _most_leaves(n_ctx, n_batch),
        )


def _layers_there(n_gpu_layers: int, layers: int) -> int:
    """Of the model's layers, those on a device: llama.cpp takes the head first, and then the last ones."""
    return layers if n_gpu_layers < 0 else min(max(n_gpu_layers - 1, 0), layers)


def _most_leaves(n_ctx: int, n_batch: int) -> int:
    """Leaves of a tree: llama.cpp aborts the process when there are more sequences than tokens of context or pass."""
    return max(min(MAX_LEAVES, n_ctx - 1, n_batch - 1), 0)


def _metadata(lib: Any, model: Any) -> dict[str, str]:
    """Scalar metadata as text; arrays (the vocabulary) come as llama.cpp's own abbreviation and are left out."""
    found = {}
    buffer = ctypes.create_string_buffer(1 << 16)
    for i in range(lib.llama_model_meta_count(model)):
        lib.llama_model_meta_key_by_index(model, i, buffer, len(buffer))
        key = buffer.value.decode("utf-8", "replace")
        if lib.llama_model_meta_val_str_by_index(model, i, buffer, len(buffer)) >= 0:
            value = buffer.value.decode("utf-8", "replace")
            if not value.startswith("["):
                found[key] = value
    return found


def _load_error(path: Path, details: str) -> NutshellError:
    lowered = details.lower()
    if "unknown model architecture" in lowered or "unknown architecture" in lowered:
        return ModelLoadError(
            f"{path.name} is of a kind that this version of the engine does not know.",
            remedy="Update Nutshell, or choose another model.",
            details=details,
        )
    if "failed to allocate" in lowered or "unable to allocate" in lowered or "out of memory" in lowered:
        return MemoryShortageError(
            f"There is not enough memory to load {path.name}.",
            remedy="Close other programs, or choose a smaller model.",
            details=details,
        )
    return ModelLoadError(
        f"{path.name} could not be loaded.",
        why="The engine found something in it that it cannot use; the file may be damaged.",
        remedy="Download it again, or choose another model.",
        details=details,
    )


def _decode_error(answer: int) -> NutshellError:
    if answer == 1:
        return ContextOverflowError(
            "The context window is full.", remedy="Start a new chat or choose a larger context."
        )
    return NutshellError(
        "The engine could not compute the next token.",
        why="llama.cpp gave up on this text.",
        remedy="Load the model again, or choose another one.",
        details=f"llama_decode returned {answer}\n{log_tail.errors()}",
    )
