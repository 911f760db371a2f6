"""Writes a Hugging Face folder with AQLM weights that transformers loads with the `aqlm` package (hf_aqlm.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats.checkpoint import Floats
from backend.formats.hf_writer import write_folder
from backend.formats.packing import packer
from kernels.packed import PackedLinear

__all__ = ["signed_codes", "write_hf_aqlm"]


def signed_codes(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Codes 0 .. 2^bits - 1 as they are stored: int8 or int16, less 2^bits from half on."""
    kind = np.int8 if bits <= 8 else np.int16
    wide = codes.astype(np.int32)
    return np.where(wide >= 1 << (bits - 1), wide - (1 << bits), wide).astype(kind)


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

    Arguments as `hf_writer.write_folder`.

    Raises:
        ModelError: the folder cannot be written.
    """
    shapes: Counter[tuple[int, int, int]] = Counter()

    def tensors_of(_: str, packed: PackedLinear) -> dict[str, npt.NDArray[Any]]:
        codes, codebooks, scales = packer("aqlm").unpack(packed)
        count, size, group = codebooks.shape
        bits = size.bit_length() - 1
        shapes[count, bits, group] += 1
        return {
            "codes": signed_codes(codes, bits),
            "codebooks": codebooks.reshape(count, size, 1, group).astype(np.float16),
            "scales": scales.reshape(-1, 1, 1, 1).astype(np.float16),
        }

    def quantization(plain: list[str]) -> dict[str, Any] | None:
        if not shapes:
            return None
        count, bits, group = shapes.most_common(1)[0][0]
        return {
            "quant_method": "aqlm",
            "in_group_size": group,
            "out_group_size": 1,
            "num_codebooks": count,
            "nbits_per_codebook": bits,
            # upstream's names end in .weight; transformers from 5 on compares the names of modules
            "linear_weights_not_to_quantize": plain,
        }

    write_folder(
        folder,
        config,
        modules,
        arrays,
        tokenizer,
        scheme="aqlm",
        tensors_of=tensors_of,
        quantization=quantization,
        shard_bytes=shard_bytes,
    )
