"""A pack's slider (pack.md): linears at several levels in one file, and the order in which they get better.

A position is a number of upgrades: each entry of the order raises one linear by one level. So positions are nested and
their sizes rise; `at` is arithmetic, and whoever reads the file takes other views of it. A search may have found a
better mixture of a position's size: then that stands there instead of the prefix.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from backend.api.errors import InvalidRequestError, ModelError
from backend.formats.gguf_cursor import damaged

__all__ = ["Anchor", "Mixture", "PackSlider", "key_of", "read_slider"]

#: upgrades: 7 linears of 200 layers at 6 levels are 7,000
_MOST = 1 << 16
_ANCHORS = 256
#: JSON's spelling of a KL rounds to 4 digits: what is equal may look as if it rose by so much
_ROUNDING = 1.001


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position that was measured from the file: upgrades, KL to the source (nats per token), perplexity."""

    steps: int
    kl: float
    perplexity: float


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a search found at a position: the level of each linear (as its rank), KL of the prefix and of this."""

    ranks: tuple[int, ...]
    kl_before: float
    kl: float


@dataclass(frozen=True)
class PackSlider:
    """The levels of each linear and the order of upgrades; see `read_slider` for what holds of them.

    Attributes:
        ladders: module -> names of its levels, from the smallest to the largest.
        sizes: module -> bytes of each.
        errors: module -> relative error of each under the layer's Hessian (of a table: of its weights).
        sensitivities: of each module, in the order of `ladders`: nats of KL for a relative error of 1.
        order: of upgrades: which module, by its place in `ladders`.
        kl: predicted KL in nats per token before the first upgrade, and after each.
        anchors: measured positions, from left to right.
        perplexity: of the source on the text of the anchors.
        mixtures: by position.
        default: the position that is taken where none is asked for.
    """

    ladders: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]]
    errors: Mapping[str, tuple[float, ...]]
    sensitivities: tuple[float, ...]
    order: tuple[int, ...]
    kl: tuple[float, ...]
    anchors: tuple[Anchor, ...]
    perplexity: float
    mixtures: Mapping[int, Mixture]
    default: int
    bytes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        sizes = list(self.sizes.values())
        found, ranks = [sum(one[0] for one in sizes)], [0] * len(sizes)
        for module in self.order:
            ranks[module] += 1
            found.append(found[-1] + sizes[module][ranks[module]] - sizes[module][ranks[module] - 1])
        object.__setattr__(self, "bytes", tuple(found))

    @property
    def last(self) -> int:
        """The rightmost position."""
        return len(self.order)

    def steps(self, position: float | None) -> int:
        """Upgrades at a place of the handle.

        Args:
            position: 0 (fastest) to 1 (best), by bytes: .5 is half way between the smallest and the largest. None: the
                default.

        Raises:
            InvalidRequestError: outside.
        """
        if position is None:
            return self.default
        if not 0 <= position <= 1:  # also what is no number
            raise InvalidRequestError(
                f"There is no position {position:g} on the slider.", remedy="It goes from 0 (fastest) to 1 (best)."
            )
        least, most = self.bytes[0], self.bytes[-1]
        # a byte more: a place that `place` gave must lead back to its position
        return bisect_right(self.bytes, least + position * (most - least) + 1) - 1

    def place(self, steps: int) -> float:
        """Where the handle stands at a position, 0 to 1."""
        least, most = self.bytes[0], self.bytes[-1]
        return (self.bytes[steps] - least) / (most - least) if most > least else 0.0

    def ranks(self, steps: int) -> tuple[int, ...]:
        """Of each module's level at a position.

        Raises:
            ValueError: there is no such position.
        """
        if not 0 <= steps <= self.last:
            raise ValueError(f"{steps} of {self.last} upgrades")
        if steps in self.mixtures:
            return self.mixtures[steps].ranks
        counts = Counter(self.order[:steps])
        return tuple(counts[module] for module in range(len(self.ladders)))

    def levels(self, steps: int) -> dict[str, str]:
        """Of each module at a position."""
        return self.named(self.ranks(steps))

    def named(self, ranks: Sequence[int]) -> dict[str, str]:
        """The levels of ranks."""
        return {module: ladder[rank] for (module, ladder), rank in zip(self.ladders.items(), ranks, strict=True)}

    def size(self, ranks: Sequence[int]) -> int:
        """Bytes of all linears at these ranks."""
        return sum(sizes[rank] for sizes, rank in zip(self.sizes.values(), ranks, strict=True))

    def as_json(self) -> dict[str, Any]:
        """For the file's header."""
        modules = {}
        for (module, ladder), sensitivity in zip(self.ladders.items(), self.sensitivities, strict=True):
            rungs = [[level, _short(error)] for level, error in zip(ladder, self.errors[module], strict=True)]
            modules[module] = [_short(sensitivity), rungs]
        return {
            "modules": modules,
            "order": list(self.order),
            "kl": [_short(kl) for kl in self.kl],
            "anchors": [[one.steps, _short(one.kl), _short(one.perplexity)] for one in self.anchors],
            "perplexity": _short(self.perplexity),
            "mixtures": [
                [steps, list(one.ranks), _short(one.kl_before), _short(one.kl)]
                for steps, one in sorted(self.mixtures.items())
            ],
            "default": self.default,
        }


def key_of(module: str, level: str) -> str:
    """What a linear at a level is called in the file."""
    return f"{module}@{level}"


def read_slider(value: Mapping[str, Any], sizes: Mapping[str, tuple[tuple[int, int], int]]) -> PackSlider:
    """Checks what a header says.

    Args:
        value: its JSON.
        sizes: of every linear of the file, by its name there: (out, in), and bytes.

    Raises:
        InvalidModelFileError: a level that is not there or belongs to nothing, levels of other shapes, sizes that do
            not rise, upgrades of what there is none of, numbers that are none, a position outside.
    """
    try:
        return _read(value, sizes)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise damaged("Its slider is described in a way that makes no sense.", repr(error)[:300]) from None


def _read(value: Mapping[str, Any], sizes: Mapping[str, tuple[tuple[int, int], int]]) -> PackSlider:
    ladders: dict[str, tuple[str, ...]] = {}
    errors: dict[str, tuple[float, ...]] = {}
    sensitivities = []
    for module, (sensitivity, rungs) in value["modules"].items():
        if not rungs or len({level for level, _ in rungs}) != len(rungs):
            raise _wrong(f"levels of {module}")
        ladders[module] = tuple(_text(level) for level, _ in rungs)
        errors[module] = tuple(_number(error) for _, error in rungs)
        sensitivities.append(_number(sensitivity))
    named = {key_of(module, level) for module, ladder in ladders.items() for level in ladder}
    there = {key for key in sizes if "@" in key}
    if not ladders or named != there:
        raise _wrong(f"levels: {sorted(named ^ there)[:3]}")
    found = {module: tuple(sizes[key_of(module, level)][1] for level in ladder) for module, ladder in ladders.items()}
    for module, ladder in ladders.items():
        if len({sizes[key_of(module, level)][0] for level in ladder}) != 1:
            raise _wrong(f"shapes of {module}")
        if any(more <= less for less, more in pairwise(found[module])):
            raise _wrong(f"sizes of {module}")
    order = tuple(_whole(one, len(ladders)) for one in value["order"])
    counts = Counter(order)
    if len(order) > _MOST or any(counts[i] != len(ladder) - 1 for i, ladder in enumerate(ladders.values())):
        raise _wrong("upgrades")
    kl = tuple(_number(one) for one in value["kl"])
    if len(kl) != len(order) + 1 or any(right > left * _ROUNDING for left, right in pairwise(kl)):
        raise _wrong("predictions")
    anchors = tuple(Anchor(_whole(s, len(kl)), _number(k), _number(p)) for s, k, p in value["anchors"])
    if len(anchors) > _ANCHORS or any(right.steps <= left.steps for left, right in pairwise(anchors)):
        raise _wrong("measured positions")
    mixtures = {}
    for steps, ranks, before, after in value["mixtures"]:
        if len(ranks) != len(ladders):
            raise _wrong("a mixture")
        checked = tuple(_whole(rank, len(ladder)) for rank, ladder in zip(ranks, ladders.values(), strict=True))
        mixtures[_whole(steps, len(kl))] = Mixture(checked, _number(before), _number(after))
    default = _whole(value["default"], len(kl))
    perplexity = _number(value["perplexity"])
    return PackSlider(
        ladders, found, errors, tuple(sensitivities), order, kl, anchors, perplexity, mixtures, default
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "@" in value or len(value) > 64:
        raise ValueError(f"a level {value!r}")
    return value


def _number(value: object) -> float:
    """Finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"a number {value!r}")
    return float(value)


def _whole(value: object, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
        raise ValueError(f"{value!r} of {end}")
    return value


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _wrong(what: str) -> ModelError:
    return damaged("Its slider contradicts itself.", what[:300])
