"""Models for measuring: opened with the engine that a person would have, run over contexts, and their true sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from backend.api.errors import MemoryShortageError, ModelError
from backend.engine.model import Logits, Model, TokenTree
from backend.formats.checkpoint import open_checkpoint
from backend.formats.gguf import read_header
from backend.formats.gguf_header import GGUFHeader, TensorInfo
from backend.formats.gguf_names import to_hf
from backend.formats.gguf_tables import TENSOR_TYPES
from backend.formats.pack import PackCheckpoint, no_slider
from backend.formats.sniff import recognise

__all__ = ["BATCH", "Sizes", "is_layer", "layer_types", "open_model", "passes", "sizes_of"]

#: rows of one pass; 256 rows of 151,936 logits are 156 MB, and 512 rows are no faster
BATCH = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a build takes.

    Attributes:
        layer_bits: bits for each weight of the layers' linears, with all that belongs to them (scales, codebooks,
            outliers, biases).
        all_bits: the same with embedding and output layer; a table that serves as both counts once.
        file_bytes: of the file, or of all files with weights.
    """

    layer_bits: float
    all_bits: float
    file_bytes: int


def open_model(path: Path, *, length: int, threads: int, reference: bool, position: float | None = None) -> Model:
    """A model for contexts of `length` tokens; batches of BATCH.

    Args:
        path: a pack, a Hugging Face folder or a GGUF file.
        length: tokens of a context.
        threads: that compute; 0: one for each core.
        reference: a GGUF file is run by our own engine with its weights as 16-bit floats, not by llama.cpp, which
            rounds activations to 8 bits.
        position: of a pack's slider; None: its default.

    Raises:
        InvalidRequestError: a position of what has no slider.
        ModelError, MemoryShortageError: why it cannot be loaded.
    """
    threads = threads or psutil.cpu_count(logical=False) or 1
    gguf = recognise(path) == "gguf"
    if position is not None and gguf:
        raise no_slider(path.name)
    if gguf and not reference:
        from backend.engine.llama_cpp import LlamaCppModel

        return LlamaCppModel(path, n_ctx=length, n_threads=threads, n_gpu_layers=0, n_batch=BATCH)
    from backend.engine.native import NativeModel

    if gguf:
        _check_room(read_header(path, chat=False))
    return NativeModel(path, n_ctx=length, n_threads=threads, n_batch=BATCH, position=position)


def passes(model: Model, tokens: npt.NDArray[np.int32], unscored: int) -> Iterator[tuple[int, Logits]]:
    """Runs one context from an empty cache.

    Args:
        model: as `open_model` gives it; its cache is empty afterwards, if all was taken.
        tokens: (n,) int32.
        unscored: tokens at the beginning that are not predicted.

    Yields:
        After each pass: how many tokens it read, and the logits that predict tokens: (rows, n_vocab), rows may be 0,
        valid until the next pass. All together they predict tokens[unscored + 1:].
    """
    model.rewind(0)
    last = len(tokens) - 1  # what follows it is not there to be predicted
    for first in range(0, last, BATCH):
        part = tokens[first : min(first + BATCH, last)].tolist()
        wanted = range(max(0, min(unscored - first, len(part))), len(part))
        logits = model.forward(TokenTree(part, range(-1, len(part) - 1), wanted))
        model.commit(range(len(part)))
        yield len(part), logits
    model.rewind(0)


def sizes_of(path: Path, position: float | None = None) -> Sizes:
    """From the headers; of a folder that is not a pack every linear is looked at, which takes a while.

    Of a pack with a slider: what a position takes (None: the default one), as if it were a file of its own.

    Raises:
        ModelError: it is damaged, or of a kind that is not known here.
    """
    kind = recognise(path)
    counted = _Counted()
    if kind == "gguf":
        header = read_header(path, chat=False)
        shapes = {name: tensor for tensor in header.tensors if (name := to_hf(tensor.name))}
        for name, tensor in shapes.items():
            module = name.rpartition(".")[0]
            if len(tensor.shape) == 2:
                bias = shapes.get(f"{module}.bias")
                counted.add(module, tensor.bytes + (bias.bytes if bias else 0), tensor.elements)
        return counted.sizes(header.total_bytes or header.file_size)
    checkpoint = open_checkpoint(path, position=position)
    unused = 0
    try:
        if isinstance(checkpoint, PackCheckpoint) and checkpoint.slider is not None:
            unused = checkpoint.packed_bytes - checkpoint.slider.size(checkpoint.slider.ranks(checkpoint.steps))
        for module in checkpoint.linears():
            packed = checkpoint.linear(module)
            counted.add(module, packed.nbytes, packed.out_features * packed.in_features)
    finally:
        checkpoint.close()
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return counted.sizes(sum(file.stat().st_size for file in files) - unused)


def layer_types(path: Path) -> dict[str, float]:
    """Of a GGUF file: its types' shares of the weights of the layers' linears, the largest first; they add up to 1."""
    found: dict[str, int] = {}
    for tensor in read_header(path, chat=False).tensors:
        if is_layer(tensor):
            name = TENSOR_TYPES[tensor.type].name
            found[name] = found.get(name, 0) + tensor.elements
    total = max(1, sum(found.values()))
    return {name: count / total for name, count in sorted(found.items(), key=lambda item: -item[1])}


def is_layer(tensor: TensorInfo) -> bool:
    """Whether it is the weight of a linear of one of the layers."""
    return len(tensor.shape) == 2 and tensor.name.startswith("blk.")


class _Counted:
    """Bytes and weights of linears."""

    def __init__(self) -> None:
        self._layers = [0, 0]
        self._all = [0, 0]

    def add(self, module: str, size: int, weights: int) -> None:
        kinds = [self._all] if module.endswith(("embed_tokens", "lm_head")) else [self._all, self._layers]
        for kind in kinds:
            kind[0] += size
            kind[1] += weights

    def sizes(self, file_bytes: int) -> Sizes:
        layers, everything = (8 * size / max(1, weights) for size, weights in (self._layers, self._all))
        return Sizes(layers, everything, file_bytes)


def _check_room(header: GGUFHeader) -> None:
    """A GGUF file's weights become 2 bytes each, in memory.

    Raises:
        MemoryShortageError: that is more than there is.
    """
    needed = 2 * header.parameters + (512 << 20)  # a pass, its logits, the tokenizer
    available = int(psutil.virtual_memory().available)
    if needed > available:
        raise MemoryShortageError(
            f"There is not enough memory to run {header.path.name} as a reference.",
            why=f"With 16 bits for each weight it needs {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free.",
            remedy="Close other programs.",
        )


def no_numbers(path: Path) -> ModelError:
    """For a model whose logits are NaN or infinite."""
    return ModelError(
        f"{path.name} does not work: what it computes are no numbers.",
        why="Its file is damaged, or something went wrong when it was made.",
        remedy="Make it again.",
    )
