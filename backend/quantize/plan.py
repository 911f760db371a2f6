"""What a compression will take: bytes by arithmetic, seconds by measured rates that the work itself corrects.

A plan is a list of pieces with a first guess of their seconds. A finished piece corrects the guesses of its kin: those
of the same kind exactly (every block has the same shapes), else those of the same family, else all. So after the first
block nearly everything has been measured once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.architectures import CommonArgs
from backend.quantize.levels import level_for, level_recipe
from backend.quantize.options import Options
from backend.quantize.recipes import expected_bytes, recipe_named
from backend.quantize.tuning.amounts import BLOCK_EPOCHS, LESSONS, WHOLE_CHECKED

__all__ = [
    "SEVEN_B",
    "Estimate",
    "LevelEstimate",
    "Piece",
    "Plan",
    "Sizes",
    "flops_per_second",
    "level_bytes",
    "memory_of",
    "pieces_of",
    "sizes_of",
    "table_bytes",
]

#: Seconds for a million weights on one core of 100 GFLOP/s, the share of a pass over the columns that grows with the
#: inputs apart, and how much longer the first linear of a width takes (AQLM's codebooks start cold).
#: Guesses until the first linear is done, from 1536- and 8960-wide ones; narrow ones are dearer.
_RATES = {
    "aqlm-1x8": (0.20, 2.3),
    "aqlm-2x8": (0.28, 2.3),
    "aqlm-3x8": (0.36, 2.3),
    "aqlm-4x8": (0.50, 2.3),
    "spqr-3": (0.22, 1.0),
    "spqr-4": (0.22, 1.0),
    "q8": (0.03, 1.0),
    "q4": (0.10, 1.0),
    "f16": (0.01, 1.0),
    "bf16": (0.01, 1.0),
    "f32": (0.01, 1.0),
}
_CORE = 100e9
#: of the matrix product's speed that a whole forward reaches
_FORWARD = 0.6
#: bytes a second that reading, checking and writing weights make, once each
_COPY = 4e8
#: Chunks of original outputs that are carried along for the last check, as a share of the calibration's.
_VALIDATION = 0.125
#: speed of torch's large products over NumPy's small ones: 180 GFLOP/s and 99 on one Zen 5 core
_LARGE = 1.8
#: of a slider: tokens that sensitivities are measured on, and positions that are measured (slider/)
_SENSITIVITY_TOKENS, _SLIDER_POSITIONS = 512, 9
#: torch and the program themselves; SmolLM2 at SpQR-4 held 671 MB, with 20 MB less here that would be all but 8 MB
_BASE = 470 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model's shape.

    Attributes:
        groups: of each block: inputs, and the outputs of the linears that read them, in order.
        n_layers: blocks.
        hidden: width between them. vocab: rows of the tables. heads, head_dim: of attention.
        tied: one table for both ends.
    """

    groups: tuple[tuple[int, tuple[int, ...]], ...]
    n_layers: int
    hidden: int
    vocab: int
    attention: int
    tied: bool

    @property
    def block_weights(self) -> int:
        """Of the linears of one block."""
        return sum(inputs * sum(outs) for inputs, outs in self.groups)


#: Qwen2.5-7B, for the projection
SEVEN_B = Sizes(
    ((3584, (3584, 512, 512)), (3584, (3584,)), (3584, (18944, 18944)), (18944, (3584,))), 28, 3584, 152064, 3584, False
)


def sizes_of(args: CommonArgs, *, tied: bool) -> Sizes:
    """The shape that a config says.

    Args:
        args: the config.
        tied: whether one table is stored for both ends, whatever the config says.
    """
    hidden, inner = args.hidden_size, args.intermediate_size
    groups = (
        (hidden, (args.q_width, args.kv_width, args.kv_width)),
        (args.q_width, (hidden,)),
        (hidden, (inner, inner)),
        (inner, (hidden,)),
    )
    return Sizes(groups, args.n_layers, hidden, args.vocab_size, args.q_width, tied)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work.

    Attributes:
        key: one of a kind.
        kind: pieces of one kind take equally long for equal `seconds`. family: what kinds have in common.
        seconds: a first guess.
        weights: that it works on, 0 where a rate makes no sense.
    """

    key: str
    kind: str
    family: str
    seconds: float
    weights: int = 0


def pieces_of(
    sizes: Sizes, options: Options, *, head: str, embedding: str, flops: float, weight_bits: float = 16
) -> list[Piece]:
    """Everything that `compress` does, in its order.

    Args:
        sizes: the model.
        options: of the run.
        head: how the output layer is stored.
        embedding: how the table of tokens is.
        flops: a second, of all threads together, in float32.
        weight_bits: of the source.
    """
    tokens = options.tokens
    sequential = len(options.levels) == 1
    weights = sizes.block_weights * sizes.n_layers + sizes.vocab * sizes.hidden * (1 if sizes.tied else 2)
    found = [
        Piece("check", "check", "copy", weights * weight_bits / 8 / _COPY + 1),
        Piece("calibrate", "calibrate", "text", 5.0),
    ]
    speed = flops / _CORE
    for name, level in (("embed_tokens", embedding), ("lm_head", head)):
        if name == "embed_tokens" or not sizes.tied or head != embedding:
            count = sizes.vocab * sizes.hidden
            found.append(Piece(name, f"{level}/table", "table", count / 1e6 * _RATES[level][0] / speed, count))
    forward = 2 * sizes.block_weights + 2 * sizes.attention * options.sequence
    # With one level: the source and the build, each once more up to each of its inputs (.3; the build's to the last
    # one, 1 more), and what is missed times what is read.
    passes = 2 * (1 + _VALIDATION) + 2 * 0.3 + 1 + 0.45 if sequential else 1 + _VALIDATION
    squares = sum(2 * inputs * inputs for inputs, _ in sizes.groups)
    collect = tokens * (forward * passes + squares) / (flops * _FORWARD) + sizes.block_weights * 4 / _COPY
    seen: set[tuple[int, str]] = set()
    for layer in range(sizes.n_layers):
        found.append(Piece(f"{layer}/forward", "forward", "forward", collect))
        number = 0
        for inputs, outs in sizes.groups:
            for out in outs:
                levels = dict.fromkeys(level_for(level, inputs) for level in options.levels)
                found += [_linear(layer, number, level, out, inputs, seen, flops) for level in levels]
                number += 1
        if options.tuning != "none":
            # epochs of a forward and, twice as dear, a backward of every text
            tune = BLOCK_EPOCHS * 3 * tokens * forward / (flops * _FORWARD)
            found.append(Piece(f"{layer}/tune", "tune", "forward", tune))
    if options.tuning in ("p", "pv"):
        # forward twice and backward, and the head of source and build; what moves codes is a third on top
        head_flops = 3 * 2 * sizes.vocab * sizes.hidden
        step = options.sequence * (4 * forward * sizes.n_layers + head_flops) / (flops * _FORWARD)
        texts = LESSONS * tokens // options.sequence
        read = (texts + WHOLE_CHECKED) * options.sequence * forward * sizes.n_layers / (flops * _FORWARD)
        found.append(Piece("whole/source", "source", "forward", read))
        step *= 1.3 if options.tuning == "pv" else 1.0
        found += [Piece(f"whole/{number + 1}", "step", "step", step) for number in range(texts)]
    stored = sum(level_bytes(sizes, level) for level in options.levels)
    few, measured = min(_VALIDATION * tokens, 2048), 2
    if not sequential:
        found += _sensitivities(sizes, forward, flops)
        measured += _SLIDER_POSITIONS
    found.append(Piece("write", "write", "write", 2 * stored / _COPY + 0.5))
    found.append(Piece("measure", "measure", "measure", few * 2 * weights / (flops * _FORWARD) * measured + 1))
    return found


def _sensitivities(sizes: Sizes, forward: float, flops: float) -> list[Piece]:
    """A block is walked through once for each linear up to its end, and twice more; then the head for each of all."""
    linears = sum(len(outs) for _, outs in sizes.groups)
    passes = [_SENSITIVITY_TOKENS * (linears * (layer + 1) + 2) for layer in range(sizes.n_layers)]
    speed = flops * _FORWARD
    pieces = [Piece(f"sensitivity/{i}", "sensitivity", "forward", n * forward / speed) for i, n in enumerate(passes)]
    tokens = _SENSITIVITY_TOKENS / 4 * linears * sizes.n_layers
    head = 2 * 2 * sizes.vocab * sizes.hidden * tokens / speed
    return [*pieces, Piece(f"sensitivity/{sizes.n_layers}", "sensitivity head", "forward", head)]


def _linear(
    layer: int, number: int, level: str, out: int, inputs: int, seen: set[tuple[int, str]], flops: float
) -> Piece:
    rate, cold = _RATES[level]
    first = (inputs, level) not in seen
    seen.add((inputs, level))
    million = out * inputs / 1e6
    seconds = million * rate * _CORE / flops + out * inputs * inputs / flops + 2 * inputs**3 / 3 / flops
    if first and cold > 1:
        return Piece(f"{layer}/{number}/{level}", f"{level} cold", f"{level} cold", seconds * cold, out * inputs)
    return Piece(f"{layer}/{number}/{level}", f"{level} {out}x{inputs}", level, seconds, out * inputs)


def level_bytes(sizes: Sizes, level: str) -> int:
    """Of all linears of the blocks at a level, rather too much than too little."""
    return sizes.n_layers * sum(
        expected_bytes(level_recipe(level_for(level, inputs)), out, inputs)
        for inputs, outs in sizes.groups
        for out in outs
    )


def table_bytes(sizes: Sizes, head: str, embedding: str) -> int:
    """Of the embedding and, where it is another, the head."""
    schemes = [embedding] if sizes.tied and head == embedding else [embedding, head]
    return sum(expected_bytes(recipe_named(scheme, tuple(_RATES)), sizes.vocab, sizes.hidden) for scheme in schemes)


@dataclass
class _Seen:
    """Predicted and measured seconds of finished pieces."""

    predicted: float = 0.0
    measured: float = 0.0


@dataclass
class Plan:
    """The pieces that are left, and what the finished ones taught.

    Attributes:
        pieces: by key, in order.
        spent: seconds of this run's pieces.
        before: seconds that those would have taken that an earlier run has done.
    """

    pieces: Mapping[str, Piece]
    _left: dict[str, Piece] = field(init=False)
    _kinds: dict[str, _Seen] = field(default_factory=dict)
    _families: dict[str, _Seen] = field(default_factory=dict)
    _all: _Seen = field(default_factory=_Seen)
    spent: float = 0.0
    before: float = 0.0

    def __post_init__(self) -> None:
        self._left = dict(self.pieces)

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Plan:
        """A plan of these pieces."""
        return cls({piece.key: piece for piece in pieces})

    def finish(self, key: str, seconds: float) -> None:
        """A piece is done.

        Args:
            key: of it; one that is unknown or done already changes nothing.
            seconds: it took; 0: it was done in an earlier run or another way, and nothing is learned.
        """
        piece = self._left.pop(key, None)
        if piece is None:
            return
        self.spent += seconds
        if seconds == 0:
            self.before += self.predicted(piece)
        if seconds > 0 and piece.seconds > 0:
            seen = self._kinds.setdefault(piece.kind, _Seen()), self._families.setdefault(piece.family, _Seen())
            for one in (*seen, self._all):
                one.predicted += piece.seconds
                one.measured += seconds

    def predicted(self, piece: Piece) -> float:
        """Seconds for a piece by what is known now."""
        return piece.seconds * self._ratio(piece)

    def _ratio(self, piece: Piece) -> float:
        for seen in (self._kinds.get(piece.kind), self._families.get(piece.family)):
            if seen is not None:
                return seen.measured / seen.predicted
        # the whole machine may be slower than the guesses, by how much the big pieces say
        return min(max(self._all.measured / self._all.predicted, 0.2), 5.0) if self._all.predicted > 1 else 1.0

    def rates(self) -> dict[str, dict[str, list[float]]]:
        """What was learned, for a run that goes on; in JSON's types."""
        parts = {"kinds": self._kinds, "families": self._families, "all": {"": self._all}}
        return {part: {key: [one.predicted, one.measured] for key, one in seen.items()} for part, seen in parts.items()}

    def learn(self, rates: Any) -> None:
        """Takes what `rates` gave. Guesses must be those of a plan with the same flops."""
        try:
            self._kinds |= {key: _Seen(*map(float, pair)) for key, pair in rates["kinds"].items()}
            self._families |= {key: _Seen(*map(float, pair)) for key, pair in rates["families"].items()}
            self._all = _Seen(*map(float, rates["all"][""]))
        except (AttributeError, KeyError, TypeError, ValueError):  # of an older program: guesses will do
            return

    @property
    def left(self) -> float:
        """Seconds of all that is not done."""
        return sum(self.predicted(piece) for piece in self._left.values())

    @property
    def total(self) -> float:
        """Seconds of this run: what was spent, and what is left."""
        return self.spent + self.left

    def on_another_machine(self, pieces: Sequence[Piece], speed: float) -> float:
        """Seconds for other pieces, by what was learned here.

        Args:
            pieces: of another model, made for the same threads and flops as this plan's.
            speed: how many times as fast the other machine is.
        """
        return sum(self.predicted(piece) for piece in pieces) / speed

    def __iter__(self) -> Iterator[Piece]:
        """What is left."""
        return iter(self._left.values())


@dataclass(frozen=True, slots=True)
class LevelEstimate:
    """A build of one level: bytes of the file, bits per weight of its layers."""

    level: str
    bytes: int
    bits: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a compression will take, before it begins.

    Attributes:
        levels: builds of each level.
        bytes: of the build that is written.
        memory: bytes held at the peak. budget: that may be.
        disk: bytes that must be free, the build itself included. disk_free: that are.
        seconds: about; within a quarter only after the first block.
        seconds_7b: of a model of 7 billion weights at these levels, on 8 cores like these.
        threads: that compute.
        instead: what would fit in memory with less tuning, as a sentence behind another, or "".
    """

    levels: tuple[LevelEstimate, ...]
    bytes: int
    memory: int
    budget: int
    disk: int
    disk_free: int
    seconds: float
    seconds_7b: float
    threads: int
    instead: str = ""


def memory_of(sizes: Sizes, options: Options, *, table: int, batch: int, lean: bool = False) -> int:
    """Bytes at the peak: a block, its Hessians, and the largest of what is done with them.

    Args:
        sizes: the model.
        options: of the run.
        table: bytes of the largest table as its source gives it.
        batch: tokens of one piece of a forward.
        lean: a block's weights are read again for each of its inputs, instead of being held meanwhile.
    """
    one = 4 * sizes.block_weights
    sequential = len(options.levels) == 1
    squares = sum(4 * inputs * inputs for inputs, _ in sizes.groups)
    inner = max(max(outs) for _, outs in sizes.groups)
    # as they are, as they are stored, and the pages of the file that they are read from
    block = one * (2 if sequential else 1) + (0 if lean else one // 2)
    forward = 4 * batch * (6 * sizes.hidden + 3 * inner + 4 * sizes.attention)
    peaks = []
    for inputs, outs in sizes.groups:
        square, own = 4 * inputs * inputs, 4 * inputs * sum(outs)
        hessians = square if sequential else squares  # the factor is one more, and what it is made with
        missed = 2 * own if sequential else 0
        held = own if lean else block
        peaks.append(held + missed + hessians + int(1.3 * square) + 20 * inputs * max(outs))
        peaks.append(block + missed + hessians + 4 * 2048 * 2 * inputs + forward)
    tables = table + 6 * 4 * (1 << 22) + 4 * 256 * sizes.vocab
    if options.tuning != "none":
        peaks.append(block + _tuning_bytes(sizes, options))
    if options.tuning in ("p", "pv"):  # both heads, the build with two moments of what moves, and every block's inputs
        more = 2 * 4 * sizes.vocab * sizes.hidden + 3 * level_bytes(sizes, options.levels[0])
        more += 4 * 4 * options.sequence * sizes.hidden * sizes.n_layers + 2 * one
        more += 2 * sizes.block_weights * sizes.n_layers if options.tuning == "pv" else 0  # what pulls at the codes
        tables += int(1.1 * more)  # 0.85 was held in a whole run of 0.5B (3.24 GB), with holes given back
    return _BASE + max(*peaks, tables)


def _tuning_bytes(sizes: Sizes, options: Options) -> int:
    """Of a block's tuning: weights, their gradients and what pulls at codes; what a text's backward needs."""
    tokens, inner = options.sequence, max(max(outs) for _, outs in sizes.groups)
    largest = max(inputs * out for inputs, outs in sizes.groups for out in outs)
    heads = sizes.attention // 64
    text = tokens * (48 * sizes.hidden + 32 * inner) + 8 * heads * tokens * tokens
    return int(1.5 * (12 * sizes.block_weights + 12 * largest + text))


def flops_per_second(threads: int) -> float:
    """What large products of matrices make in float32 on so many cores, by what small ones make on one.

    Small ones run on one thread. On two, where another program has a core, OpenBLAS waits for the thread that is not
    running: 0.2 GFLOP/s were seen where 200 are usual.
    """
    size, best = 64, 0.0
    a, out = np.ones((size, size), np.float32), np.empty((size, size), np.float32)
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(20):
            np.matmul(a, a, out=out)
        best = max(best, 20 * 2 * size**3 / (time.perf_counter() - began))
    return best * _LARGE * threads
