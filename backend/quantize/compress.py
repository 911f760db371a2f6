"""Compression from one end to the other: check, read text, quantize block after block, write, measure, hand over.

What can be refused is refused before the work begins. What is done is on the disk (`store.py`), so that the same call
goes on after anything, and ends with the same bits. Nothing that is not whole and measured has a build's name.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from backend.api.errors import MemoryShortageError, NutshellError
from backend.quantize import gate
from backend.quantize.already import already_built, run_sum
from backend.quantize.calibration import calibration_tokens
from backend.quantize.calibration.personal import personal
from backend.quantize.evaluation_text import tokenizer_of
from backend.quantize.finish import Row, describe_build, publish, restate, rows_of, write_build
from backend.quantize.graph import Graph, open_graph
from backend.quantize.modules import check_out, storage_error
from backend.quantize.options import Options, Report
from backend.quantize.plan import Estimate, Plan
from backend.quantize.prepare import Prepared, build_path, inspect, prepare, refuse_shortage
from backend.quantize.recipes import HEAD_SCHEMES, encode, recipe_named
from backend.quantize.run_blocks import Blocks
from backend.quantize.run_tuning import tune_whole
from backend.quantize.slider.ladders import TABLES, table_level
from backend.quantize.slider.run import build_slider
from backend.quantize.source import Source
from backend.quantize.states import Texts
from backend.quantize.store import Store, peek, work_folder
from backend.quantize.teller import Teller
from backend.quantize.tuning.amounts import LESSONS
from kernels.packed import PackedLinear

__all__ = ["Built", "Estimate", "compress", "inspect", "read_texts"]

_CALIBRATION = "calibration"
_FINISHED = "finished"
#: documents that a build's description names
_NAMED = 64
#: bytes of the source that are read before its file is opened anew: until then they count as ours
_PAGES = 128 << 20


@dataclass(frozen=True, slots=True)
class Built:
    """What was made.

    Attributes:
        path: the build. bytes: of it.
        seconds: that this run took, without what an earlier one had done.
        planned: the same as it was said before; None: this run went on from another. predicted: as it was said after
            its first block; None: it had none.
        rows: every linear at every level.
        block_bits: per weight of the layers at the first level. all_bits: the whole file over all weights; with a
            slider, what its default position takes.
        perplexity: on validation text, from the file (with a slider, at its default position); a check for ruin and no
            measurement. perplexity_source: of the source on the same.
        seconds_7b: that a model of 7 billion weights would take on 8 cores like these, by the rates of this run.
        memory: the most bytes that were held.
        notes: what the person should know, in sentences.
    """

    path: Path
    bytes: int
    seconds: float
    rows: tuple[Row, ...]
    block_bits: float
    all_bits: float
    perplexity: float | None
    perplexity_source: float | None
    seconds_7b: float
    memory: int
    notes: tuple[str, ...]
    planned: float | None
    predicted: float | None


def compress(
    source: Path, out: Path, options: Options, report: Report, *, restart: bool = False, force: bool = False
) -> Built:
    """Compresses `source` into `out`, going on from what an earlier call has done.

    Args:
        source: a Hugging Face folder or a GGUF file.
        out: the file; `.nutshell` is added where the name has none. The work is kept in `<out>.work` beside it.
        options: with several levels the build has all of them, and a slider. The work is deleted when the build is
            there.
        report: told of progress some times a second.
        restart: throw away what an earlier call has done.
        force: `out` may be replaced.

    Raises:
        InterruptedError: `report` returned False; everything that is done is kept.
        InvalidRequestError: options that do not work, or text that there is none of.
        ConflictError: `out` is there; or the work folder is of another run, or in use.
        ModelError: a source that cannot be compressed.
        MemoryShortageError, StorageError: no room.
    """
    out = build_path(out)
    folder = work_folder(out)
    began = time.monotonic()
    finished = None if restart else peek(folder, _FINISHED)
    if not (finished or out.is_file()):
        check_out(out, force=force)
    machine = None if restart else peek(folder, "machine")
    prepared = prepare(source, options, machine=machine)
    try:
        there = None if restart else already_built(prepared, out)
        if there is not None:
            if folder.is_dir():
                Store(folder, prepared.run()).remove()
            prepared.checkpoint.close()
            return _there(prepared, out, *there, began)
        if not finished:
            check_out(out, force=force)
        refuse_shortage(prepared.estimate(out.parent), out.parent, stored=_used(folder))
        store = Store(folder, prepared.run(), restart=restart)
    except BaseException:
        prepared.checkpoint.close()
        raise
    run = _Run(prepared, out, store, report)
    try:
        built = run.go()
    except OSError as error:
        if isinstance(error, InterruptedError):
            raise
        raise storage_error(out, error) from error
    except NutshellError:
        if not run.working:  # refused: nothing is left behind
            store.remove()
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):  # torch's words
            raise
        raise MemoryShortageError(
            "There was not enough memory to go on.",
            why="Other programs may have taken it meanwhile.",
            remedy="What is done is kept. Close other programs and start again.",
            details=repr(error),
        ) from error
    finally:
        run.source.close()
        store.close()
    return built


def _there(prepared: Prepared, out: Path, rows: tuple[Row, ...], about: Mapping[str, Any], began: float) -> Built:
    """What is known of a build that an earlier call has made."""
    blocks = [row for row in rows if ".layers." in row.module]
    size, quality = out.stat().st_size, about["checked"]
    return Built(
        out,
        size,
        time.monotonic() - began,
        rows,
        sum(row.bits * row.weights for row in blocks) / sum(row.weights for row in blocks),
        float(about["bits_per_weight"] if about.get("scheme") == "slider" else 8 * size / sum(r.weights for r in rows)),
        quality.get("perplexity"),
        quality.get("perplexity_source"),
        prepared.seven_b(Plan.of(prepared.pieces())),
        0,
        ("It was finished before: nothing had to be done.", *([str(about["warning"])] if "warning" in about else [])),
        None,
        None,
    )


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


class _Run:
    """One call. `working`: there is something to keep."""

    def __init__(self, prepared: Prepared, out: Path, store: Store, report: Report) -> None:
        self._began = time.monotonic()
        self._prepared, self._out, self._store = prepared, out, store
        self._options = prepared.options
        self._plan = Plan.of(prepared.pieces())
        self._plan.learn(store.note("rates"))
        self._teller = Teller(self._plan, report, prepared.args.n_layers, budget=prepared.options.memory)
        self.working = self.resumed = store.resumed
        self.source = Source(prepared.checkpoint, next(j.source for j in prepared.tables if "embed_tokens" in j.module))
        torch.set_num_threads(self._options.threads)

    def go(self) -> Built:
        store = self._store
        graph = open_graph(self.source.checkpoint)
        unnamed = store.folder / "build.unmeasured"
        known = store.note(_FINISHED)
        if not (known and (unnamed.is_file() or self._out.is_file())):
            self._check()
            texts = self._texts()
            self._teller.finish("calibrate")
            store.put_note("machine", self._prepared.machine)
            self.working = True
            tables = self._tables()
            known = self._build(graph, texts, tables, unnamed)
            restate(unnamed, known["more"])
            store.put_note(_FINISHED, known)
        publish(unnamed, self._out)
        return self._built(graph, known)

    # -- before --------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Every number of the source is looked at, once."""
        self._teller.begin("check")
        if self._store.note("checked") is None:
            if self._options.texts:  # a folder without text is said before a model is read for a minute
                personal(self._options.texts, frozenset())
            checkpoint = self.source.checkpoint
            held = 0
            for module in checkpoint.linears():
                self._teller.tell()
                held += checkpoint.linear(module).nbytes
                if held > _PAGES:
                    self.source.refresh()
                    checkpoint, held = self.source.checkpoint, 0
            for name in checkpoint.arrays():
                checkpoint.array(name)
            self.source.refresh()
            self._teller.finish("check")
            self._store.put_note("checked", True)
        self._plan.finish("check", 0.0)

    def _texts(self) -> Texts:
        """The same tokens as an earlier call had, whatever became of the files that they are from."""
        self._teller.begin("calibrate")
        found = self._store.get_arrays(_CALIBRATION)
        if found is None:
            texts, about = read_texts(self._prepared)
            sha = hashlib.sha256(texts.all.astype("<i4").tobytes()).hexdigest()
            arrays = {"tokens": texts.tokens, "validation": texts.validation}
            self._store.put_arrays(_CALIBRATION, arrays, {**about, "tokens": int(texts.tokens.size), "sha256": sha})
            found = self._store.get_arrays(_CALIBRATION)
            assert found is not None
        return Texts(found[1]["tokens"].copy(), found[1]["validation"].copy())

    def _lessons(self) -> Texts:
        """More of the same for the last stage of tuning."""
        options = replace(self._options, tokens=LESSONS * self._options.tokens)
        return read_texts(replace(self._prepared, options=options))[0]

    # -- the work ------------------------------------------------------------------------------------------------------

    def _tables(self) -> dict[str, PackedLinear]:
        from kernels.cpu import nearest_codes

        search, found = partial(nearest_codes, threads=self._options.threads), {}
        for job in self._prepared.tables:
            key = job.module.rpartition(".")[2]
            more = TABLES if len(self._options.levels) > 1 else ()
            for scheme in dict.fromkeys((job.recipe.name, *more)):
                recipe, level = recipe_named(scheme, HEAD_SCHEMES), table_level(scheme)
                known = self._store.get(job.module, level)
                if known is not None:
                    self._teller.recall(job.module, scheme, known.error)
                else:
                    self._teller.begin("quantize", job.module, scheme)
                    began = time.monotonic()
                    made = encode(self.source.checkpoint.linear(job.source), recipe, search, job.module)
                    took = time.monotonic() - began
                    self._store.put(job.module, level, made.packed, error=made.error, seconds=took)
                    self._teller.finish(key if scheme == job.recipe.name else "", error=made.error)
            self._plan.finish(key, 0.0)
            stored = self._store.get(job.module, table_level(job.recipe.name))
            assert stored is not None
            found[key] = stored.packed
        self.source.refresh()
        return found

    def _build(self, graph: Graph, texts: Texts, tables: dict[str, PackedLinear], unnamed: Path) -> dict[str, Any]:
        """Everything up to the measured file; what is then still to be said of it."""
        teller, options = self._teller, self._options
        blocks = Blocks(self._prepared, self.source, graph, self._store, texts, tables["embed_tokens"], teller)
        hidden = blocks.run()
        if options.tuning in ("p", "pv"):
            tune_whole(options, graph, self.source, self._store, self._lessons, tables, teller)
        teller.begin("write")
        kept = [row.module for row in rows_of(self._prepared, graph, self._store) if row.protected]
        found = self._store.get_arrays(_CALIBRATION)
        about = describe_build(self._prepared, self._out, found[0] if found else {}, kept)
        about["run"] = run_sum(self._prepared)
        if len(options.levels) > 1:
            told = self._slider(graph, texts, hidden, about, unnamed)
        else:
            told = self._plain(graph, texts, hidden, about, unnamed)
        notes = [told["warning"]] if told.get("warning") else []
        if kept:
            notes.append(f"{len(kept)} linears that write massive activations are kept at 4 bits.")
        return {"more": told, "notes": notes, "seconds_7b": self._prepared.seven_b(self._plan)}

    def _plain(self, graph: Graph, texts: Texts, hidden: Any, about: dict[str, Any], unnamed: Path) -> dict[str, Any]:
        """Writes and checks a build of one level; what is to be added to its description."""
        teller = self._teller
        write_build(self._prepared, graph, self.source, self._store, about, unnamed)
        teller.finish("write")
        teller.begin("measure")
        head = self.source.checkpoint.linear(graph.head)
        with torch.no_grad():
            source = gate.source_loss(graph, head, hidden, texts.validation, stop=teller.stop)
        del head
        loss = gate.build_loss(unnamed, texts.validation, threads=self._options.threads, stop=teller.stop)
        teller.finish("measure")
        return _checked(loss, source, texts)

    def _slider(self, graph: Graph, texts: Texts, hidden: Any, about: dict[str, Any], unnamed: Path) -> dict[str, Any]:
        """The same with several."""
        slider = build_slider(
            self._prepared, graph, self.source, self._store, texts, hidden, about, unnamed, self._teller
        )
        at = next(one for one in slider.anchors if one.steps == slider.default)
        told = _checked(math.log(at.perplexity), math.log(slider.perplexity), texts)
        weights = sum(job.weights for job in self._prepared.jobs)
        return told | {"bits_per_weight": round(8 * slider.bytes[slider.default] / weights, 3)}

    # -- after ---------------------------------------------------------------------------------------------------------

    def _built(self, graph: Graph, known: Mapping[str, Any]) -> Built:
        rows = rows_of(self._prepared, graph, self._store)
        tables = {job.module for job in self._prepared.tables}
        first: dict[str, Row] = {}
        for row in rows:
            if row.module not in tables:
                first.setdefault(row.module, row)
        size = self._out.stat().st_size
        weights = sum(row.weights for row in first.values())
        whole = weights + sum(row.weights for row in rows if row.module in tables)
        quality = known["more"]["checked"]
        built = Built(
            self._out,
            size,
            time.monotonic() - self._began,
            tuple(rows),
            sum(row.bits * row.weights for row in first.values()) / weights,
            float(known["more"].get("bits_per_weight", 8 * size / whole)),
            quality["perplexity"],
            quality["perplexity_source"],
            float(known["seconds_7b"]),
            self._teller.peak,
            tuple(known["notes"]),
            None if self.resumed else self._teller.planned,
            self._teller.predicted,
        )
        self._store.remove()
        return built


def read_texts(prepared: Prepared) -> tuple[Texts, dict[str, Any]]:
    """What the model shall read, and where it is from.

    Raises:
        InvalidRequestError: there is no text, or too little.
    """
    found = calibration_tokens(tokenizer_of(prepared.checkpoint.path), prepared.options)
    sources = [str(source) for source in found.sources]
    about = {
        "sources": sources[:_NAMED],
        "documents": len(sources),
        "seed": found.seed,
        "texts": [str(path.absolute()) for path in prepared.options.texts],
        "skipped": dict(found.skipped),
        "validation_tokens": int(found.validation.size),
    }
    return Texts(found.tokens, found.validation), about


def _checked(loss: float, source: float, texts: Texts) -> dict[str, Any]:
    """For the description of a build: nats per token of it and of its source on the texts of validation."""
    quality = {
        "perplexity": _exp(loss),
        "perplexity_source": _exp(source),
        "tokens": int(texts.validation.size),
        "text": "validation",
    }
    verdict = gate.verdict(loss, source)
    return {"checked": quality} | ({"warning": verdict} if verdict else {})


def _exp(loss: float) -> float | None:
    """Perplexity; None where it is too large to be a number."""
    return math.exp(loss) if math.isfinite(loss) and loss < 700 else None
