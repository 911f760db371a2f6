"""Hugging Face folders with AQLM weights; the shapes decide, the settings are a hint (hf_aqlm.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import damaged
from backend.formats.hf_folder import HfFolder
from backend.formats.numbers import check_finite
from backend.formats.packing import pack
from backend.formats.safetensors import Tensor, to_float32
from kernels.packed import PackedLinear

__all__ = ["HfAqlm", "aqlm_name", "aqlm_shape", "unsigned_codes"]

_CODE_TYPES = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", "I64"})
_MAX_BITS = 16
_GROUPS = (8, 16)
_F16_MAX = 65504.0


def aqlm_shape(codes: Tensor, codebooks: Tensor, scales: Tensor) -> tuple[int, int, int, int, int]:
    """(out, in, number of codebooks, bits of a code, inputs of a group), from the headers of a module's tensors.

    Raises:
        InvalidModelFileError: the three shapes contradict each other.
        UnsupportedModelError: sound, but not for our kernels.
    """
    where = f"{codes.name}: {codes.shape} {codebooks.shape} {scales.shape}"
    if len(codes.shape) != 3 or len(codebooks.shape) != 4 or scales.elements < 1 or scales.shape[0] != scales.elements:
        raise damaged("The shapes of a block of weights contradict each other.", where)
    count, size, out_group, group = codebooks.shape
    bits = size.bit_length() - 1
    if not count or size != 1 << bits or not 1 <= bits <= _MAX_BITS or not group or codes.shape[2] != count:
        raise damaged("The shapes of a block of weights contradict each other.", where)
    if out_group != 1 or group not in _GROUPS:
        raise UnsupportedModelError(
            "This model is in a variant of AQLM that cannot be opened here.",
            why=f"Its codes stand for {out_group} x {group} weights each; 1 x 8 and 1 x 16 are known.",
            remedy="Choose another build of this model.",
            details=where,
        )
    out = scales.elements
    if out not in codes.shape[:2]:
        raise damaged("The shapes of a block of weights contradict each other.", where)
    groups = codes.shape[1] if codes.shape[0] == out else codes.shape[0]
    if not groups:
        raise damaged("The shapes of a block of weights contradict each other.", where)
    return out, groups * group, count, bits, group


def aqlm_name(count: int, bits: int, group: int) -> str:
    """As people write it: "aqlm-2x8", "aqlm-1x16g16"."""
    return f"aqlm-{count}x{bits}" if group == 8 else f"aqlm-{count}x{bits}g{group}"


def unsigned_codes(codes: npt.NDArray[Any], bits: int, name: str) -> npt.NDArray[Any]:
    """Codes as 0 .. 2^bits - 1 in the smallest unsigned type; they are stored as that, or less 2^bits from half on.

    Raises:
        InvalidModelFileError: one that no such code is stored as.
    """
    small = np.uint8 if bits <= 8 else np.uint16
    if codes.dtype.itemsize * 8 == bits:  # every value is a code, and its bits are what we want
        same: npt.NDArray[Any] = codes.view(small)
        return same
    if codes.dtype.itemsize * 8 < bits:
        raise damaged(
            "The shapes of a block of weights contradict each other.", f"{name}: {codes.dtype} for {bits} bits"
        )
    if codes.size and not (int(codes.min()) >= -(1 << (bits - 1)) and int(codes.max()) < 1 << bits):
        raise damaged(
            "Some of its codes point behind their tables.", f"{name}: {codes.min()} .. {codes.max()}, {bits} bits"
        )
    unsigned: npt.NDArray[Any] = (codes & codes.dtype.type((1 << bits) - 1)).astype(small)
    return unsigned


class HfAqlm(HfFolder):
    """A folder whose linears are AQLM or plain, each by the tensors that it has."""

    def _packed_modules(self) -> dict[str, str]:
        return {name.removesuffix(".codes"): name for name in self._names if name.endswith(".codes")}

    def _shape(self, module: str) -> tuple[int, int, int, int, int]:
        names = [f"{module}.{part}" for part in ("codes", "codebooks", "scales")]
        return aqlm_shape(*(self._shards.info(self._names.get(name, name)) for name in names))

    def packed_shape(self, module: str) -> tuple[str, int, int]:
        """See HfFolder."""
        out, columns, count, bits, group = self._shape(module)
        return aqlm_name(count, bits, group), out, columns

    def _packed_linear(self, module: str) -> PackedLinear:
        names = [f"{module}.{part}" for part in ("codes", "codebooks", "scales")]
        out, _, _, bits, _ = self._shape(module)
        if self._info_dtype(names[0]) not in _CODE_TYPES:
            raise damaged("Its codes are not whole numbers.", f"{names[0]}: {self._info_dtype(names[0])}")
        codes = self._stored(names[0])
        if codes.shape[0] != out:  # saved after a pass of upstream's code for CPUs, which turns them round in place
            codes = codes.transpose(1, 0, 2)
        books, scales = (to_float32(self._stored(name), self._info_dtype(name)) for name in names[1:])
        bound = check_finite(books, "codebooks", module)
        check_finite(scales, "scales", module)
        if max(bound, float(np.abs(scales).max())) > _F16_MAX:
            raise damaged("Some of its scales are far too large.", module)
        parts = unsigned_codes(codes, bits, names[0]), books[:, :, 0, :], scales.reshape(-1)
        return pack("aqlm", module, *parts, bias=self._bias(module, out))
