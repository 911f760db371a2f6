"""From a full store to a build: written beside it, measured, described, and only then given its name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from backend.api.version import version
from backend.engine.tokenizing.gguf_source import gguf_tokenizer_files
from backend.formats.checkpoint import Floats
from backend.formats.pack import SUFFIX
from backend.formats.pack_slider import PackSlider
from backend.formats.pack_writer import scheme_name, write_pack
from backend.formats.safetensors_writer import sync
from backend.quantize.graph import Graph
from backend.quantize.levels import level_for
from backend.quantize.prepare import Prepared
from backend.quantize.run_blocks import TUNED, level_of, norms_name
from backend.quantize.run_tuning import FINAL_NORMS, WHOLE
from backend.quantize.slider.ladders import table_level
from backend.quantize.source import Source
from backend.quantize.store import Store, Stored
from kernels.packed import PackedLinear

__all__ = ["Row", "describe_build", "publish", "restate", "restate_file", "rows_of", "write_build", "write_pack_of"]

#: text kept free in the description, for what is only known once the file can be read
_FREE = 512
#: the same for each position of a slider: "0.0001234, " where there was "0.1, ", and what else its anchors take
_FREE_POSITION = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One linear as it was made.

    Attributes:
        module: its name. out_features, in_features: its shape.
        level: one of LEVELS, or how a table is stored.
        bits: all its bytes over its weights.
        error: relative and squared, of its outputs on the calibration text; of a table, of its weights.
        protected: kept at more bits than asked for.
        seconds: that it took.
    """

    module: str
    out_features: int
    in_features: int
    level: str
    bits: float
    error: float | None
    protected: bool
    seconds: float

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.out_features * self.in_features


def rows_of(prepared: Prepared, graph: Graph, store: Store) -> list[Row]:
    """Every linear at every level, in the order of the model."""
    found = [_row(job.module, job.recipe.name, store.get(job.module, table_level(job.recipe.name))) for job in
             prepared.tables]  # fmt: skip
    for block in graph.blocks:
        for module in block.linears:
            seen: set[str] = set()
            for asked in prepared.options.levels:
                level = level_for(asked, graph.shapes[module][1])
                stored = level_of(store, module, level)
                kept = level.startswith("aqlm") and stored is not None and bool(stored.notes.get("protected"))
                name = scheme_name(stored.packed) if kept and stored is not None else level
                if name not in seen:
                    found.append(_row(module, name, stored, kept=kept))
                seen.add(name)
    return found


def _row(module: str, level: str, stored: Stored | None, *, kept: bool = False) -> Row:
    assert stored is not None, module
    packed, error = stored.packed, stored.error
    out, inputs = packed.out_features, packed.in_features
    bits = 8 * packed.nbytes / (out * inputs)
    return Row(module, out, inputs, level, bits, None if error != error else error, kept, stored.seconds)


def write_build(
    prepared: Prepared, graph: Graph, source: Source, store: Store, about: Mapping[str, Any], path: Path
) -> None:
    """Writes the build of the first level.

    Args:
        prepared: what was asked for.
        graph: of the source.
        source: for norms and tokenizer.
        store: full.
        about: for the file's description.
        path: where to; no list of models looks there.
    """
    options = prepared.options
    tables = {job.module: table_level(job.recipe.name) for job in prepared.tables}
    made = {"none": "", "block": TUNED}.get(options.tuning, WHOLE)
    norms: dict[str, Floats] = {}
    tuned = {"": (), TUNED: tuple(map(norms_name, range(len(graph.blocks)))), WHOLE: (FINAL_NORMS,)}
    for name in tuned[made]:
        found = store.get_arrays(name)
        norms |= found[1] if found else {}

    def modules() -> Iterator[tuple[str, PackedLinear]]:
        for job in prepared.jobs:
            if job.module in tables:
                stored = store.get(job.module, tables[job.module])
            else:
                level = level_for(options.levels[0], job.in_features)
                stored = store.get(job.module, made) if made else level_of(store, job.module, level)
            assert stored is not None, job.module
            yield job.module, stored.packed

    write_pack_of(source, modules(), norms, about, path)


def write_pack_of(
    source: Source,
    modules: Iterable[tuple[str, PackedLinear]],
    norms: Mapping[str, Floats],
    about: Mapping[str, Any],
    path: Path,
    *,
    slider: PackSlider | None = None,
) -> None:
    """Writes linears with what the source has besides: settings, norms (`norms` instead where there is one), tokenizer.

    Room is left for `restate`.
    """
    checkpoint = source.checkpoint
    free = _FREE + (_FREE_POSITION * len(slider.kl) if slider else 0)
    write_pack(
        path,
        checkpoint.config,
        modules,
        ((name, norms[name] if name in norms else checkpoint.array(name)) for name in checkpoint.arrays()),
        gguf_tokenizer_files(checkpoint.path) if checkpoint.kind == "gguf" else checkpoint.tokenizer_files(),
        {**about, "free": " " * free},
        slider=slider,
    )


def describe_build(prepared: Prepared, out: Path, calibration: Mapping[str, Any], kept: list[str]) -> dict[str, Any]:
    """What the build's file says of itself, before it is measured."""
    options = prepared.options
    return {
        "name": out.name.removesuffix(SUFFIX),
        "scheme": options.levels[0],
        "source": prepared.checkpoint.path.name,
        "data_free": False,
        "method": f"{options.levels[0]}, calibrated; tuning: {options.tuning}",
        "levels": list(options.levels),
        "tuning": options.tuning,
        "seed": options.seed,
        "calibration": dict(calibration),
        "protected": kept,
        "made_by": f"nutshell {version()}",
    }


def restate(path: Path, more: Mapping[str, Any], *, slider: PackSlider | None = None) -> None:
    """Adds to the description of a build that nobody knows yet: a kill in the middle leaves it unreadable.

    Args and errors as of `restate_file`.
    """
    with path.open("r+b") as file:
        restate_file(file, more, slider=slider)


def restate_file(file: BinaryIO, more: Mapping[str, Any], *, slider: PackSlider | None = None) -> None:
    """Adds to the description of a build.

    Args:
        file: of the build, open for reading and writing.
        more: keys for the description, of less than 512 bytes in all.
        slider: what is to be said of it now; None: as it is.

    Raises:
        ValueError: they are more.
    """
    file.seek(0)
    room = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(room))
    texts = header["__metadata__"]
    about = json.loads(texts["about"])
    about.pop("free", None)
    texts["about"] = json.dumps(about | dict(more), separators=(",", ":"), allow_nan=False)
    if slider is not None:
        texts["slider"] = json.dumps(slider.as_json(), separators=(",", ":"), allow_nan=False)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    if len(text) > room:
        raise ValueError(f"a description of {len(text)} bytes for {room}")
    file.seek(8)
    file.write(text.ljust(room))
    file.flush()
    os.fsync(file.fileno())


def publish(path: Path, out: Path) -> None:
    """Gives a build its name; a file that has it is replaced. Nothing happens where that was done before.

    Args:
        path: of the build, on the same disk as `out`.
        out: its name.
    """
    if path.is_file():
        path.replace(out)
        sync(out.parent)
