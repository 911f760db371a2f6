"""The quick packer: a model's linears one by one, by their weights alone, into one of our packs."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, StorageError, UnsupportedModelError
from backend.api.version import version
from backend.architectures import CommonArgs, read_args
from backend.engine.tokenizing.gguf_source import gguf_tokenizer_files
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack import SUFFIX
from backend.formats.pack_writer import write_pack
from backend.quantize.recipes import HEAD_SCHEMES, Encoded, Recipe, dense_rows, encode, expected_bytes, recipe_named
from kernels.packed import PackedLinear
from kernels.packing import dense

__all__ = ["Packed", "PackedRow", "Progress", "pack_model"]

#: rows of tables that are compared
_COMPARED = 1024
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
    _check_out(out, force=force)
    checkpoint = open_checkpoint(source)
    try:
        _refuse_packed(checkpoint)
        return _pack(checkpoint, out, recipe, roles, threads or os.cpu_count() or 1, began, progress)
    except OSError as error:
        raise _storage_error(out, error) from error
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
    jobs = _jobs(checkpoint, args, recipe, roles)
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


def _row(job: _Job, made: Encoded) -> PackedRow:
    packed = made.packed
    out, inputs = packed.out_features, packed.in_features
    return PackedRow(job.module, job.recipe.name, out, inputs, 8 * packed.nbytes / (out * inputs), made.error)


@dataclass(frozen=True, slots=True)
class _Job:
    module: str
    source: str
    recipe: Recipe
    out_features: int
    in_features: int

    @property
    def weights(self) -> int:
        return self.out_features * self.in_features


def _jobs(checkpoint: Checkpoint, args: CommonArgs, recipe: Recipe, roles: Mapping[str, Recipe]) -> list[_Job]:
    """Every linear with its recipe; a head that shares the embedding's table only where it shall be stored otherwise.

    Raises:
        UnsupportedModelError: a linear that no known architecture has.
    """
    hidden = args.hidden_size
    shapes = {
        "q_proj": (args.q_width, hidden),
        "k_proj": (args.kv_width, hidden),
        "v_proj": (args.kv_width, hidden),
        "o_proj": (hidden, args.q_width),
        "gate_proj": (args.intermediate_size, hidden),
        "up_proj": (args.intermediate_size, hidden),
        "down_proj": (hidden, args.intermediate_size),
        "embed_tokens": (args.vocab_size, hidden),
        "lm_head": (args.vocab_size, hidden),
    }
    modules = {module: module for module in checkpoint.linears()}
    table = next((module for module in modules if module.endswith("embed_tokens")), "")
    if args.tie_word_embeddings or "lm_head" not in modules or _same_table(checkpoint, table):
        # of two copies the head's is the better one: llama.cpp stores it with more bits
        table = modules.pop("lm_head", table)
        modules = {module: table if source.endswith("embed_tokens") else source for module, source in modules.items()}
        if table and roles["lm_head"] != roles["embed_tokens"]:
            modules["lm_head"] = table
    jobs = []
    for module, source in sorted(modules.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])]):
        kind = module.rpartition(".")[2]
        if kind not in shapes:
            raise UnsupportedModelError(
                "This model cannot be packed.",
                why=f"It has a tensor {module}, which is not known here.",
                remedy="Choose another model.",
            )
        jobs.append(_Job(module, source, roles.get(kind, recipe), *shapes[kind]))
    return jobs


def _same_table(checkpoint: Checkpoint, table: str) -> bool:
    """Whether head and embedding are two roundings of one matrix, as GGUF files of tied models often have them."""
    if not table:
        return False
    head, embedding = (dense_rows(checkpoint.linear(module), 0, _COMPARED) for module in ("lm_head", table))
    if (head.out_features, head.in_features) != (embedding.out_features, embedding.in_features):
        return False
    a, b = dense.dequantize(head), dense.dequantize(embedding)
    return float(np.square(a - b).sum()) < 0.02 * float(np.square(a).sum())  # Q4_0 is 0.008 from its source


def _refuse_packed(checkpoint: Checkpoint) -> None:
    if checkpoint.kind == "pack" or checkpoint.config.get("quantization_config"):
        raise UnsupportedModelError(
            "This model is packed already.",
            why="Packing it once more would add a second loss to the first.",
            remedy="Give the original model: a Hugging Face folder in 16 or 32 bits, or a GGUF file.",
        )


def _check_out(out: Path, *, force: bool) -> None:
    if out.is_dir() or (out.exists() and not force):
        raise ConflictError(f"{out} is there already.", remedy="Choose another name, or replace a file with --force.")
    if not out.parent.is_dir():
        raise InvalidRequestError(f"There is no folder {out.parent}.", remedy="Make it, or choose another place.")


def _check_room(out: Path, jobs: Sequence[_Job]) -> None:
    needed = sum(expected_bytes(job.recipe, job.out_features, job.in_features) for job in jobs) + (64 << 20)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise DiskFullError(
            "There is no room for the packed model.",
            why=f"It needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {out.parent}.",
            remedy="Make room, or choose another disk.",
        )


def _storage_error(out: Path, error: OSError) -> StorageError:
    if error.errno == errno.ENOSPC:
        return DiskFullError(
            "There is no room for the packed model.",
            why=f"The disk of {out} is full.",
            remedy="Make room, and try again.",
        )
    return StorageError(
        "The packed model could not be written.",
        why=f"{error.strerror or error}: {error.filename or out}.",
        details=repr(error),
    )
