"""`nutshell slider`: the positions of a build that was made at several levels, and the search for better ones."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.options import number
from app.terminal import LiveLine, duration, say, size, table
from backend.api.errors import InvalidRequestError, PackagesMissingError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.formats.pack_slider import PackSlider
    from backend.quantize.options import Progress

__all__ = ["add", "run"]

_PLACES = 11

_EPILOG = """\
KL is how far the next word's probabilities are from the original's, in nats; LOSS is what that is as a growth of
perplexity. What has a * was measured from the file when it was made; the rest is predicted from it.

--polish looks for a mixture of the same size with a smaller KL, and puts it into the file. Ctrl+C ends the search and
keeps the best so far.
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "slider",
        help="show the positions of a build with a slider, or polish one",
        description="A build that was made at several levels has a slider from fastest to best.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("build", metavar="BUILD", help="a file of Nutshell's, or (part of) its name")
    parser.add_argument(
        "--polish", type=number(float, 0, 1), metavar="P", help="look for a better mixture at this position"
    )
    parser.add_argument("--reference", metavar="SRC", help="the model that the build was made from, to polish")
    parser.add_argument(
        "--rounds", type=number(int, 1, 100_000), default=20, metavar="N", help="of the search (default: 20)"
    )
    parser.add_argument(
        "--threads", type=number(int, 1, 1024), metavar="N", help="threads to compute with (default: all cores)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Shows, or polishes and then shows."""
    from app.models import default_model

    build = Path(default_model(arguments.build).path)
    if arguments.polish is not None:
        if not arguments.reference:
            raise InvalidRequestError(
                "The original model is missing.",
                why="A better mixture is one whose answers are nearer to the original's.",
                remedy="Name it with --reference.",
            )
        _polish(build, Path(default_model(arguments.reference).path), arguments)
        return 0
    slider, name = _read(build)
    print(json.dumps(_facts(slider), indent=2) if arguments.json else f"{name}\n\n{_table(slider)}")
    return 0


def _read(build: Path) -> tuple[PackSlider, str]:
    from backend.formats.checkpoint import open_checkpoint
    from backend.formats.pack import PackCheckpoint

    checkpoint = open_checkpoint(build, position=0.0)  # refuses what has no slider
    try:
        assert isinstance(checkpoint, PackCheckpoint)
        assert checkpoint.slider is not None
        return checkpoint.slider, build.name
    finally:
        checkpoint.close()


def _polish(build: Path, reference: Path, arguments: argparse.Namespace) -> None:
    if importlib.util.find_spec("torch") is None:
        raise PackagesMissingError(
            "The packages that this needs are not installed.",
            remedy="Add them with: python3 -m installer add compression",
        )
    # by name: what the window and the engine import must not lead to torch
    polishing: Any = importlib.import_module("backend.quantize.slider.polish")
    rounds: Any = importlib.import_module("backend.quantize.slider.evolve").Rounds(generations=arguments.rounds)
    line = _Line()
    previous = signal.signal(signal.SIGINT, line.stop)
    try:
        found = polishing.polish(
            build, reference, arguments.polish, rounds=rounds, threads=arguments.threads or 0, report=line.tell
        )
    finally:
        signal.signal(signal.SIGINT, previous)
        line.end()
    if arguments.json:
        print(json.dumps(asdict(found)))
    elif found.kl < found.kl_before:
        print(
            f"KL {found.kl_before:.4g} -> {found.kl:.4g} at {size(found.bytes)} ({size(found.bytes_before)} before), "
            f"{found.changed} linears at another level, {found.generations} rounds in {duration(found.seconds)}"
        )
    else:
        print(f"Nothing better was found in {found.generations} rounds ({duration(found.seconds)}).")


class _Line(LiveLine):
    """The line of a search."""

    def __init__(self) -> None:
        super().__init__(at_once=True)
        self._going = True

    def stop(self, *_: object) -> None:
        """The first Ctrl+C ends the search; the second ends the program."""
        if not self._going:
            raise KeyboardInterrupt
        self._going = False
        say("Ending; the best so far is kept.")

    def tell(self, now: Progress) -> bool:
        """Rounds that are done."""
        if self.due():
            self.show(f"polish  round {now.done:.0f} of {now.total:.0f}")
        return self._going


def _rows(slider: PackSlider) -> list[dict[str, Any]]:
    measured = {one.steps: one for one in slider.anchors}
    even = {slider.steps(place / (_PLACES - 1)) for place in range(_PLACES)}
    rows = []
    for steps in sorted(even | set(measured) | {slider.default} | set(slider.mixtures)):
        mixture, anchor = slider.mixtures.get(steps), measured.get(steps)
        kl = mixture.kl if mixture else anchor.kl if anchor else slider.kl[steps]
        rows.append(
            {
                "position": round(slider.place(steps), 4),
                "upgrades": steps,
                "bytes": slider.size(slider.ranks(steps)),
                "kl": kl,
                "loss": math.expm1(min(kl, 50.0)),
                "measured": anchor is not None,
                "perplexity": anchor.perplexity if anchor else None,
                "polished": mixture is not None,
                "default": steps == slider.default,
            }
        )
    return rows


def _facts(slider: PackSlider) -> dict[str, Any]:
    return {"perplexity": slider.perplexity, "upgrades": slider.last, "positions": _rows(slider)}


def _table(slider: PackSlider) -> str:
    rows = [("POSITION", "SIZE", "KL", "LOSS", "")]
    for row in _rows(slider):
        notes = [word for word in ("default", "polished") if row[word]]
        mark = "*" if row["measured"] or row["polished"] else " "
        loss = f"{100 * row['loss']:.1f} %"
        rows.append((f"{row['position']:.3f}", size(row["bytes"]), f"{row['kl']:.4f}{mark}", loss, ", ".join(notes)))
    return table(rows, right=frozenset({0, 1, 2, 3}))
