"""A build as a Hugging Face folder that other programs load: what the format cannot hold is written as f16.

Nothing is rounded a second time but to f16: codes, codebooks and scales are those of the build.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, UnsupportedModelError
from backend.formats import packing
from backend.formats.checkpoint import Floats, open_checkpoint
from backend.formats.hf_aqlm_writer import write_hf_aqlm
from backend.formats.hf_spqr import TILE
from backend.formats.hf_spqr_writer import MAX_COLUMN, write_hf_spqr
from backend.formats.numbers import bytes_in_words
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_writer import scheme_name
from kernels.packed import PackedLinear

__all__ = ["FORMATS", "ExportPlan", "Exported", "Moved", "export_build", "plan_export"]

FORMATS = ("hf-aqlm", "hf-spqr")
_WRITERS = {"hf-aqlm": write_hf_aqlm, "hf-spqr": write_hf_spqr}
#: how a build is made that each can hold
_LEVELS = {"hf-aqlm": "aqlm-2x8", "hf-spqr": "spqr-3"}
#: Told weights done and in all; returns False when the work should stop.
Moved = Callable[[int, int], bool]
_Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What becomes of each linear.

    Attributes:
        shape: of AQLM: codebooks, bits, inputs of a group of every linear that stays compressed; None for SpQR.
        held: modules that stay compressed. plain: those that are written as f16.
        widened: of `held`, those that get codebooks of zeros, since all must have as many.
        bytes: about, of the files of weights.
    """

    format: str
    shape: _Shape | None
    held: tuple[str, ...]
    plain: tuple[str, ...]
    widened: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: the folder. bytes: of its files.
        held, plain, widened: modules, as `ExportPlan`.
        notes: what the person should know, in sentences.
    """

    path: Path
    format: str
    bytes: int
    held: tuple[str, ...]
    plain: tuple[str, ...]
    widened: tuple[str, ...]
    notes: tuple[str, ...]


def export_build(
    build: Path,
    out: Path,
    form: str,
    *,
    position: float | None = None,
    shard_bytes: int = 4 << 30,
    moved: Moved = lambda done, total: True,
) -> Exported:
    """Writes the build as the folder `out`, which appears when all of it is written.

    Args:
        build: a file of ours, of any source.
        out: a folder that does not exist, or is empty.
        form: one of FORMATS.
        position: of the build's slider, 0 to 1; None: its default, or it has none.
        shard_bytes: most bytes of a file of weights.
        moved: told before each linear.

    Raises:
        InterruptedError: `moved` returned False; nothing is left behind.
        InvalidRequestError: no build, no such format, no such position. ConflictError: `out` is there.
        UnsupportedModelError: the format can hold none of its layers. DiskFullError, ModelError: no room.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConflictError(f"{out} is there already.", remedy="Choose another name, or remove it first.")
    if not out.absolute().parent.is_dir():
        raise InvalidRequestError(f"There is no folder {out.parent}.", remedy="Make it, or choose another place.")
    checkpoint = _open(build, position)
    try:
        plan = plan_export(checkpoint, form)
        _check_room(out.absolute().parent, plan.bytes)
        tokenizer = checkpoint.tokenizer_files()
        _WRITERS[form](
            out,
            checkpoint.config,
            _modules(checkpoint, plan, moved),
            ((name, checkpoint.array(name)) for name in checkpoint.arrays()),
            tokenizer,
            shard_bytes=shard_bytes,
        )
    finally:
        checkpoint.close()
    size = sum(path.stat().st_size for path in out.iterdir())
    return Exported(out, form, size, plan.held, plan.plain, plan.widened, _notes(plan, "tokenizer.json" in tokenizer))


def plan_export(checkpoint: PackCheckpoint, form: str) -> ExportPlan:
    """What `form` can hold of a build; nothing is written.

    Raises:
        InvalidRequestError: no such format.
        UnsupportedModelError: it can hold none of the layers.
    """
    if form not in FORMATS:
        raise InvalidRequestError(f"There is no format {form!r} to export to.", remedy=f"Use {' or '.join(FORMATS)}.")
    shapes = {module: checkpoint.shape(module) for module in checkpoint.linears()}
    shape, held, size = _held(checkpoint, shapes, form)
    if not held:
        raise _unheld(checkpoint, shapes, form)
    widened = [module for module in held if shape and shapes[module].parameters["num_codebooks"] < shape[0]]
    size += sum(4 * checkpoint.array(name).size for name in checkpoint.arrays())
    return ExportPlan(
        form,
        shape,
        tuple(held),
        tuple(module for module in shapes if module not in held),
        tuple(widened),
        size,
    )


def _held(
    checkpoint: PackCheckpoint, shapes: Mapping[str, PackedLinear], form: str
) -> tuple[_Shape | None, list[str], int]:
    """AQLM's shape, what stays compressed (nothing where no layer does), bytes of all linears."""
    dense = {module: 2 * one.out_features * one.in_features for module, one in shapes.items()}
    best: tuple[_Shape | None, list[str], int] = None, [], sum(dense.values())
    if form == "hf-spqr":
        kept = {
            module: 9 * dense[module] // 32 for module, one in shapes.items() if _spqr_holds(checkpoint, module, one)
        }
        best = None, list(kept), sum((dense | kept).values())
    else:  # one shape for all: that of the smallest folder. Who has fewer codebooks gets zeros, who has more f16
        found = {module: _aqlm_shape(one) for module, one in shapes.items() if one.scheme == "aqlm"}
        least = best[2] + 1
        for shape in sorted(set(found.values())):
            kept = {
                module: _code_bytes(shapes[module], shape)
                for module, (count, *rest) in found.items()
                if rest == [*shape[1:]] and count <= shape[0]
            }
            if (codes := sum((dense | kept).values())) < least:  # codebooks are too little to count
                least = codes
                best = shape, list(kept), codes + sum(_book_bytes(shapes[module], shape) for module in kept)
    return best if any(".layers." in module for module in best[1]) else (None, [], best[2])


def _aqlm_shape(packed: PackedLinear) -> _Shape:
    parameters = packed.parameters
    return parameters["num_codebooks"], parameters["nbits_per_codebook"], parameters["in_group_size"]


def _code_bytes(packed: PackedLinear, shape: _Shape) -> int:
    return packed.out_features * (packed.in_features // shape[2]) * shape[0] * (1 if shape[1] <= 8 else 2)


def _book_bytes(packed: PackedLinear, shape: _Shape) -> int:
    return 2 * ((shape[0] << shape[1]) * shape[2] + packed.out_features)


def _spqr_holds(checkpoint: PackCheckpoint, module: str, packed: PackedLinear) -> bool:
    """3 bits, whole tiles, columns that the published kernel can name, and no bias: its linears have none."""
    whole = packed.out_features % TILE == packed.in_features % TILE == 0
    good = packed.scheme == "spqr" and packed.parameters["bits"] == 3 and whole and packed.in_features <= MAX_COLUMN
    return good and not checkpoint.has(f"{module}.bias")


def _modules(checkpoint: PackCheckpoint, plan: ExportPlan, moved: Moved) -> Iterator[tuple[str, PackedLinear]]:
    done = 0
    shapes = {module: checkpoint.shape(module) for module in checkpoint.linears()}
    total = sum(one.out_features * one.in_features for one in shapes.values())
    held, widened = frozenset(plan.held), frozenset(plan.widened)
    for module, shape in shapes.items():
        if not moved(done, total):
            raise InterruptedError
        packed = checkpoint.linear(module)
        if module in widened and plan.shape is not None:
            packed = _widened(packed, plan.shape[0])
        elif module not in held and packed.scheme in ("aqlm", "spqr"):  # which the writers would take for theirs
            packed = packing.pack_dense(packing.dequantize(packed), "f16", _bias(packed), module)
        yield module, packed
        done += shape.out_features * shape.in_features
    moved(total, total)


def _widened(packed: PackedLinear, count: int) -> PackedLinear:
    """The same weights with more codebooks: of zeros, from which every group takes the first entry."""
    codes, books, scales = packing.packer("aqlm").unpack(packed)
    more = count - codes.shape[2]
    codes = np.concatenate([codes, np.zeros((*codes.shape[:2], more), codes.dtype)], axis=2)
    books = np.concatenate([books, np.zeros((more, *books.shape[1:]), books.dtype)])
    made: PackedLinear = packing.packer("aqlm").pack(codes, books, scales, bias=_bias(packed))
    return made


def _bias(packed: PackedLinear) -> Floats | None:
    bias = packed.buffers.get("bias")
    return None if bias is None else np.asarray(bias, np.float32)[: packed.out_features]


def _open(build: Path, position: float | None) -> PackCheckpoint:
    checkpoint = open_checkpoint(build, position=position)
    if isinstance(checkpoint, PackCheckpoint):
        return checkpoint
    checkpoint.close()
    raise InvalidRequestError(
        f"{build.name} is not a build of Nutshell's.",
        why="Only files that `nutshell compress` or `nutshell pack` made can be exported.",
        remedy="Compress this model first.",
    )


def _unheld(checkpoint: PackCheckpoint, shapes: Mapping[str, PackedLinear], form: str) -> UnsupportedModelError:
    """The sentence for a build that would come out as plain f16."""
    weights: Counter[str] = Counter()
    for module, one in shapes.items():
        if ".layers." in module:
            weights[scheme_name(one)] += one.out_features * one.in_features
    named = " and ".join(name for name, _ in weights.most_common(3)) or "nothing"
    why = f"Its layers are stored as {named}, of which {form} can hold none"
    if form == "hf-spqr" and "spqr-3" in weights:
        why += " with a bias, or of a shape that is no multiple of 16"
    other = next(name for name in FORMATS if name != form)
    fits = _held(checkpoint, shapes, other)[1]
    return UnsupportedModelError(
        f"This build cannot be exported as {form}.",
        why=f"{why}: all of it would be written as plain 16-bit numbers.",
        remedy=f"Export it as {other}." if fits else f"Make a build with --level {_LEVELS[form]}, and export that.",
    )


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + (16 << 20):
        raise DiskFullError(
            "There is no room for this export.",
            why=f"It needs about {bytes_in_words(size)}, and {bytes_in_words(free)} are free at {folder}.",
            remedy="Make room, or choose another disk.",
        )


def _notes(plan: ExportPlan, tokenizer: bool) -> tuple[str, ...]:
    notes = []
    layers = [module for module in plan.plain if ".layers." in module]
    if layers:
        notes.append(
            f"{len(layers)} of {len(layers) + sum('.layers.' in module for module in plan.held)} linears of the layers "
            "are written as plain 16-bit numbers: this format cannot hold them as they are stored."
        )
    tables = [module.rpartition(".")[2] for module in plan.plain if ".layers." not in module]
    if tables:
        notes.append(f"{' and '.join(sorted(tables))}: 16-bit numbers, as this format always has them.")
    if plan.widened:
        notes.append(
            f"{len(plan.widened)} linears got codebooks of zeros: transformers wants as many for all. They compute the "
            "same and take more room."
        )
    if plan.format == "hf-spqr":
        notes.append("transformers loads SpQR on NVIDIA GPUs only, with the package spqr_quant.")
    if not tokenizer:
        notes.append("The build has no tokenizer, so the folder has none either.")
    return tuple(notes)
