"""`nutshell compress`: a smaller build of a model, made for what it does with text; resumed by the same command."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.options import byte_count, number
from app.terminal import EXIT_INTERRUPTED, LiveLine, duration, say, size, table
from backend.api.errors import PackagesMissingError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.quantize.options import Options, Progress
    from backend.quantize.plan import Estimate

__all__ = ["add", "run"]

_LEVELS = ("aqlm-1x8", "aqlm-2x8", "aqlm-3x8", "spqr-3", "aqlm-4x8", "spqr-4", "q8")
_TUNINGS = ("none", "block", "p", "pv")
_HEADS = ("q4", "q8", "f16", "bf16", "f32")
#: weights of a model whose rates say something about larger ones: less than that is mostly overhead
_TELLING = 50_000_000

_EPILOG = """\
The model reads some text, and each of its layers is stored so that what it answers changes least. Its text comes
with Nutshell; add yours with --text if it is of another kind or language.

Work is kept in OUT.work: after Ctrl+C, a crash or a power cut the same command goes on where it was, and the build is
the same to the bit. With several levels (2, 3 and 4 bits go well together) the build has them all, and a slider from
fastest to best: `nutshell slider OUT` shows its positions.

levels (bits per weight of the layers): aqlm-1x8 1, aqlm-2x8 2, aqlm-3x8 3, spqr-3 3.8, aqlm-4x8 4, spqr-4 4.7, q8 8.25
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "compress",
        help="make a smaller build of a model, the careful way",
        description="Compresses a model for Nutshell's own engine: minutes to hours, on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="a Hugging Face folder, or a GGUF file")
    parser.add_argument("out", metavar="OUT", help="the file to write; its name ends in .nutshell (added if missing)")
    parser.add_argument(
        "--level",
        action="append",
        required=True,
        choices=_LEVELS,
        help="how the layers are stored; several: all of them in one build, with a slider",
    )
    parser.add_argument("--tune", choices=_TUNINGS, default="none", help="from the fastest to the best (default: none)")
    parser.add_argument("--head", choices=_HEADS, help="the output layer (default: q4 below 3 bits, else q8)")
    parser.add_argument("--embedding", choices=_HEADS, help="the table of tokens (default: as the head)")
    parser.add_argument(
        "--text", action="append", default=[], metavar="PATH", help="a file or folder of your own to learn from"
    )
    parser.add_argument("--own-text-only", action="store_true", help="leave out the text that comes with Nutshell")
    parser.add_argument("--tokens", type=number(int, 16, 1 << 30), metavar="N", help="of text, in all (default: 16384)")
    parser.add_argument("--sequence", type=number(int, 16, 1 << 20), metavar="N", help="of one text (default: 1024)")
    parser.add_argument("--no-protect", action="store_true", help="give no layer more bits than asked for")
    parser.add_argument("--descent", action="store_true", help="AQLM: a tenth better, in twice the time")
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=0, metavar="N", help="of all that is random")
    parser.add_argument("--threads", type=number(int, 1, 1024), default=0, metavar="N", help="(default: all cores)")
    parser.add_argument(
        "--memory",
        type=byte_count,
        default=0,
        metavar="SIZE",
        help="the work may hold, as in 4G (default: half of the free); with less it takes a little longer",
    )
    parser.add_argument("--plan", action="store_true", help="say what it would take, and end")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run has done")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compresses, and prints a table."""
    options = _options(arguments)
    source, out = Path(arguments.source).expanduser(), Path(arguments.out).expanduser()
    if arguments.plan:
        from backend.quantize.prepare import inspect

        estimate = inspect(source, options, out.parent)
        print(_json(estimate) if arguments.json else _plan(estimate))
        return 0
    if importlib.util.find_spec("torch") is None:
        raise PackagesMissingError(
            "The packages that making models smaller needs are not installed.",
            why="It needs PyTorch, which chatting does not.",
            remedy="Add them with: python3 -m installer add compression",
        )
    # by its name only: what the window and the engine import must not lead to torch
    compressing: Any = importlib.import_module("backend.quantize.compress")
    line = _Line()
    with _polite_end(line):
        try:
            built = compressing.compress(
                source, out, options, line.tell, restart=arguments.restart, force=arguments.force
            )
        except InterruptedError:
            line.end()
            say("Stopped. What is done is kept; the same command goes on from here.")
            return EXIT_INTERRUPTED
        finally:
            line.end()
    print(_json(built) if arguments.json else _summary(built))
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    from backend.quantize.options import Options

    given = {name: value for name in ("tokens", "sequence") if (value := getattr(arguments, name)) is not None}
    return Options(
        levels=tuple(dict.fromkeys(arguments.level)),
        tuning=arguments.tune,
        texts=tuple(Path(text).expanduser() for text in arguments.text),
        own_text_only=arguments.own_text_only,
        head=arguments.head,
        embedding=arguments.embedding,
        protect=not arguments.no_protect,
        descent=arguments.descent,
        seed=arguments.seed,
        threads=arguments.threads,
        memory=arguments.memory,
        **given,
    )


@contextlib.contextmanager
def _polite_end(line: _Line) -> Iterator[None]:
    """The first Ctrl+C (or polite kill) asks the work to stop between two pieces; the second ends it where it is."""

    def ask(number: int, frame: object) -> None:
        if line.stopping:
            raise KeyboardInterrupt
        line.stopping = True

    names = [name for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
    previous = {name: signal.signal(getattr(signal, name), ask) for name in names}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(getattr(signal, name), handler)


class _Line(LiveLine):
    """The line of a compression.

    Attributes:
        stopping: somebody asked for an end.
    """

    def __init__(self) -> None:
        super().__init__(at_once=True, width=118)
        self._error = ""
        self.stopping = False

    def tell(self, now: Progress) -> bool:
        """Stage, block, linear, error; how much of all, speed, what is left, memory. False: stop."""
        if now.error is not None:
            self._error = f"error {now.error:.4f}"
        if self.due():
            self.show(self._words(now))
        return not self.stopping

    def _words(self, now: Progress) -> str:
        parts = [f"{100 * now.done / now.total:3.0f} %" if now.total else "", now.stage]
        parts.append(f"{min(now.layer + 1, now.layers)}/{now.layers}" if now.layers and now.module else "")
        parts.append(f"{now.rate:.{1 if now.rate >= 1 else 2}f} M weights/s" if now.rate else "")
        parts.append(f"{duration(now.seconds_left)} left" if now.seconds_left is not None else "")
        parts += [size(now.memory) if now.memory else "", self._error if now.module else ""]
        parts.append(f"{now.module.removeprefix('model.')} {now.level}".strip())
        return "  ".join(part for part in parts if part)


def _plan(estimate: Estimate) -> str:
    rows = [("LEVEL", "BITS", "BUILD")]
    rows += [(one.level, f"{one.bits:.2f}", size(one.bytes)) for one in estimate.levels]
    return "\n".join(
        [
            table(rows, right=frozenset({1, 2})),
            "",
            f"about {duration(estimate.seconds)} on {estimate.threads} cores",
            f"memory: {size(estimate.memory)} of {size(estimate.budget)}",
            f"disk: {size(estimate.disk)} of {size(estimate.disk_free)}",
            f"a model of 7 billion weights would take about {duration(estimate.seconds_7b)} on 8 such cores",
        ]
    )


def _summary(built: Any) -> str:
    rows = [("LINEAR", "SHAPE", "LEVEL", "BITS", "ERROR")]
    rows += [
        (
            row.module,
            f"{row.out_features} x {row.in_features}",
            row.level,
            f"{row.bits:.3f}",
            "" if row.error is None else f"{row.error:.4f}",
        )
        for row in built.rows
    ]
    return "\n".join(
        [
            table(rows, right=frozenset({1, 3, 4})),
            "",
            "ERROR is the squared error of the outputs over their square, on the calibration text.",
            f"{built.path}: {size(built.bytes)}, {duration(built.seconds)}",
            f"{built.block_bits:.3f} bits per weight in the layers, {built.all_bits:.3f} with embedding and head",
            *_quality(built),
            *built.notes,
        ]
    )


def _quality(built: Any) -> list[str]:
    told = [f"memory: {size(built.memory)} at the most"]
    if built.predicted is not None:
        before = "" if built.planned is None else f"said before: {duration(built.planned)}; "
        told.append(
            f"{before}after the first block: {duration(built.predicted)} ({built.predicted / built.seconds - 1:+.0%})"
        )
    if built.perplexity is not None and built.perplexity_source is not None:
        told.append(
            f"perplexity {built.perplexity:.2f}, its source {built.perplexity_source:.2f}, on a little text that was "
            "not learned from; `nutshell measure` says more"
        )
    if sum(row.out_features * row.in_features for row in built.rows) > _TELLING:
        told.append(f"a model of 7 billion weights would take about {duration(built.seconds_7b)} on 8 such cores")
    return told


def _json(value: Any) -> str:
    """A dataclass as JSON; paths as text."""
    from dataclasses import asdict

    return json.dumps(asdict(value), default=str, indent=2)
