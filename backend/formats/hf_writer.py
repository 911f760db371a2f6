"""A Hugging Face folder with linears of one compressed scheme: what the writers of AQLM and SpQR share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats import packing
from backend.formats.checkpoint import Floats
from backend.formats.safetensors_writer import FolderWriter
from kernels.packed import PackedLinear

__all__ = ["as_half", "plain_config", "write_folder"]

#: The tensors of a linear by the last part of their names.
Tensors = Mapping[str, npt.NDArray[Any]]


def as_half(numbers: Floats) -> npt.NDArray[Any]:
    """float16, or float32 where a number is beyond its range."""
    fits = numbers.size == 0 or max(float(numbers.max()), -float(numbers.min())) <= 65504.0
    return numbers.astype(np.float16 if fits else np.float32)


def plain_config(config: Mapping[str, Any], modules: Iterable[str]) -> dict[str, Any]:
    """A config.json without an older quantization; float16; tied where there is no head of its own, and only there."""
    found = {key: value for key, value in config.items() if key not in ("quantization_config", "dtype", "auto_map")}
    found["torch_dtype"] = "float16"
    found["tie_word_embeddings"] = "lm_head" not in modules
    return found


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    modules: Iterable[tuple[str, PackedLinear]],
    arrays: Iterable[tuple[str, Floats]],
    tokenizer: Mapping[str, bytes],
    *,
    scheme: str,
    tensors_of: Callable[[str, PackedLinear], Tensors],
    quantization: Callable[[list[str]], dict[str, Any] | None],
    shard_bytes: int,
) -> None:
    """Writes the linears of `scheme` as `tensors_of` says, and any other as f16.

    Args:
        folder: does not exist, or is empty; it appears when everything is written.
        config: Hugging Face's keys.
        modules: name and weights, taken one after another.
        arrays: norms and the like.
        tokenizer: files by name.
        scheme: of the kernels.
        tensors_of: the tensors of a linear, given its name.
        quantization: `quantization_config`, given what was not compressed (modules, and names of parameters); asked
            when all is written. None: nothing was compressed.
        shard_bytes: most bytes of a file of weights.

    Raises:
        ModelError: the folder cannot be written.
    """
    plain: list[str] = []
    seen: list[str] = []
    with FolderWriter(folder, shard_bytes=shard_bytes) as writer:
        for module, packed in modules:
            seen.append(module)
            bias = packed.buffers.get("bias")
            if bias is not None:
                writer.add(f"{module}.bias", as_half(np.asarray(bias)[: packed.out_features]))
            if packed.scheme == scheme:
                for part, tensor in tensors_of(module, packed).items():
                    writer.add(f"{module}.{part}", tensor)
            else:
                plain += [module, f"{module}.weight"]
                writer.add(f"{module}.weight", as_half(packing.dequantize(packed)))
        for name, numbers in arrays:
            plain.append(name)
            writer.add(name, as_half(numbers))
        if "lm_head" not in seen:  # it is the embedding's table; transformers would replace it all the same
            plain += ["lm_head", "lm_head.weight"]
        found = plain_config(config, seen)
        settings = quantization(plain)
        if settings is not None:
            found["quantization_config"] = settings
        writer.finish(found, tokenizer)
