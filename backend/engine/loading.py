"""From a model entry to a loaded model: the choices that the user did not make."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from backend.api.errors import ConflictError, NutshellError
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry, ModelSlider, Sampling
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.llama_library import library
from backend.engine.model import Aborted, Model, TokenTree
from backend.engine.native_cuda import cuda_card
from backend.formats.sniff import recognise
from backend.hardware.gpus import gpu_reports
from backend.hub.catalogue import known_file
from backend.planner.loads import layers_to_load
from backend.planner.machine import this_machine
from backend.planner.memory import STREAMED_PASS, pass_tokens

_MIB = 1 << 20
#: A context that fits most chats; more costs KV memory that a laptop needs (189 MB for the built-in model).
_DEFAULT_CONTEXT = 8192
#: The smallest context that is still a chat.
_LEAST_CONTEXT = 2048
#: of one pass
#: what making a pack is of the whole way, where one is made: reading it afterwards takes a tenth of the time
_REPACKING = 0.9


def load_model(entry: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> tuple[Model, LoadedModel]:
    """Loads a GGUF on llama.cpp, a pack or a Hugging Face folder on our own engine. See `worker.Loader`.

    Raises:
        ModelError, MemoryShortageError: why it cannot be loaded.
        ConflictError: `progress` gave up.
    """
    started = time.perf_counter()
    threads = options.n_threads or psutil.cpu_count(logical=False) or 1
    kind = recognise(Path(entry.path))
    load = _load_gguf if kind not in ("pack", "hf") else _load_native
    try:
        model = load(entry, options, threads, progress)
    except Aborted:
        raise ConflictError("Loading was cancelled.") from None
    try:
        _warm_up(model)
    except BaseException:
        model.close()
        raise
    info = model.info
    loaded = LoadedModel(
        entry=entry,
        n_ctx=info.n_ctx,
        n_threads=info.n_threads,
        n_gpu_layers=info.n_gpu_layers,
        n_vocab=info.n_vocab,
        weight_bytes=info.weight_bytes,
        streamed_bytes=info.streamed_bytes,
        link_bytes=info.link_bytes,
        kv_bytes=info.kv_bytes,
        load_s=time.perf_counter() - started,
        sampling=recommended_sampling(entry, info.metadata),
        kv=info.kv,
        slider=_slider(model) if load is _load_native else None,
    )
    return model, loaded


def move_model(model: Model, loaded: LoadedModel, position: float) -> LoadedModel:
    """Moves a model's slider; its cache is empty afterwards, unless it stood there already.

    Args:
        model: loaded.
        loaded: what was told of it.
        position: 0 to 1.

    Returns:
        what is now to be told of it; the same object where nothing has changed.

    Raises:
        InvalidRequestError: there is no slider, or no such position.
        MemoryShortageError: nothing has changed.
    """
    from backend.engine.native import NativeModel
    from backend.formats.pack import no_slider

    if not isinstance(model, NativeModel) or model.slider is None:
        raise no_slider(loaded.entry.name)
    if not model.move(model.slider.steps(position)):
        return loaded
    _warm_up(model)
    return msgspec.structs.replace(loaded, weight_bytes=model.info.weight_bytes, slider=_slider(model))


def _slider(model: Model) -> ModelSlider | None:
    from backend.engine.native import NativeModel
    from backend.engine.slider import slider_of

    return slider_of(model) if isinstance(model, NativeModel) else None


def _load_gguf(entry: ModelEntry, options: LoadModel, threads: int, progress: Callable[[float], bool]) -> Model:
    if options.position is not None:
        from backend.formats.pack import no_slider

        raise no_slider(entry.name)
    n_ctx = options.n_ctx or _default_context(entry)
    library()  # only what it can use counts
    layers = _layers_on_card(Path(entry.path), options, n_ctx, threads)
    return LlamaCppModel(
        Path(entry.path),
        n_ctx=n_ctx,
        n_threads=threads,
        n_gpu_layers=layers,
        n_batch=pass_tokens(entry.bytes, "llama.cpp"),
        kv=options.kv or "f16",
        progress=progress,
    )


def _load_native(entry: ModelEntry, options: LoadModel, threads: int, progress: Callable[[float], bool]) -> Model:
    from backend.engine.native import NativeModel

    path, start = Path(entry.path), 0.0
    if path.is_dir():
        from backend.engine.repack import packed_path

        start = _REPACKING
        path = packed_path(path, lambda done: progress(done * start)) or path
    n_ctx = options.n_ctx or _default_context(entry)
    layers = _layers_on_card(path, options, n_ctx, threads)
    return NativeModel(
        path,
        n_ctx=n_ctx,
        n_threads=threads,
        # of a text to be read: as few passes as can be, where every one of them waits for the disk or the card's link
        n_batch=STREAMED_PASS if options.memory_budget or layers > 0 else pass_tokens(entry.bytes, "native"),
        kv=options.kv or "f16",
        position=options.position,
        memory_budget=options.memory_budget,
        n_gpu_layers=layers,
        progress=lambda done: progress(start + (1 - start) * done),
    )


def _layers_on_card(path: Path, options: LoadModel, n_ctx: int, threads: int) -> int:
    """As it was asked for, else as the planner has it: more than a card holds would fail there, or crawl.

    Returns:
        for llama.cpp or our engine; -1 where this model cannot be planned.
    """
    if options.n_gpu_layers >= 0:
        return options.n_gpu_layers
    if cuda_card() is None and not any(gpu.backend for gpu in gpu_reports()):
        return 0
    asked = msgspec.structs.replace(options, n_ctx=n_ctx, n_threads=threads)
    try:
        return layers_to_load(path, asked, this_machine(path.parent))
    except NutshellError:
        return -1


def _default_context(entry: ModelEntry) -> int:
    """8,192 tokens, halved while the KV cache would take more than a quarter of the memory that is available."""
    trained = entry.context_length or _DEFAULT_CONTEXT
    n_ctx = min(_DEFAULT_CONTEXT, trained)
    # 64 KB a token bounds grouped-head models up to 3B; the exact figure is the planner's business
    per_token = 64 * 1024 if entry.bytes < 3000 * _MIB else 160 * 1024
    while n_ctx > _LEAST_CONTEXT and n_ctx * per_token > psutil.virtual_memory().available / 4:
        n_ctx //= 2
    return n_ctx


def _warm_up(model: Model) -> None:
    """Two passes, so that the first answer does not pay for page faults and thread start (40 ms for 98 MB)."""
    tokens = model.tokenizer.encode("a", special=False)[:1] or [0]
    for _ in range(2):
        model.forward(TokenTree.chain(tokens))
        model.rewind(0)


def recommended_sampling(entry: ModelEntry, metadata: dict[str, str]) -> Sampling:
    """The model's own defaults: from the file's `general.sampling.*` keys, else from the catalogue, else neutral."""
    known: dict[str, Any] = {
        name: float(metadata[key])
        for name, key in (
            ("temperature", "general.sampling.temp"),
            ("top_p", "general.sampling.top_p"),
            ("min_p", "general.sampling.min_p"),
            ("repetition_penalty", "general.sampling.penalty_repeat"),
        )
        if key in metadata
    }
    if "general.sampling.top_k" in metadata:
        known["top_k"] = int(metadata["general.sampling.top_k"])
    if known:
        with contextlib.suppress(msgspec.ValidationError):  # a temperature of -1: the author's slip is not followed
            return msgspec.convert(known, Sampling)
    model = known_file(Path(entry.path).name)
    return model.sampling if model is not None else Sampling()
