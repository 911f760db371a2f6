"""What a forward pass does, recorded once and run by any of three executors.

An architecture (`backend/architectures`) writes its forward pass against `Program`: every call appends a step and
returns a `Value`, the name of an activation of `width` numbers per row (token). Nothing is computed then. `kernels.cpu`
turns the steps into one native call per forward, so that Python costs no time per layer; `kernels.reference` computes
them in NumPy, slowly and obviously; `kernels.cuda` with torch and Triton. All three are `Executor`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Value:
    """An activation: (rows, width) float32."""

    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Embed:
    """Row `token` of the table for each token, times `scale`."""

    table: PackedLinear
    out: Value
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """x / sqrt(mean(x^2) + eps) * weight over each run of len(weight) numbers (a whole row, or each head)."""

    x: Value
    weight: Floats
    eps: float
    out: Value


@dataclass(frozen=True, slots=True)
class Linears:
    """One or several linears of the same input; `outs[i] = x @ weights[i].T + bias`."""

    x: Value
    weights: tuple[PackedLinear, ...]
    outs: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class LinearAdd:
    """residual += x @ weight.T + bias, in place."""

    x: Value
    weight: PackedLinear
    residual: Value


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotates the two halves of the first 2 * len(inverse_frequencies) numbers of each head, in place (HF order).

    angle = position * inverse_frequencies; cos and sin are multiplied by `attention_factor` (yarn).
    """

    x: Value
    head_dim: int
    inverse_frequencies: Floats
    attention_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Attention:
    """Stores k and v of the rows in the cache of `layer`, then softmax(q k^T * scale) v under the tree mask.

    Query head h reads key-value head h // (q_heads / kv_heads). `window`: only the last `window` positions are seen (0:
    all of them).
    """

    layer: int
    q: Value
    k: Value
    v: Value
    head_dim: int
    scale: float
    out: Value
    window: int = 0


@dataclass(frozen=True, slots=True)
class SwiGlu:
    """silu(gate) * up."""

    gate: Value
    up: Value
    out: Value


@dataclass(frozen=True, slots=True)
class Add:
    """x += y, in place."""

    x: Value
    y: Value


@dataclass(frozen=True, slots=True)
class Output:
    """The end: `final` (all rows: the hidden states), and logits = head of the wanted rows only."""

    final: Value
    head: PackedLinear


Step = Embed | RmsNorm | Linears | LinearAdd | Rope | Attention | SwiGlu | Add | Output


def linears(step: Step) -> tuple[PackedLinear, ...]:
    """The weights that a step reads."""
    match step:
        case Embed(table=table):
            return (table,)
        case Linears(weights=weights):
            return weights
        case LinearAdd(weight=weight):
            return (weight,)
        case Output(head=head):
            return (head,)
    return ()


@dataclass(slots=True)
class Program:
    """The recorded steps of one forward pass."""

    steps: list[Step] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)

    def _value(self, width: int) -> Value:
        self.widths.append(width)
        return Value(len(self.widths) - 1, width)

    def embed(self, table: PackedLinear, scale: float = 1.0) -> Value:
        """See Embed."""
        out = self._value(table.in_features)
        self.steps.append(Embed(table, out, scale))
        return out

    def rms_norm(self, x: Value, weight: Floats, eps: float) -> Value:
        """See RmsNorm."""
        out = self._value(x.width)
        self.steps.append(RmsNorm(x, weight, eps, out))
        return out

    def linears(self, x: Value, *weights: PackedLinear) -> tuple[Value, ...]:
        """See Linears."""
        outs = tuple(self._value(weight.out_features) for weight in weights)
        self.steps.append(Linears(x, weights, outs))
        return outs

    def linear_add(self, x: Value, weight: PackedLinear, residual: Value) -> None:
        """See LinearAdd."""
        self.steps.append(LinearAdd(x, weight, residual))

    def rope(self, x: Value, head_dim: int, inverse_frequencies: Floats, attention_factor: float = 1.0) -> None:
        """See Rope."""
        self.steps.append(Rope(x, head_dim, inverse_frequencies, attention_factor))

    def attention(
        self, layer: int, q: Value, k: Value, v: Value, head_dim: int, scale: float, window: int = 0
    ) -> Value:
        """See Attention."""
        out = self._value(q.width)
        self.steps.append(Attention(layer, q, k, v, head_dim, scale, out, window))
        return out

    def swiglu(self, gate: Value, up: Value) -> Value:
        """See SwiGlu."""
        out = self._value(gate.width)
        self.steps.append(SwiGlu(gate, up, out))
        return out

    def add(self, x: Value, y: Value) -> None:
        """See Add."""
        self.steps.append(Add(x, y))

    def output(self, final: Value, head: PackedLinear) -> None:
        """See Output."""
        self.steps.append(Output(final, head))

    def check(self) -> None:
        """Refuses a program that would read what nothing wrote: natively that is memory which is not there.

        Raises:
            ValueError: which step reads it.
        """
        written: set[int] = set()
        for step in self.steps:
            values = {f.name: getattr(step, f.name) for f in fields(step)}
            for name, value in values.items():
                if isinstance(value, Value) and name != "out" and value.index not in written:
                    raise ValueError(f"{type(step).__name__} reads a value that no step before it wrote")
            outs = values.get("outs") or ((values["out"],) if "out" in values else ())
            written.update(out.index for out in outs)


class Executor(Protocol):
    """A program with its KV cache. One thread at a time; `abort` may come from any."""

    @property
    def length(self) -> int:
        """Committed tokens in the cache."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Bytes of the whole cache."""
        ...

    def forward(self, tokens: Sequence[int], parents: Sequence[int], wanted: Sequence[int]) -> Floats:
        """Appends provisional nodes (parents before children, -1: the last committed token) behind `length`.

        Returns:
            (len(wanted), n_vocab) float32 logits, valid until the next call.

        Raises:
            ValueError: more nodes than the cache or a batch has room for.
            InterruptedError: `abort(True)` was called; nothing was appended.
        """
        ...

    def hidden(self) -> Floats:
        """(nodes of the last forward, width) float32: what Output calls `final`."""
        ...

    def commit(self, path: Sequence[int]) -> None:
        """Keeps these provisional nodes, root first, and drops the others."""
        ...

    def rewind(self, length: int) -> None:
        """Forgets committed tokens past `length`, and all provisional nodes."""
        ...

    def abort(self, flag: bool) -> None:
        """Makes a running forward give up (True), or clears that (False)."""
        ...
