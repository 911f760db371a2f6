"""Polish of a finished file: a search around one of its positions, by what the native engine answers from that file."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.architectures import build
from backend.engine.model import Model
from backend.formats.pack import PackCheckpoint, no_slider
from backend.formats.pack_slider import Mixture, PackSlider
from backend.formats.safetensors_writer import replacing
from backend.quantize.calibration import calibration_tokens
from backend.quantize.evaluation_model import open_model
from backend.quantize.evaluation_scores import Expected, compare, expect
from backend.quantize.evaluation_text import tokenizer_of
from backend.quantize.finish import restate_file
from backend.quantize.layer import Stop
from backend.quantize.options import Options, Progress, Report
from backend.quantize.slider.evolve import Evolved, Rounds, evolve
from backend.quantize.slider.upgrades import Choice
from kernels.cpu.executor import CpuExecutor, default_threads

__all__ = ["Polished", "polish"]

#: tokens of a text; the source's answers to eight of them take 0.6 GB on the disk for a vocabulary of 152,000
_LENGTH, _TEXTS = 256, 8
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Polished:
    """What a search found.

    Attributes:
        steps: the position.
        bytes, bytes_before: of the linears.
        kl, kl_before: nats per token to the source, on text that calibrates.
        generations: that were finished.
        changed: linears that have another level than before.
        seconds: that it took.
    """

    steps: int
    bytes: int
    bytes_before: int
    kl: float
    kl_before: float
    generations: int
    changed: int
    seconds: float


def polish(
    path: Path,
    reference: Path,
    position: float | None,
    *,
    rounds: Rounds | None = None,
    threads: int = 0,
    report: Report = lambda _: True,
) -> Polished:
    """Looks for a better mixture of a position's size, and writes it into the file.

    Args:
        path: a pack with a slider; replaced as a whole when something better was found.
        reference: what it was made from.
        position: of the handle; None: the default.
        rounds: how long.
        threads: that compute; 0: one for each core.
        report: told of progress (stage "polish", done and total in generations); False ends the search: the best so far
            is kept, and InterruptedError is not raised.

    Raises:
        InvalidRequestError: there is no slider, or no such position.
        ModelError, MemoryShortageError, StorageError.
    """
    began, rounds = time.monotonic(), rounds or Rounds()
    threads = threads or default_threads()
    checkpoint = PackCheckpoint(path, position=position)
    if checkpoint.slider is None:
        raise no_slider(path.name)
    slider, steps = checkpoint.slider, checkpoint.steps
    going = [True]

    def tell(done: int) -> None:
        going[0] = going[0] and report(Progress("polish", float(done), float(rounds.generations), module=path.name))

    def stopped() -> bool:
        tell(0)
        return not going[0]

    try:
        with tempfile.TemporaryDirectory(prefix="nutshell-", ignore_cleanup_errors=True) as folder:
            texts = _texts(reference)
            expected: list[Expected] = []
            try:
                expected += _expected(reference, texts, threads, Path(folder), stopped)
                found = _search(
                    checkpoint,
                    slider,
                    rounds,
                    lambda view, tokens: _kl(view, texts[: max(1, tokens // _LENGTH)], expected, threads),
                    tell,
                    lambda: not going[0],
                )
            except InterruptedError:  # before anything was looked at
                found = Evolved(slider.levels(steps), slider.size(slider.ranks(steps)), math.inf, math.inf, 0)
            expected.clear()  # what is mapped is let go of before its folder is deleted
    finally:
        checkpoint.close()
    if found.kl < found.kl_before:
        _put(path, slider, steps, found)
    return _result(slider, steps, found, began)


def _search(
    checkpoint: PackCheckpoint,
    slider: PackSlider,
    rounds: Rounds,
    fitness: Callable[[PackCheckpoint, int], float],
    tell: Callable[[int], None],
    stop: Stop,
) -> Evolved:
    """`fitness`: KL of a view of the file on so many tokens."""
    choices = {
        module: [Choice(*one) for one in zip(ladder, slider.sizes[module], slider.errors[module], strict=True)]
        for module, ladder in slider.ladders.items()
    }
    steps = checkpoint.steps
    start, most = slider.levels(steps), slider.size(slider.ranks(steps))

    def measured(levels: Mapping[str, str], tokens: int) -> float:
        return fitness(checkpoint.mixed([slider.ladders[m].index(level) for m, level in levels.items()]), tokens)

    return evolve(
        choices, start, most, measured, rounds=rounds, report=lambda best: tell(best.generations), stop=stop
    )  # fmt: skip


def _texts(reference: Path) -> npt.NDArray[np.int32]:
    """Text that ships for calibration, never that of a measurement."""
    options = Options(("q8",), tokens=_LENGTH * _TEXTS, sequence=_LENGTH, seed=1)
    return np.asarray(calibration_tokens(tokenizer_of(reference), options).tokens, np.int32)


def _expected(reference: Path, texts: npt.NDArray[np.int32], threads: int, folder: Path, stop: Stop) -> list[Expected]:
    """What the source says of each text; its log-probabilities lie in a file."""
    model: Model = open_model(reference, length=_LENGTH, threads=threads, reference=True)
    found = []
    try:
        for number, text in enumerate(texts):
            rows = len(text) - 1
            logs = np.memmap(folder / f"{number}.bin", np.float16, "w+", shape=(rows, model.info.n_vocab))
            surprise, likeliest = np.empty(rows, np.float32), np.empty(rows, np.int32)
            model.rewind(0)
            for piece in _pieces(rows):
                if stop():
                    raise InterruptedError
                logits = _forward(model, text[piece.start : piece.stop])
                part = expect(logits, text[piece.start + 1 : piece.stop + 1], threads)
                logs[piece.start : piece.stop] = part.log_probabilities
                surprise[piece.start : piece.stop] = part.surprise
                likeliest[piece.start : piece.stop] = part.likeliest
            found.append(Expected(logs, surprise, likeliest))
    finally:
        model.close()
    return found


def _forward(model: Model, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    from backend.engine.model import TokenTree

    count = len(tokens)
    logits = model.forward(TokenTree(tokens.tolist(), range(-1, count - 1), range(count)))
    model.commit(range(count))
    return logits


def _kl(view: PackCheckpoint, texts: npt.NDArray[np.int32], expected: list[Expected], threads: int) -> float:
    run = CpuExecutor(build(view).program, capacity=_LENGTH, max_rows=_ROWS, threads=threads)
    total, scored = 0.0, 0
    for text, known in zip(texts, expected, strict=False):
        run.rewind(0)
        for piece in _pieces(len(text) - 1):
            count, part = len(piece), slice(piece.start, piece.stop)
            logits = run.forward(text[part].tolist(), range(-1, count - 1), range(count))
            run.commit(range(count))
            theirs = Expected(known.log_probabilities[part], known.surprise[part], known.likeliest[part])
            total += float(compare(theirs, logits, text[piece.start + 1 : piece.stop + 1], threads).kl.sum())
            scored += count
    return total / scored


def _pieces(rows: int) -> list[range]:
    return [range(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]


def _put(path: Path, slider: PackSlider, steps: int, found: Evolved) -> None:
    """A copy with another header takes the file's place: a kill leaves the file that was there."""
    ranks = tuple(ladder.index(found.levels[module]) for module, ladder in slider.ladders.items())
    mixtures = {**slider.mixtures, steps: Mixture(ranks, found.kl_before, found.kl)}
    with replacing(path) as file, path.open("rb") as old:
        shutil.copyfileobj(old, file, 1 << 23)
        restate_file(file, {}, slider=replace(slider, mixtures=mixtures))


def _result(slider: PackSlider, steps: int, found: Evolved, began: float) -> Polished:
    before = slider.levels(steps)
    changed = sum(before[module] != level for module, level in found.levels.items())
    size = slider.size(slider.ranks(steps))
    return Polished(
        steps, found.bytes, size, found.kl, found.kl_before, found.generations, changed, time.monotonic() - began
    )
