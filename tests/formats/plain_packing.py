"""Stand-ins for kernels.packing that keep what they are given: the readers are tested without the kernels' layouts."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.formats import packing
from kernels.packed import PackedLinear

Array = npt.NDArray[Any]


@dataclass
class SpqrParts:
    bits: int
    codes: Array
    scale_codes: Array
    zero_codes: Array
    statistics: Array
    outlier_rows: Array
    outlier_cols: Array
    outlier_vals: Array
    perm: Array | None


def _with_bias(buffers: dict[str, Any], bias: Array | None) -> dict[str, Any]:
    return buffers if bias is None else buffers | {"bias": bias}


def _dense(weight: Array, scheme: str, *, bias: Array | None = None) -> PackedLinear:
    assert weight.dtype in (np.float32, np.float16)
    kind = {"f32": np.float32, "f16": np.float16, "bf16": np.float32}[scheme]
    return PackedLinear(scheme, *weight.shape, buffers=_with_bias({"data": weight.astype(kind)}, bias))


def _aqlm(codes: Array, codebooks: Array, scales: Array, *, bias: Array | None = None) -> PackedLinear:
    assert codes.dtype.kind == "u"
    assert codebooks.ndim == 3
    assert scales.shape == codes.shape[:1]
    count, size, group = codebooks.shape
    parameters = {"num_codebooks": count, "nbits_per_codebook": size.bit_length() - 1, "in_group_size": group}
    buffers = {"codes": codes, "codebooks": codebooks, "scales": scales}
    return PackedLinear("aqlm", len(codes), codes.shape[1] * group, parameters, _with_bias(buffers, bias))


def _spqr(parts: SpqrParts, *, bias: Array | None = None) -> PackedLinear:
    return PackedLinear("spqr", *parts.codes.shape, {"bits": parts.bits}, _with_bias({"parts": parts}, bias))


def _dequantize(packed: PackedLinear) -> Array:
    if packed.scheme != "aqlm":
        return packed.buffers["data"].astype(np.float32)
    books = packed.buffers["codebooks"].astype(np.float32)
    vectors = sum(books[k][packed.buffers["codes"][:, :, k]] for k in range(len(books)))
    return vectors.reshape(packed.out_features, -1) * packed.buffers["scales"].astype(np.float32)[:, None]


_MODULES = {
    "dense": SimpleNamespace(pack=_dense),
    "aqlm": SimpleNamespace(
        pack=_aqlm, unpack=lambda packed: tuple(packed.buffers[name] for name in ("codes", "codebooks", "scales"))
    ),
    "spqr": SimpleNamespace(SpqrParts=SpqrParts, pack=_spqr, unpack=lambda packed: packed.buffers["parts"]),
}


def use_plain_packing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(packing, "_module", _MODULES.__getitem__)
    patch.setattr(packing, "dequantize", _dequantize)
