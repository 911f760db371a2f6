"""Block after block: what its linears read, their levels, and what the next block then reads.

With one level each linear reads what the compressed ones before it give, and first makes up for their errors
(`correction.py`). With several it reads what the source's blocks give: which levels will stand before it is not known
yet.

Hidden states between blocks lie in the work folder (`states.py`), so that memory holds a block and its Hessians
whatever the length of the text, and a killed run goes on at its block.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch

from backend.api.errors import InvalidModelFileError, StorageError
from backend.hardware.trim import trim
from backend.quantize.correction import change
from backend.quantize.encode_linear import encode_level
from backend.quantize.graph import Block, Graph
from backend.quantize.hessian import HessianSum
from backend.quantize.layer import LinearTask
from backend.quantize.levels import level_for
from backend.quantize.prepare import Prepared
from backend.quantize.products import all_finite, product
from backend.quantize.protect import SAFE, protected, safe_level
from backend.quantize.source import Source
from backend.quantize.spqr import damping_of
from backend.quantize.states import States, Texts, embedded, newest
from backend.quantize.store import Store, Stored
from backend.quantize.teller import Teller
from backend.quantize.torch_blocks import BlockWeights, is_added, load_block, run_block, run_group
from kernels.packed import PackedLinear
from kernels.program import LinearAdd

__all__ = ["TUNED", "Blocks", "level_of", "norms_name"]

Tensor = torch.Tensor
#: batches from one tidying of the memory to the next: one batch is a second of work for 0.5B, and tidying 10 ms
_TRIM = 8
#: the name of a tuned linear's level in the store
TUNED = "tuned"


class Blocks:
    """The run over the blocks.

    Args:
        prepared: source and options.
        source: the open checkpoint.
        graph: of it.
        store: where everything goes.
        texts: that the model reads.
        table: the embedding as the build will have it.
        teller: of progress.
    """

    def __init__(
        self,
        prepared: Prepared,
        source: Source,
        graph: Graph,
        store: Store,
        texts: Texts,
        table: PackedLinear,
        teller: Teller,
    ) -> None:
        self._options = prepared.options
        self._source, self._graph, self._store = source, graph, store
        self._texts, self._table, self._teller = texts, table, teller
        self._sequential = len(self._options.levels) == 1
        self._tuning = self._options.tuning != "none"
        self._step, self._lean = max(1, prepared.batch // self._options.sequence), prepared.lean
        learned, every = len(texts.tokens), len(texts.all)
        #: texts whose states in the source are carried along, besides those in the build
        self._kinds = {"input": range(every), "original": range(every if self._sequential else 0)}
        self._learned, self._checked = range(learned), range(learned, every)

    def run(self) -> Sequence[Tensor]:
        """Does what is not done; then the source's last hidden states of the validation texts, (tokens, hidden) each.

        Raises:
            InterruptedError: the teller said so; everything that is finished is kept.
            ModelError: weights or activations that are not finite.
        """
        blocks = self._graph.blocks
        with torch.no_grad():
            start = newest(self._store, self._first_open(), [kind for kind, texts in self._kinds.items() if texts])
            if start is None:
                start = 0
                self._embed()
            for number in range(start):
                self._skip(number)
            for number in range(start, len(blocks)):
                self._teller.layer = number
                self._block(number)
                for kind in self._kinds:
                    self._store.forget(f"{kind}-{number}")
                self._source.refresh()
                trim()
        self._teller.layer = len(blocks)
        return self._states("original" if self._sequential else "input", len(blocks), self._checked)

    # -- where to begin ------------------------------------------------------------------------------------------------

    def _first_open(self) -> int:
        """The first block of which something is missing."""
        for number, block in enumerate(self._graph.blocks):
            self._teller.tell()
            if not all(self._done(module) for module in block.linears) or not self._tuned(number):
                return number
        return len(self._graph.blocks)

    def _done(self, module: str) -> bool:
        return all(level_of(self._store, module, self._level(module, level)) for level in self._options.levels)

    def _level(self, module: str, level: str) -> str:
        return level_for(level, self._graph.shapes[module][1])

    def _tuned(self, number: int) -> bool:
        if not self._tuning:
            return True
        modules = self._graph.blocks[number].linears
        found = all(self._store.get(module, TUNED) is not None for module in modules)
        return found and self._store.get_arrays(norms_name(number)) is not None

    def _skip(self, number: int) -> None:
        """A block that an earlier run has done."""
        plan = self._teller.plan
        for key in [key for key in plan.pieces if key.startswith(f"{number}/")]:
            plan.finish(key, 0.0)
        self._recall(self._graph.blocks[number].linears)

    def _recall(self, modules: Sequence[str]) -> None:
        """Says the errors of linears that an earlier run has made."""
        for module in modules:
            for level in dict.fromkeys(self._level(module, level) for level in self._options.levels):
                found = level_of(self._store, module, level)
                if found is not None:
                    self._teller.recall(module, level, found.error)

    def _embed(self) -> None:
        source = self._source.checkpoint.linear(self._source.table)
        tables = {"input": self._table if self._sequential else source, "original": source}
        for kind, texts in self._kinds.items():
            if texts:
                embedded(self._store, f"{kind}-0", self._graph, tables[kind], self._texts, texts, self._teller.tell)

    def _states(self, kind: str, number: int, texts: Sequence[int]) -> States:
        pieces = self._store.reading(f"{kind}-{number}") if texts else None
        if texts and pieces is None:
            raise _gone(f"{kind}-{number}")
        return States(pieces, texts)

    # -- a block -------------------------------------------------------------------------------------------------------

    def _block(self, number: int) -> None:
        block = self._graph.blocks[number]
        self._teller.begin("quantize")
        began = time.monotonic()
        weights = self._loaded(block)
        open_ones = [module for module in block.linears if not self._done(module)]
        self._recall([module for module in block.linears if module not in open_ones])
        sums: dict[tuple[str, ...], HessianSum] = {}

        def watch(group: tuple[str, ...], x: Tensor) -> None:
            sums[group].add(x)

        self._pass(number, "original", weights)
        if not self._sequential:
            if open_ones:
                sums = {group: HessianSum(self._graph.shapes[group[0]][1]) for group in block.inputs}
            self._pass(number, "input", weights, watch if sums else None)
        spent = time.monotonic() - began
        now = BlockWeights(dict(weights.linears), weights.biases, weights.norms)
        for group in block.inputs:
            if any(module in open_ones for module in group):
                began = time.monotonic()
                total = self._missed(number, group, weights, now) if self._sequential else sums[group]
                spent += time.monotonic() - began
                if self._lean:  # while its Hessian is factored, nothing but the group is held
                    weights.linears = {module: weights.linears[module] for module in group}
                    now.linears.clear()
                    trim()
                self._group(number, block, group, weights, total)
                del total
            sums.pop(group, None)
            done = [*group] if self._sequential else []
            if self._lean and group != block.inputs[-1]:
                began = time.monotonic()
                weights.linears = self._loaded(block).linears
                now.linears = dict(weights.linears)
                before = block.inputs[: block.inputs.index(group)]
                done = [module for one in before for module in one] + done if self._sequential else []
                spent += time.monotonic() - began
            for module in done:
                self._take(now, module, self._whole(module).packed)
        del now
        if self._sequential:
            self._take_over(number, weights)
            began = time.monotonic()
            self._pass(number, "input", weights)
            spent += time.monotonic() - began
        self._teller.finish(f"{number}/forward", seconds=spent)
        self._store.put_note("rates", self._teller.plan.rates())

    def _loaded(self, block: Block) -> BlockWeights:
        """A block of the source, in torch's memory: sums depend on how numbers are aligned."""
        weights = load_block(self._source.checkpoint, block)
        for module, weight in weights.linears.items():
            weights.linears[module] = weight.clone()
        if self._lean:
            self._source.refresh()
        return weights

    @staticmethod
    def _take(weights: BlockWeights, module: str, packed: PackedLinear) -> None:
        weights.put(module, packed)
        weights.linears[module] = weights.linears[module].clone()

    def _missed(self, number: int, group: tuple[str, ...], weights: BlockWeights, now: BlockWeights) -> HessianSum:
        """What a group reads behind all that is compressed, and what is then missed: of the sum where its output is
        added to something, of its input where not.

        Args:
            number: of the block.
            group: its linears.
            weights: the source's.
            now: with what is compressed of this block.
        """
        block = self._graph.blocks[number]
        out, width = self._graph.shapes[group[0]]
        total = HessianSum(width, out if is_added(block, group) else width)
        whole = group == block.inputs[-1] and isinstance(
            block.steps[-1], LinearAdd
        )  # known already: the block's output
        originals = self._states("original", number + whole, self._learned)
        inputs = self._states("input", number, self._learned)
        step = self._step
        for first in range(0, len(inputs), step):
            self._teller.tell()
            some = range(first, min(first + step, len(inputs)))
            if whole:
                wanted = torch.cat([originals[at] for at in some])
            else:
                _, wanted = run_group(block, weights, torch.stack([originals[at] for at in some]), group)
            read, made = run_group(block, now, torch.stack([inputs[at] for at in some]), group)
            total.add(read, wanted - made)
            if first // step % _TRIM == _TRIM - 1:
                trim()
        trim()
        return total

    def _pass(
        self,
        number: int,
        kind: str,
        weights: BlockWeights,
        watch: Callable[[tuple[str, ...], Tensor], None] | None = None,
    ) -> None:
        """All texts of a kind through a block, to their next generation; what is not learned from is not watched."""
        if not self._kinds[kind]:
            return
        block = self._graph.blocks[number]
        learned = [text for text in self._kinds[kind] if text in self._learned]
        with self._store.writing(f"{kind}-{number + 1}") as add:
            for texts, watching in ((learned, watch), (self._checked, None)):
                states = self._states(kind, number, texts)
                self._forward(block, weights, states, watching, lambda text, y: add(str(text), y.numpy()))

    def _forward(
        self,
        block: Block,
        weights: BlockWeights,
        states: States,
        watch: Callable[[tuple[str, ...], Tensor], None] | None,
        keep: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        """Texts through a block, a batch at a time."""
        step = self._step
        for first in range(0, len(states), step):
            self._teller.tell()
            some = range(first, min(first + step, len(states)))
            y = run_block(block, weights, torch.stack([states[at] for at in some]), watch=watch)
            if first // step % _TRIM == _TRIM - 1:
                trim()
            if not all_finite(y):
                raise InvalidModelFileError(
                    "This model cannot be compressed.",
                    why="Reading text, it computes numbers that are none.",
                    remedy="The file is probably damaged. Download it again, or choose another one.",
                    details=str(block.linears[:1]),
                )
            if keep is not None:
                for at, one in zip(some, y, strict=True):
                    keep(states.texts[at], one)

    def _group(
        self, number: int, block: Block, group: tuple[str, ...], weights: BlockWeights, total: HessianSum
    ) -> None:
        """The linears that read one input, at every level that is missing."""
        options, ratio, tokens = self._options, total.ratio(), total.tokens
        kept = options.protect and protected(block.inputs, group, ratio)
        hessian = total.mean()
        linears = [weights.linears[module] for module in group]
        if self._sequential:
            added = change(hessian, total.pull(), damping_of(tokens, len(hessian)))
            linears = [one + (added if is_added(block, group) else product(one, added.T)) for one in linears]
            del added
        for module, weight in zip(group, linears, strict=True):
            place = block.linears.index(module)
            bias = weights.biases.get(module)
            task = LinearTask(
                module,
                weight,
                hessian,
                tokens,
                None if bias is None else bias.numpy(),
                (options.seed * 1_000_003 + zlib.crc32(module.encode())) % (1 << 31),
                options.threads,
            )
            for asked in options.levels:
                nominal = self._level(module, asked)
                level = safe_level(nominal, task.weight.shape[1]) if kept else nominal
                self._one(number, f"{number}/{place}/{nominal}", task, level, ratio, kept=kept)

    def _one(self, number: int, key: str, task: LinearTask, level: str, ratio: float, *, kept: bool) -> None:
        if self._store.get(task.module, level) is not None:
            self._teller.plan.finish(key, 0.0)
            return
        self._teller.begin("quantize", task.module, level)
        warm = self._warm(number, task.module, level)
        made = encode_level(task, level, warm=warm, descent=self._options.descent, stop=self._teller.stop)
        notes: dict[str, Any] = {"ratio": ratio} | ({"protected": True} if kept else {})
        self._store.put(
            task.module, level, made.packed, error=made.error, seconds=made.seconds, warm=made.warm, notes=notes
        )
        self._teller.finish(key, error=made.error, seconds=0.0 if kept else None)

    def _warm(self, number: int, module: str, level: str) -> Mapping[str, npt.NDArray[Any]] | None:
        """What the last linear before this one, of the same width and level, left. It follows from the order of linears
        alone, so that a resumed run finds the same.
        """
        if not level.startswith("aqlm"):
            return None
        width = self._graph.shapes[module][1]
        before = [name for block in self._graph.blocks[: number + 1] for name in block.linears]
        for name in reversed(before[: before.index(module)]):
            if self._graph.shapes[name][1] == width:
                found = self._store.get(name, level)
                if found is not None and found.warm:
                    return found.warm
        return None

    def _take_over(self, number: int, weights: BlockWeights) -> None:
        """The block's weights become what is stored of them, tuned if that was asked for."""
        modules = self._graph.blocks[number].linears
        packed = {module: self._whole(module).packed for module in modules}
        if self._tuning:
            packed = self._tune(number, packed, weights)
        for module, one in packed.items():
            self._take(weights, module, one)

    def _tune(self, number: int, packed: dict[str, PackedLinear], weights: BlockWeights) -> dict[str, PackedLinear]:
        from backend.quantize.tuning.block import CODES, BlockSettings, tune_block

        block = self._graph.blocks[number]
        if not self._tuned(number):
            self._teller.begin("tune")
            every = [*self._learned, *self._checked]
            with torch.enable_grad():
                tuned = tune_block(
                    block,
                    weights,
                    packed,
                    self._states("input", number, every),
                    self._states("original", number + 1, every),
                    held_out=len(self._checked),
                    settings=BlockSettings(codes=CODES, seed=self._options.seed, threads=self._options.threads),
                    stop=self._teller.stop,
                )
            for module, one in tuned.packed.items():
                error = self._whole(module).error
                self._store.put(module, TUNED, one, error=error, notes={"before": tuned.before, "after": tuned.after})
            norms = {name: norm.detach().numpy() for name, norm in tuned.norms.items()}
            self._store.put_arrays(norms_name(number), norms)
            self._teller.finish(f"{number}/tune")
        found = self._store.get_arrays(norms_name(number))
        if found is None:
            raise _gone(norms_name(number))
        weights.norms.update({name: torch.from_numpy(norm.copy()) for name, norm in found[1].items()})
        return {module: self._whole(module, TUNED).packed for module in block.linears}

    def _whole(self, module: str, level: str = "") -> Stored:
        found = level_of(self._store, module, level or self._level(module, self._options.levels[0]))
        if found is None:
            raise _gone(module)
        return found


def level_of(store: Store, module: str, level: str) -> Stored | None:
    """What stands for a linear at a level: that level, or the higher one that it is kept at."""
    if level.startswith("aqlm"):
        for safe in SAFE:
            kept = store.get(module, safe)
            if kept is not None and kept.notes.get("protected"):
                return kept
    return store.get(module, level)


def norms_name(number: int) -> str:
    """Of a block's tuned norms in the store."""
    return f"norms-{number}"


def _gone(what: str) -> StorageError:
    return StorageError(
        "What was just written to the disk is not there any more.",
        why="The disk may be faulty, or another program changed the work folder.",
        remedy="Check the disk, then start again: what is whole is kept.",
        details=what,
    )
