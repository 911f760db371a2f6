"""Writes a Hugging Face folder with AQLM weights that transformers loads with the `aqlm` package (hf_aqlm.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats import packing
from backend.formats.checkpoint import Floats
from backend.formats.packing import packer
from backend.formats.safetensors_writer import FolderWriter
from kernels.packed import PackedLinear

__all__ = ["as_half", "plain_config", "signed_codes", "write_hf_aqlm"]


def signed_codes(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Codes 0 .. 2^bits - 1 as they are stored: int8 or int16, less 2^bits from half on."""
    kind = np.int8 if bits <= 8 else np.int16
    wide = codes.astype(np.int32)
    return np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide).astype(kind)


def as_half(numbers: Floats) -> npt.NDArray[Any]:
    """float16, or float32 where a number is beyond its range."""
    fits = numbers.size == 0 or max(float(numbers.max()), -float(numbers.min())) <= 65504.0
    return numbers.astype(np.float16 if fits else np.float32)


def plain_config(config: Mapping[str, Any], modules: Iterable[str]) -> dict[str, Any]:
    """A config.json without an older quantization; float16; not tied where there is a head of its own."""
    found = {key: value for key, value in config.items() if key not in ("quantization_config", "dtype", "auto_map")}
    found["torch_dtype"] = "float16"
    if "lm_head" in modules:
        found["tie_word_embeddings"] = False
    return found


def write_hf_aqlm(
    folder: Path,
    config: Mapping[str, Any],
    modules: Iterable[tuple[str, PackedLinear]],
    arrays: Iterable[tuple[str, Floats]],
    tokenizer: Mapping[str, bytes],
    *,
    shard_bytes: int = 4 << 30,
) -> None:
    """Writes AQLM linears as they are and any other as f16.

    transformers has one number of codebooks, bits and group for the whole model, and gets the most frequent ones;
    a model that mixes them is read by us alone.

    Args:
        folder: does not exist, or is empty; it appears when everything is written.
        config: Hugging Face's keys.
        modules: name and weights, taken one after another.
        arrays: norms and the like.
        tokenizer: files by name.
        shard_bytes: most bytes of a file of weights.

    Raises:
        ModelError: the folder cannot be written.
    """
    shapes: Counter[tuple[int, int, int]] = Counter()
    plain: list[str] = []
    seen: list[str] = []
    with FolderWriter(folder, shard_bytes=shard_bytes) as writer:
        for module, packed in modules:
            seen.append(module)
            bias = packed.buffers.get("bias")
            if bias is not None:
                writer.add(f"{module}.bias", as_half(np.asarray(bias)[: packed.out_features]))
            if packed.scheme != "aqlm":
                plain += [module, f"{module}.weight"]
                writer.add(f"{module}.weight", as_half(packing.dequantize(packed)))
                continue
            codes, codebooks, scales = packer("aqlm").unpack(packed)
            count, size, group = codebooks.shape
            bits = size.bit_length() - 1
            shapes[count, bits, group] += 1
            writer.add(f"{module}.codes", signed_codes(codes, bits))
            writer.add(f"{module}.codebooks", codebooks.reshape(count, size, 1, group).astype(np.float16))
            writer.add(f"{module}.scales", scales.reshape(-1, 1, 1, 1).astype(np.float16))
        for name, numbers in arrays:
            plain.append(name)
            writer.add(name, as_half(numbers))
        found = plain_config(config, seen)
        if shapes:
            count, bits, group = shapes.most_common(1)[0][0]
            found["quantization_config"] = {
                "quant_method": "aqlm",
                "in_group_size": group,
                "out_group_size": 1,
                "num_codebooks": count,
                "nbits_per_codebook": bits,
                # upstream's names end in .weight; transformers from 5 on compares the names of modules
                "linear_weights_not_to_quantize": plain,
            }
        writer.finish(found, tokenizer)
