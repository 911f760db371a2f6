"""What is looked at, counted and refused before a compression begins; no torch here, the engine process asks too."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.api.errors import DiskFullError, InvalidRequestError, MemoryShortageError, UnsupportedModelError
from backend.api.version import version
from backend.architectures import CommonArgs, read_args
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.numbers import bytes_in_words
from backend.formats.pack import SUFFIX
from backend.hardware.memory import memory_report
from backend.quantize.levels import level_recipe
from backend.quantize.modules import Job, jobs_of, refuse_packed
from backend.quantize.options import TUNINGS, Options
from backend.quantize.plan import (
    SEVEN_B,
    Estimate,
    LevelEstimate,
    Piece,
    Plan,
    Sizes,
    flops_per_second,
    level_bytes,
    memory_of,
    pieces_of,
    sizes_of,
    table_bytes,
)
from backend.quantize.recipes import HEAD_SCHEMES, Recipe, recipe_named
from kernels.cpu.executor import default_threads

__all__ = ["BATCH", "Prepared", "build_path", "inspect", "prepare", "refuse_shortage"]

#: Tokens of one piece of a forward, never fewer than one text. Less only where memory asks for it, and then it is kept
#: with the work: sums of another order have other bits.
BATCH = 2048
#: raised when the same options and source begin to give other bits
RECIPE = 2
#: cores of the machine that the projection for 7B is for
_CORES_7B = 8
_SAMPLES, _SAMPLE = 64, 1 << 16


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source that can be compressed, and how.

    Attributes:
        checkpoint: open. args: its sizes.
        asked: the options as they were given.
        options: with `threads`, `memory`, `head` and `embedding` decided.
        jobs: every linear of the build, the tables among them; the recipes of those in blocks mean nothing.
        sizes: for plans.
        flops: that the plan was made with.
        batch: tokens of one piece of a forward.
        lean: see `memory_of`; changes no bit.
    """

    checkpoint: Checkpoint
    args: CommonArgs
    asked: Options
    options: Options
    jobs: tuple[Job, ...]
    sizes: Sizes
    flops: float
    batch: int = BATCH
    lean: bool = False

    @property
    def tables(self) -> tuple[Job, ...]:
        """Embedding and head: what is in no block."""
        return tuple(job for job in self.jobs if job.module.rpartition(".")[2] in ("embed_tokens", "lm_head"))

    @property
    def machine(self) -> dict[str, Any]:
        """What a run that is resumed must not decide anew."""
        return {"threads": self.options.threads, "flops": self.flops, "batch": self.batch}

    def pieces(self, sizes: Sizes | None = None) -> list[Piece]:
        """The work on this model, or with the same options on one of another shape."""
        head, embedding = str(self.options.head), str(self.options.embedding)
        return pieces_of(sizes or self.sizes, self.options, head=head, embedding=embedding, flops=self.flops)

    def seven_b(self, plan: Plan) -> float:
        """Seconds for a model of 7 billion weights with the same options on 8 such cores, by what `plan` knows."""
        return plan.on_another_machine(self.pieces(SEVEN_B), _CORES_7B / self.options.threads)

    def estimate(self, folder: Path) -> Estimate:
        """The plan in figures, for a build in `folder`."""
        return _estimated(self, folder)

    def run(self) -> dict[str, Any]:
        """What decides the bits, in JSON's types: for the store's manifest."""
        options = self.options
        return {
            "options": {
                "levels": list(options.levels),
                "tuning": options.tuning,
                "texts": [str(path.absolute()) for path in options.texts],
                "own text only": options.own_text_only,
                "tokens": options.tokens,
                "sequence": options.sequence,
                "head": options.head,
                "embedding": options.embedding,
                "protection": options.protect,
                "descent": options.descent,
                "seed": options.seed,
                "threads": self.asked.threads,
            },
            "source": _fingerprint(self.checkpoint),
            "program": f"{version()}, recipe {RECIPE}",
        }


def build_path(out: Path) -> Path:
    """`out` with the ending of builds; "1.5b-q4" looks like an ending and is none."""
    return out if out.name.endswith(SUFFIX) else out.with_name(out.name + SUFFIX)


def inspect(source: Path, options: Options, folder: Path | None = None) -> Estimate:
    """What a compression would take: opens the source's headers, and multiplies matrices for a tenth of a second.

    Args:
        source: a Hugging Face folder or a GGUF file.
        options: of the run.
        folder: where the build would go, for the room there; None: the source's.

    Raises:
        InvalidRequestError: options that do not work.
        ModelError: a source that cannot be compressed.
    """
    prepared = prepare(source, options)
    prepared.checkpoint.close()
    return prepared.estimate(folder or source.absolute().parent)


def prepare(source: Path, options: Options, *, machine: Mapping[str, Any] | None = None) -> Prepared:
    """Opens a source and plans; refuses what cannot work, except for want of room or memory (`refuse_shortage`).

    Args:
        source: a Hugging Face folder or a GGUF file.
        options: of the run.
        machine: `Prepared.machine` of an earlier run that is resumed: its threads instead of "all cores".

    Raises:
        InvalidRequestError: options that do not work.
        ModelError: a source that is damaged, of an unknown architecture, or packed already.
    """
    known = machine or {}
    asked, options = options, _decided(options, int(known.get("threads", 0)))
    flops = float(known.get("flops", 0.0)) or flops_per_second(options.threads)
    checkpoint = open_checkpoint(source)
    try:
        refuse_packed(checkpoint)
        args = read_args(checkpoint.config)
        if args.head_dim % 16:
            raise UnsupportedModelError(
                "This model cannot be compressed.",
                why=f"Its attention has heads of {args.head_dim} numbers, and Nutshell's engine runs multiples of 16.",
                remedy="Choose another model.",
            )
        jobs = tuple(jobs_of(checkpoint, args, level_recipe(options.levels[0]), _roles(options)))
        tied = len({job.source for job in jobs if job.module.endswith(("lm_head", "embed_tokens"))}) == 1
        sizes = sizes_of(args, tied=tied)
        batch, lean, _ = _fitting(sizes, options, int(known.get("batch", 0)))
        return Prepared(checkpoint, args, asked, options, jobs, sizes, flops, batch, lean)
    except BaseException:
        checkpoint.close()
        raise


def _estimated(prepared: Prepared, folder: Path) -> Estimate:
    sizes, options = prepared.sizes, prepared.options
    plan = Plan.of(prepared.pieces())
    tables = table_bytes(sizes, str(options.head), str(options.embedding))
    builds = tuple(_level(sizes, level, tables) for level in options.levels)
    layers = sum(level_bytes(sizes, level) for level in options.levels)
    # with a slider all levels are in one file, and the tables at 4 and at 8 bits
    several = len(options.levels) > 1
    stored = layers + tables * (4 if several else 1)
    size = stored if several else builds[0].bytes
    kinds = 2 if len(options.levels) == 1 else 1  # hidden states in the build, and in the source
    states = int(2 * kinds * 4 * options.tokens * sizes.hidden)
    return Estimate(
        builds,
        size,
        memory_of(sizes, options, table=_table(sizes), batch=prepared.batch, lean=prepared.lean),
        options.memory,
        size + stored + states + (64 << 20),
        _free(folder),
        plan.total,
        prepared.seven_b(plan),
        options.threads,
        _instead(prepared),
    )


def _table(sizes: Sizes) -> int:
    """Bytes of a table in 16 bits."""
    return 2 * sizes.vocab * sizes.hidden


def _fitting(sizes: Sizes, options: Options, known: int = 0) -> tuple[int, bool, int]:
    """(batch, lean, bytes) with which the work fits in its budget; those that take least where it does not.

    Args:
        sizes: of the model.
        options: with `memory` decided.
        known: the batch of a run that is resumed; 0: none.
    """
    one = options.sequence
    batches = [known] if known else sorted({max(BATCH // one, 1) * one, one}, reverse=True)
    ways = [(batch, lean) for batch in batches for lean in (False, True)]
    found = [(*way, memory_of(sizes, options, table=_table(sizes), batch=way[0], lean=way[1])) for way in ways]
    return next((one for one in found if one[2] <= options.memory), min(found, key=lambda one: one[2]))


def _instead(prepared: Prepared) -> str:
    """What would fit with less tuning, in a sentence, or ""."""
    options = prepared.options
    for tuning in reversed(TUNINGS[: TUNINGS.index(options.tuning)]):
        least = _fitting(prepared.sizes, replace(options, tuning=tuning), prepared.batch)[2]
        if least <= options.memory:
            how = "without tuning" if tuning == "none" else f"with the tuning {tuning!r}"
            return f" It fits {how}, in {bytes_in_words(least)}."
    return ""


def refuse_shortage(estimate: Estimate, folder: Path, *, stored: int = 0) -> None:
    """Raises DiskFullError or MemoryShortageError where the work cannot be done.

    Args:
        estimate: of the work.
        folder: where it is done.
        stored: bytes that an earlier run has written.
    """
    needed = estimate.disk - stored
    if estimate.disk_free < needed:
        raise DiskFullError(
            "There is no room for this compression.",
            why=f"It needs about {bytes_in_words(needed)} for the build and the work on it, and "
            f"{bytes_in_words(estimate.disk_free)} are free at {folder}.",
            remedy="Make room, or choose another disk.",
        )
    if estimate.memory > estimate.budget:
        raise MemoryShortageError(
            "This compression does not fit in memory.",
            why=f"It needs about {bytes_in_words(estimate.memory)}, and may have {bytes_in_words(estimate.budget)}.",
            remedy=f"Allow it {-(-estimate.memory >> 20)}M with --memory, close other programs, or choose a smaller "
            f"model.{estimate.instead}",
        )


def _decided(options: Options, threads: int) -> Options:
    """What was left open, decided.

    Raises:
        InvalidRequestError: what does not work, whatever the source.
    """
    for level in options.levels:
        level_recipe(level)
    if not options.levels or len(set(options.levels)) != len(options.levels):
        raise InvalidRequestError("Each level can be asked for once, and one at least.")
    if options.tuning not in TUNINGS:
        raise InvalidRequestError(
            f"There is no tuning {options.tuning!r} here.", remedy=f"Use one of {', '.join(TUNINGS)}."
        )
    if options.tuning != "none" and len(options.levels) > 1:
        raise InvalidRequestError(
            "Tuning needs a single level.",
            why="What is tuned fits one mixture of levels only.",
            remedy="Choose one level, or leave out the tuning.",
        )
    if options.sequence < 16 or options.tokens < options.sequence:
        raise InvalidRequestError(
            "There is too little calibration text.",
            why=f"Of {options.tokens} tokens there is no text of {options.sequence}, or it is shorter than 16.",
            remedy="Ask for more tokens.",
        )
    for path in options.texts:
        if not path.exists():
            raise InvalidRequestError(f"There is no text {path}.", remedy="Choose a file or a folder that is there.")
    head = options.head or ("q4" if level_recipe(options.levels[0]).bits < 3 else "q8")
    for scheme in (head, options.embedding or head):
        recipe_named(scheme, HEAD_SCHEMES)
    return replace(
        options,
        head=head,
        embedding=options.embedding or head,
        threads=options.threads or threads or default_threads(),
        memory=options.memory or memory_report().available // 2,
    )


def _roles(options: Options) -> Mapping[str, Recipe]:
    return {
        "lm_head": recipe_named(str(options.head), HEAD_SCHEMES),
        "embed_tokens": recipe_named(str(options.embedding), HEAD_SCHEMES),
    }


def _level(sizes: Sizes, level: str, tables: int) -> LevelEstimate:
    layers = level_bytes(sizes, level)
    return LevelEstimate(level, layers + tables, 8 * layers / (sizes.block_weights * sizes.n_layers))


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise InvalidRequestError(
            f"There is no folder {folder}.", remedy="Make it, or choose another place.", details=repr(error)
        ) from error


def _fingerprint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Of the source: its settings, and of every file of weights the size, the time of change, and samples.

    A sum over everything would take a minute for 15 GB from a slow disk, at each start.
    """
    path = checkpoint.path
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else _parts(checkpoint)
    config = hashlib.sha256(repr(sorted(checkpoint.config.items())).encode()).hexdigest()
    return {"name": path.name, "config": config, "files": [_sampled(file) for file in files]}


def _parts(checkpoint: Checkpoint) -> list[Path]:
    header = getattr(checkpoint, "header", None)
    return [Path(part) for part in header.parts] if header is not None else [checkpoint.path]


def _sampled(path: Path) -> list[Any]:
    digest, status = hashlib.sha256(), path.stat()
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(sample * max(status.st_size - _SAMPLE, 0) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return [path.name, status.st_size, status.st_mtime_ns, digest.hexdigest()]
