"""The quick packer: a model's linears one by one, by their weights alone, into one of our packs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backend.api.errors import DiskFullError
from backend.api.version import version
from backend.architectures import read_args
from backend.engine.tokenizing.gguf_source import gguf_tokenizer_files
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack import SUFFIX
from backend.formats.pack_writer import write_pack
from backend.quantize.modules import Job, check_out, jobs_of, refuse_packed, storage_error
from backend.quantize.recipes import HEAD_SCHEMES, Encoded, Recipe, encode, expected_bytes, recipe_named
from kernels.packed import PackedLinear

__all__ = ["Packed", "PackedRow", "Progress", "pack_model"]

_NOTE = "quick packer: no calibration data, for trying the engine"


@dataclass(frozen=True, slots=True)
class Progress:
    """Weights done and in all, and the linear at work."""

    done: int
    total: int
    module: str


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One linear of the build. `bits` are all its bytes over its weights; `error` is relative and squared."""

    module: str
    scheme: str
    out_features: int
    in_features: int
    bits: float
    error: float

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.out_features * self.in_features


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written. `block_bits` leaves embedding and head out; `all_bits` is the whole file over all weights."""

    path: Path
    bytes: int
    seconds: float
    linears: tuple[PackedRow, ...]
    block_bits: float
    all_bits: float
    note: str


def pack_model(
    source: Path,
    out: Path,
    scheme: str,
    *,
    head: str | None = None,
    embedding: str | None = None,
    threads: int = 0,
    force: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Packed:
    """Packs `source` into the file `out`; nothing is there until all of it is.

    Args:
        source: a Hugging Face folder or a GGUF file.
        out: the file; SUFFIX is added where the name has none.
        scheme: of the layers' linears (`recipes.SCHEMES`).
        head: of the output layer; None: q4 with 2 or 3 bits, else q8.
        embedding: of the table of tokens; None: as the head. Where the model ties both, one is stored if they agree.
        threads: how many compute; 0: one for each core.
        force: whether `out` may be replaced.
        progress: told before each linear.

    Raises:
        InvalidRequestError: an unknown scheme.
        ConflictError: `out` is there.
        ModelError: a source that is damaged, of an unknown architecture, or packed already.
        StorageError: no room, or no right to write.
    """
    began = time.monotonic()
    recipe = recipe_named(scheme)
    head = head or ("q4" if recipe.bits < 4 else "q8")
    roles = {"lm_head": recipe_named(head, HEAD_SCHEMES), "embed_tokens": recipe_named(embedding or head, HEAD_SCHEMES)}
    if not out.name.endswith(SUFFIX):  # "1.5b-q4" looks like an ending and is none
        out = out.with_name(out.name + SUFFIX)
    check_out(out, force=force)
    checkpoint = open_checkpoint(source)
    try:
        refuse_packed(checkpoint)
        return _pack(checkpoint, out, recipe, roles, threads or os.cpu_count() or 1, began, progress)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        checkpoint.close()


def _pack(
    checkpoint: Checkpoint,
    out: Path,
    recipe: Recipe,
    roles: Mapping[str, Recipe],
    threads: int,
    began: float,
    progress: Callable[[Progress], None],
) -> Packed:
    from kernels.cpu import nearest_codes

    args = read_args(checkpoint.config)
    jobs = jobs_of(checkpoint, args, recipe, roles)
    _check_room(out, jobs)
    search = partial(nearest_codes, threads=threads)
    rows: list[PackedRow] = []

    def modules() -> Iterator[tuple[str, PackedLinear]]:
        done, total = 0, sum(job.weights for job in jobs)
        for job in jobs:
            progress(Progress(done, total, job.module))
            made = encode(checkpoint.linear(job.source), job.recipe, search, job.module)
            rows.append(_row(job, made))
            yield job.module, made.packed
            done += job.weights

    write_pack(
        out,
        checkpoint.config,
        modules(),
        ((name, checkpoint.array(name)) for name in checkpoint.arrays()),
        gguf_tokenizer_files(checkpoint.path) if checkpoint.kind == "gguf" else checkpoint.tokenizer_files(),
        {
            "name": out.name.removesuffix(SUFFIX),
            "scheme": recipe.name,
            "source": checkpoint.path.name,
            "data_free": True,
            "method": _NOTE,
            "made_by": f"nutshell {version()}",
        },
    )
    blocks = [row for row in rows if row.module not in roles and not row.module.endswith("embed_tokens")]
    return Packed(
        out,
        out.stat().st_size,
        time.monotonic() - began,
        tuple(rows),
        sum(row.bits * row.weights for row in blocks) / max(1, sum(row.weights for row in blocks)),
        8 * out.stat().st_size / sum(row.weights for row in rows),
        _NOTE,
    )


def _row(job: Job, made: Encoded) -> PackedRow:
    packed = made.packed
    out, inputs = packed.out_features, packed.in_features
    return PackedRow(job.module, job.recipe.name, out, inputs, 8 * packed.nbytes / (out * inputs), made.error)


def _check_room(out: Path, jobs: Sequence[Job]) -> None:
    needed = sum(expected_bytes(job.recipe, job.out_features, job.in_features) for job in jobs) + (64 << 20)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise DiskFullError(
            "There is no room for the packed model.",
            why=f"It needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {out.parent}.",
            remedy="Make room, or choose another disk.",
        )
