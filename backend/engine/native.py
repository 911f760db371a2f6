"""The `Model` interface on our own kernels: a checkpoint, its recorded program, and an executor that runs it.

The weights of a pack stay where they are, in the mapped file. The executor holds the KV cache and does a whole forward
in one native call; what happens here for each token is a few microseconds of bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import psutil

from backend.api.errors import ContextOverflowError, InvalidRequestError, MemoryShortageError, ModelLoadError
from backend.architectures import Built, CommonArgs, build, read_args
from backend.engine.model import Aborted, Grammar, Logits, ModelInfo, TokenTree
from backend.engine.native_cuda import cuda_executors
from backend.engine.native_streaming import cut_short, stream_pack
from backend.engine.native_weights import Weights, weights_of
from backend.engine.slider import Speeds
from backend.engine.tokenizing import HfTokenizer, gguf_tokenizer_files
from backend.engine.tokenizing.files import settings
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack import PackCheckpoint, no_slider
from backend.formats.pack_slider import PackSlider
from backend.hardware.trim import trim
from kernels.program import Executor, Program

if TYPE_CHECKING:
    from kernels.cpu.stream import Stream

__all__ = ["KvType", "NativeModel", "kv_bytes_per_token"]

KvType = Literal["f16", "q8"]
#: (program, positions, most nodes of one forward) -> what runs it
Executors = Callable[[Program, int, int], Executor]
#: Activations, threads and the interpreter beside weights and cache: 60 to 120 MB were seen for 0.1B to 1.5B.
_BESIDE = 150 << 20
#: generation_config.json -> key of `ModelInfo.metadata`
_SAMPLING = {
    "temperature": "temp",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}


class NativeModel:
    """A pack or a Hugging Face folder (or any checkpoint), loaded.

    Args:
        path: what `open_checkpoint` opens.
        n_ctx: tokens of context; more than the model was trained for is cut down to that.
        n_threads: threads for decode and prefill.
        n_batch: most nodes of one pass.
        position: of the slider of a pack that has one, 0 to 1; None: its default.
        memory_budget: bytes that weights may take; where they are more, some of them are read from the disk in every
            pass. Cache and activations come on top. 0: all stay in memory. Only for packs, on the processor.
        disk_rate: bytes a second that are read at most, to measure what a slower disk would give; 0: as it gives them.
        n_gpu_layers: how many layers' worth of weights stay on the first CUDA device, which computes all; the others
            are sent there in every pass. -1: all of them, if there is room for them, or it is not used; 0: it is not.
            Keys and values have 16 bits there, and it takes torch.
        kv: how keys and values are stored.
        progress: called with the loaded fraction; returning False gives up.
        executors: what makes the executor; None: the native kernels.

    Attributes:
        speeds: of one token, at the positions of its slider where that was measured.
        stream: what reads weights from the disk; None where all of them stay in memory.

    Raises:
        ModelError: damaged, or of a kind that is not known here, with the reason.
        InvalidRequestError: a position of what has no slider, or outside of it.
        MemoryShortageError: weights and cache do not fit; nothing was loaded.
        Aborted: `progress` returned False.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int,
        n_threads: int,
        n_batch: int = 512,
        kv: KvType = "f16",
        position: float | None = None,
        memory_budget: int = 0,
        disk_rate: float = 0.0,
        n_gpu_layers: int = 0,
        progress: Callable[[float], bool] | None = None,
        executors: Executors | None = None,
    ) -> None:
        go_on = progress or (lambda _: True)
        if not go_on(0.0):
            raise Aborted
        self._grammars: Any = None
        self.stream: Stream | None = None
        self.speeds = Speeds()
        self._checkpoint: Checkpoint | None = open_checkpoint(path, position=position)
        try:
            checkpoint = self._checkpoint
            args = read_args(checkpoint.config)
            n_ctx = min(n_ctx, args.max_position_embeddings)
            held = _weight_bytes(path, checkpoint)
            if memory_budget and isinstance(checkpoint, PackCheckpoint):
                held = min(held, memory_budget)
            _check_memory(path, held + n_ctx * kv_bytes_per_token(args, kv))
            files = dict(checkpoint.tokenizer_files())
            if checkpoint.kind == "gguf":
                files = gguf_tokenizer_files(path)
            self.tokenizer = HfTokenizer(files, checkpoint.config)
            del files["tokenizer.json"]  # up to 35 MB
            built = build(checkpoint)
            trim()  # parsing a tokenizer of 151,936 entries leaves 60 MB and more
            weights = weights_of(built.program)
            card = None
            if n_gpu_layers and executors is None:
                rows = n_batch * 4 * (4 * args.hidden_size + 2 * args.intermediate_size)
                besides = n_ctx * kv_bytes_per_token(args, "f16") + rows
                card = cuda_executors(built.program, besides, args.n_layers, n_gpu_layers)
            if 0 < memory_budget < weights.bytes and isinstance(checkpoint, PackCheckpoint) and card is None:
                made = stream_pack(path, checkpoint, built.program, memory_budget, disk_rate)
                self.stream, built = made.stream, replace(built, program=made.program)
                checkpoint.close()  # nothing of the mapped file is used any more, and none of it stays in memory
            else:
                weights.touch(go_on)
            if not go_on(1.0):
                raise Aborted
            self._executors = executors or (card.make if card else _native_executors(kv, n_threads, self.stream))
            self._program = built.program
            self.speeds = Speeds(args.n_layers)
            self._executor: Executor | None = self._make(n_ctx, n_batch)
        except BaseException:
            self.close()
            raise
        self._pending = 0
        described = self._describe(path, built, weights, n_ctx, n_threads, n_batch, settings_of=files)
        self.info = replace(described, kv=kv)
        if card is not None:
            self.info = replace(
                described, kv="f16", n_gpu_layers=card.layers, link_bytes=card.link_bytes, exact_chain=0
            )

    # -- the slider ----------------------------------------------------------------------------------------------------

    @property
    def slider(self) -> PackSlider | None:
        """What there is to choose from; None in most models."""
        checkpoint = self._checkpoint
        return checkpoint.slider if isinstance(checkpoint, PackCheckpoint) else None

    @property
    def steps(self) -> int:
        """The position that is loaded: upgrades; 0 without a slider."""
        checkpoint = self._checkpoint
        return checkpoint.steps if isinstance(checkpoint, PackCheckpoint) else 0

    def move(self, steps: int) -> bool:
        """Takes another position; False where it is taken already.

        Linears that have the same level there stay what they are; of the others, views into the mapped file are taken,
        and their pages are read where they are not in memory. The cache of keys and values is dropped: they were
        computed by other weights, and an answer would depend on where the handle had been before.

        Raises:
            InvalidRequestError: there is no slider. ValueError: no such position.
            MemoryShortageError: there is no room for another cache; nothing has changed.
        """
        checkpoint = self._checkpoint
        if not isinstance(checkpoint, PackCheckpoint) or checkpoint.slider is None:
            raise no_slider(self.info.name)
        if steps == checkpoint.steps:
            return False
        if self.stream is not None:
            raise InvalidRequestError(
                "The slider of a model that is read from the disk cannot be moved while it is loaded.",
                why="What stays in memory was chosen for its position.",
                remedy="Load the model again at the other position.",
            )
        view = checkpoint.at(steps)
        before, program = weights_of(self._program), build(view).program
        weights = weights_of(program)
        weights.without(before).touch(lambda _: True)
        executor = self._make(self.info.n_ctx, self.info.n_batch, program)
        self._checkpoint, self._program, self._executor, self._pending = view, program, executor, 0
        self.info = replace(self.info, bytes_per_token=weights.bytes_per_token, weight_bytes=weights.bytes)
        return True

    # -- Model ---------------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """See `Model.length`."""
        return self._run.length

    def forward(self, nodes: TokenTree) -> Logits:
        """See `Model.forward`."""
        n, run = len(nodes), self._run
        self._pending = 0
        if n > self.info.n_batch:
            raise ValueError(f"a pass takes at most {self.info.n_batch} nodes, not {n}")
        if run.length + n > self.info.n_ctx:
            raise ContextOverflowError("The context window is full.", why=f"It holds {self.info.n_ctx:,} tokens.")
        if n and max(nodes.tokens) >= self.info.n_vocab:  # a tokenizer may have more tokens than the model has rows
            raise InvalidRequestError(
                "The text has a token that this model has no weights for.",
                remedy="Leave out what looks like a command.",
            )
        try:
            rows = run.forward(nodes.tokens, nodes.parents, nodes.wants_logits)
        except InterruptedError:
            raise Aborted from None
        except RuntimeError as error:
            if self.stream is None:
                raise
            raise cut_short(self.info.name, str(error)) from error
        self._pending = n
        return rows if len(rows) else np.empty((0, self.info.n_vocab), np.float32)

    def commit(self, path: Sequence[int]) -> None:
        """See `Model.commit`."""
        if not self._pending:
            raise RuntimeError("commit without a forward")
        self._run.commit(path)
        self._pending = 0

    def rewind(self, length: int) -> None:
        """See `Model.rewind`."""
        self._pending = 0
        self._run.rewind(min(length, self._run.length))

    def request_abort(self, flag: bool) -> None:
        """See `Model.request_abort`."""
        executor = self._executor
        if executor is not None:  # from another thread, while `close` may run
            executor.abort(flag)

    def grammar(self, gbnf: str) -> Grammar:
        """See `Model.grammar`."""
        from backend.engine.native_grammar import GrammarVocabulary  # llama.cpp, 120 ms: only where a format is asked

        if self._grammars is None:
            self._grammars = GrammarVocabulary(self.tokenizer, self.info.n_vocab)
        grammar: Grammar = self._grammars.grammar(gbnf)
        return grammar

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """See `Model.embed`. A short-lived executor over the same weights, so that the conversation's cache stays."""
        n, step = len(tokens), self.info.n_batch
        if not 0 < n <= self.info.n_ctx:
            raise InvalidRequestError(
                f"An input to embed must have 1 to {self.info.n_ctx:,} tokens; this one has {n:,}."
            )
        executor = self._make(n, min(n, step))
        total = np.zeros(self.info.n_embd, np.float64)
        for first in range(0, n, step):
            part = tokens[first : first + step]
            executor.forward(part, range(-1, len(part) - 1), ())
            total += executor.hidden().sum(axis=0, dtype=np.float64)
            executor.commit(range(len(part)))
        return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)

    def close(self) -> None:
        """See `Model.close`. The file is let go when the last view into it is gone."""
        grammars, self._grammars = self._grammars, None
        if grammars is not None:
            grammars.close()
        checkpoint, self._checkpoint = self._checkpoint, None
        self._executor = None
        self.stream = None
        self._program = Program()
        if checkpoint is not None:
            checkpoint.close()

    # -- loading -------------------------------------------------------------------------------------------------------

    @property
    def _run(self) -> Executor:
        if self._executor is None:
            raise RuntimeError("the model is closed")
        return self._executor

    def _make(self, capacity: int, n_batch: int, program: Program | None = None) -> Executor:
        try:
            return self._executors(program or self._program, capacity, n_batch)
        except MemoryError as error:
            raise _shortage(capacity, repr(error)) from None

    def _describe(
        self,
        path: Path,
        built: Built,
        weights: Weights,
        n_ctx: int,
        n_threads: int,
        n_batch: int,
        *,
        settings_of: Any,
    ) -> ModelInfo:
        args, tokenizer = built.args, self.tokenizer
        metadata = {"general.architecture": args.model_type}
        generation = settings(settings_of, "generation_config.json")
        for name, key in _SAMPLING.items():
            value = generation.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6:
                metadata[f"general.sampling.{key}"] = str(int(value) if name == "top_k" else value)
        return ModelInfo(
            name=path.stem if path.is_file() else path.name,
            architecture=args.model_type,
            n_vocab=args.vocab_size,
            n_ctx=n_ctx,
            n_ctx_train=args.max_position_embeddings,
            n_layers=args.n_layers,
            n_embd=args.hidden_size,
            n_batch=n_batch,
            bytes_per_token=weights.bytes_per_token,
            weight_bytes=weights.bytes,
            kv_bytes=self._run.kv_bytes,
            n_threads=n_threads,
            n_gpu_layers=0,
            chat_template=tokenizer.chat_template,
            bos_text=tokenizer.bos_text,
            eos_text=tokenizer.eos_text,
            metadata=metadata,
            max_leaves=n_batch,
            streamed_bytes=self.stream.pass_bytes if self.stream is not None else 0,
            exact_chain=8,  # beyond, the kernels for many rows take over, which sum in another order
        )


def kv_bytes_per_token(args: CommonArgs, kv: KvType) -> int:
    """Bytes of keys and values of one token in all layers. q8: a byte and a share of the scales."""
    numbers = 2 * args.n_layers * args.kv_heads * args.head_dim
    return numbers * 2 if kv == "f16" else numbers * 9 // 8


def _native_executors(kv: KvType, n_threads: int, stream: Stream | None) -> Executors:
    def make(program: Program, capacity: int, n_batch: int) -> Executor:
        try:
            from kernels.cpu.executor import CpuExecutor
        except ImportError as error:
            raise ModelLoadError(
                "This model needs Nutshell's own engine, which is not installed.",
                why="Its compiled part is missing.",
                remedy="Run the installer again, or choose a GGUF model.",
                details=str(error),
            ) from None
        try:
            return CpuExecutor(program, capacity=capacity, kv=kv, max_rows=n_batch, threads=n_threads, stream=stream)
        except NotImplementedError as error:
            raise ModelLoadError(
                "This model cannot be used on this processor.",
                why="Its weights are stored in a way that the engine cannot compute with here.",
                remedy="Choose another build of this model.",
                details=str(error),
            ) from None

    return make


def _weight_bytes(path: Path, checkpoint: Checkpoint) -> int:
    """What is read of the files; of a pack with a slider only its position's share."""
    if isinstance(checkpoint, PackCheckpoint) and checkpoint.slider is not None:
        return checkpoint.slider.bytes[checkpoint.steps]
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.glob("*.safetensors"))


def _check_memory(path: Path, size: int) -> None:
    """Refuses a load that would push other programs, or itself, out of memory.

    What the system has read of the file already counts as available, so a warm file is not counted twice.
    """
    needed, available = size + _BESIDE, int(psutil.virtual_memory().available)
    if needed > available:
        raise MemoryShortageError(
            f"There is not enough memory to load {path.name}.",
            why=f"It needs about {needed / 1e9:.1f} GB with its context, and {available / 1e9:.1f} GB are free.",
            remedy="Close other programs, or choose a smaller model or context.",
        )


def _shortage(n_ctx: int, details: str) -> MemoryShortageError:
    return MemoryShortageError(
        f"There is not enough memory for a context of {n_ctx:,} tokens.",
        remedy="Choose a smaller context or a smaller model.",
        details=details,
    )
