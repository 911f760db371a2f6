"""Packed linears as torch tensors that gradients reach: codebooks, scales and statistics move, codes stay.

    AQLM   W[o] = scales[o] * sum_k codebooks[k, codes[o, j, k]]                 codebooks, scales
    SpQR   w = ss (cs - zs) * (q - sz (cz - zz)), outliers added                  ss, sz, zs, zz, outlier values
    other  as they are

`packed()` rounds the parameters to half precision, as the file has them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from kernels.packed import PackedLinear
from kernels.packing import aqlm, spqr
from kernels.reference import dequantize

__all__ = ["AqlmWeight", "FixedWeight", "SpqrWeight", "TunableWeight", "tunable"]

Tensor = torch.Tensor


class TunableWeight(Protocol):
    """A linear whose continuous numbers can be trained."""

    def parameters(self) -> list[Tensor]:
        """float32 leaves that require a gradient."""
        ...

    def dense(self) -> Tensor:
        """(out, in) float32; gradients reach `parameters`."""
        ...

    def packed(self) -> PackedLinear:
        """The linear with the parameters as they are now, rounded to what the file holds."""
        ...


def tunable(packed: PackedLinear) -> TunableWeight:
    """The trainable form of a linear."""
    if packed.scheme == "aqlm":
        return AqlmWeight(packed)
    if packed.scheme == "spqr":
        return SpqrWeight(packed)
    return FixedWeight(packed)


class FixedWeight:
    """Anything else: constant."""

    def __init__(self, packed: PackedLinear) -> None:
        self._packed = packed
        self._dense: Tensor | None = None

    def parameters(self) -> list[Tensor]:
        """None."""
        return []

    def dense(self) -> Tensor:
        """See TunableWeight."""
        if self._dense is None:
            self._dense = torch.from_numpy(dequantize(self._packed))
        return self._dense

    def packed(self) -> PackedLinear:
        """What was given."""
        return self._packed


class AqlmWeight:
    """See the module.

    Attributes:
        codes: (K, out * in / g) uint8, or int32 for more than 8 bits.
        codebooks: (K, 2^bits, g) float32.
        scales: (out,) float32.
    """

    def __init__(self, packed: PackedLinear) -> None:
        codes, books, scales = aqlm.unpack(packed)
        self._source = packed
        self.out, self.groups, count = codes.shape
        flat = np.ascontiguousarray(codes.reshape(-1, count).T)
        self.codes = torch.from_numpy(flat if flat.dtype == np.uint8 else flat.astype(np.int32))
        self.codebooks = torch.from_numpy(books.astype(np.float32)).requires_grad_()
        self.scales = torch.from_numpy(scales.astype(np.float32)).requires_grad_()

    def parameters(self) -> list[Tensor]:
        """See TunableWeight."""
        return [self.codebooks, self.scales]

    def dense(self) -> Tensor:
        """See TunableWeight."""
        weight = self.sums(self.codes).view(self.out, -1) * self.scales[:, None]
        return weight[:, : self._source.in_features]

    def sums(self, codes: Tensor) -> Tensor:
        """(n, g): what codes (K, n) decode to, before the scale."""
        total: Tensor = _Decode.apply(self.codebooks, codes)  # type: ignore[no-untyped-call]
        return total

    def decoded(self, groups: Tensor) -> Tensor:
        """(n, g): groups by their number, before the scale."""
        return self.sums(self.codes[:, groups])

    def packed(self) -> PackedLinear:
        """See TunableWeight."""
        codes = self.codes.T.reshape(self.out, self.groups, -1).numpy()
        if codes.dtype != np.uint8:
            codes = codes.astype(np.uint16)
        return aqlm.pack(
            codes,
            self.codebooks.detach().numpy(),
            self.scales.detach().numpy(),
            bias=self._source.buffers.get("bias"),
            in_features=self._source.in_features,
        )


class _Decode(torch.autograd.Function):
    """(K, entries, g) codebooks and (K, n) codes -> (n, g) sums.

    Both ways are sums over bags: forwards the K codewords of a group (2 ms for 0.5 M groups of two, where taking and
    adding them one after the other needs 9), backwards the gradients of all groups that chose a codeword, which lie
    together once the codes are sorted (5 ms, where `bincount` column by column needs 10 and `index_add` 24). A bag is
    summed in the order of the groups by one thread, so that the result does not depend on the threads.
    """

    @staticmethod
    def forward(ctx: Any, codebooks: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        count, entries, group = ctx.shape = codebooks.shape
        if not codes.shape[1]:
            return codebooks.new_zeros(0, group)
        rows = codes.T.int() + torch.arange(0, count * entries, entries, dtype=torch.int32)
        return functional.embedding_bag(rows, codebooks.reshape(-1, group), mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        entries = ctx.shape[1]
        gradient = grads[0].contiguous()
        result = torch.zeros(ctx.shape)
        for of_book, some in zip(result, codes, strict=True):
            order = some.argsort(stable=True).int()
            counts = torch.bincount(some.int(), minlength=entries)
            starts = (counts.cumsum(0) - counts).int()
            of_book.copy_(functional.embedding_bag(order, gradient, starts, mode="sum"))
        return result, None


class SpqrWeight:
    """See the module.

    Attributes:
        statistics: ss, sz, zs and zz, each (out tiles, in tiles) float32.
        outliers: (n,) float32.
    """

    def __init__(self, packed: PackedLinear) -> None:
        parts = spqr.unpack(packed)
        self._source, self._parts = packed, parts
        self._q = torch.from_numpy(parts.codes)
        self._cs = torch.from_numpy(parts.scale_codes.astype(np.float32))
        self._cz = torch.from_numpy(parts.zero_codes.astype(np.float32))
        counts = np.diff(parts.outlier_rows)
        rows = np.repeat(np.arange(len(counts)), counts)
        self._where = torch.from_numpy(rows * packed.in_features + parts.outlier_cols.astype(np.int64))
        # where each input's column lies
        self._order = None if parts.perm is None else torch.from_numpy(np.argsort(parts.perm.astype(np.int64)))
        # four tensors, not one: their sizes differ by a factor of a hundred, and so must their steps
        self.statistics = [
            torch.from_numpy(np.ascontiguousarray(parts.statistics[..., i], np.float32)).requires_grad_()
            for i in range(4)
        ]
        self.outliers = torch.from_numpy(parts.outlier_vals.astype(np.float32)).requires_grad_()

    def parameters(self) -> list[Tensor]:
        """See TunableWeight."""
        return [*self.statistics, self.outliers] if len(self.outliers) else self.statistics

    def dense(self) -> Tensor:
        """See TunableWeight."""
        out, width = self._q.shape
        ss, sz, zs, zz = (one.repeat_interleave(spqr.TILE, 0)[:out] for one in self.statistics)
        scales = ss * (self._cs - zs)
        zeros = sz * (self._cz - zz)
        spread, shift = (x.repeat_interleave(spqr.TILE, 1)[:, :width] for x in (scales, zeros))
        weight: Tensor = (spread * (self._q.float() - shift)).reshape(-1)
        weight = weight.index_add(0, self._where, self.outliers).view(out, width)
        return weight if self._order is None else weight[:, self._order]

    def packed(self) -> PackedLinear:
        """See TunableWeight."""
        statistics = torch.stack([one.detach() for one in self.statistics], -1).numpy().astype(np.float16)
        values = self.outliers.detach().numpy().astype(np.float16)
        parts = replace(self._parts, statistics=statistics, outlier_vals=values)
        return spqr.pack(parts, bias=self._source.buffers.get("bias"))
