"""`nutshell pack`: a smaller build of a model, from its weights alone."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.options import number
from app.terminal import LiveLine, duration, say, size, table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.quantize.quick import Packed, Progress

__all__ = ["add", "run"]

_SCHEMES = ("aqlm-2x8", "aqlm-3x8", "aqlm-4x8", "spqr-3", "spqr-4", "q8", "q4")
_HEADS = ("q4", "q8", "f16", "bf16", "f32")

_EPILOG = """\
The quick packer looks at the weights only, not at what a model does with them: its 2- and 3-bit builds are for trying
the engine, not for good answers. They say so in their own description.

schemes (bits per weight of the layers): aqlm-2x8 2, aqlm-3x8 3, aqlm-4x8 4, spqr-3 3.8, spqr-4 4.8, q4 4.25, q8 8.25
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "pack",
        help="make a smaller build of a model, without calibration data",
        description="Packs a model for Nutshell's own engine: minutes for small models, no data needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="a Hugging Face folder, or a GGUF file")
    parser.add_argument("out", metavar="OUT", help="the file to write; its name ends in .nutshell (added if missing)")
    parser.add_argument("--scheme", required=True, choices=_SCHEMES, help="how the layers are stored")
    parser.add_argument(
        "--head", choices=_HEADS, help="how the output layer is stored (default: q4 with 2 or 3 bits, else q8)"
    )
    parser.add_argument("--embedding", choices=_HEADS, help="how the table of tokens is stored (default: as the head)")
    parser.add_argument(
        "--threads", type=number(int, 1, 1024), metavar="N", help="threads to compute with (default: all cores)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Packs, and prints a table."""
    from backend.quantize.quick import pack_model

    line = _Line()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill leaves nothing behind either
    try:
        packed = pack_model(
            Path(arguments.source).expanduser(),
            Path(arguments.out).expanduser(),
            arguments.scheme,
            head=arguments.head,
            embedding=arguments.embedding,
            threads=arguments.threads or 0,
            force=arguments.force,
            progress=line.tell,
        )
    finally:
        line.end()
        signal.signal(signal.SIGTERM, previous)
    print(_summary(packed))
    return 0


class _Line(LiveLine):
    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._announced = False

    def tell(self, now: Progress) -> None:
        """Weights done, speed, and what is left."""
        if not now.done and not self._announced:
            say("Packing by the weights alone, without calibration data.")
            self._announced = True
        if not self.due():
            return
        rate = now.done / max(time.monotonic() - self._began, 1e-6)
        left = (now.total - now.done) / rate if rate else 0.0
        self.show(
            f"{100 * now.done / now.total:3.0f} %  {rate / 1e6:.1f} M weights/s, {duration(left)} left  {now.module}"
        )


def _summary(packed: Packed) -> str:
    rows = [("LINEAR", "SHAPE", "SCHEME", "BITS", "ERROR")]
    rows += [
        (one.module, f"{one.out_features} x {one.in_features}", one.scheme, f"{one.bits:.3f}", f"{one.error:.4f}")
        for one in packed.linears
    ]
    return "\n".join(
        [
            table(rows, right=frozenset({1, 3, 4})),
            "",
            "ERROR is the squared error of the weights over their square. Outputs may be worse or better than it.",
            f"{packed.path}: {size(packed.bytes)}, {packed.seconds:.0f} s",
            f"{packed.block_bits:.3f} bits per weight in the layers, {packed.all_bits:.3f} with embedding and head",
            f"This build is data-free ({packed.note}).",
        ]
    )
