"""`nutshell export`: a build as a folder that other programs load."""

from __future__ import annotations

import argparse
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.options import byte_count, number
from app.terminal import LiveLine, duration, size

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.formats.hf_export import Exported

__all__ = ["add", "run"]

_FORMATS = ("hf-aqlm", "hf-spqr")

_EPILOG = """\
hf-aqlm  for transformers with the package aqlm, vLLM and others. One number of codebooks for the whole model.
hf-spqr  the published layout of SpQR: 3 bits, linears without biases. transformers loads it on NVIDIA GPUs.

What the format cannot hold as it is stored (embedding, head, layers kept at more bits) is written as 16-bit numbers.
The weights are those of the build; nothing is made anew.
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "export",
        help="write a build as a Hugging Face folder",
        description="Writes a .nutshell file as a folder that transformers and other programs load.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("build", metavar="BUILD", help="a .nutshell file")
    parser.add_argument("out", metavar="OUT", help="the folder to write; it must not be there yet")
    parser.add_argument("--format", required=True, choices=_FORMATS, help="of the weights")
    parser.add_argument(
        "--position",
        type=number(float, 0, 1),
        metavar="P",
        help="of the build's slider: 0 is smallest, 1 is best (default: the build's own)",
    )
    parser.add_argument(
        "--shard", type=byte_count, default=4 << 30, metavar="SIZE", help="most of one file (default: 4G)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exports, and says what became of what."""
    from backend.formats.hf_export import export_build

    line = LiveLine()
    began = time.monotonic()

    def moved(done: int, total: int) -> bool:
        if line.due():
            line.show(f"{100 * done / total:3.0f} %")
        return True

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill leaves nothing behind either
    try:
        made = export_build(
            Path(arguments.build).expanduser(),
            Path(arguments.out).expanduser(),
            arguments.format,
            position=arguments.position,
            shard_bytes=arguments.shard,
            moved=moved,
        )
    finally:
        line.end()
        signal.signal(signal.SIGTERM, previous)
    print(_json(made) if arguments.json else _words(made, time.monotonic() - began))
    return 0


def _words(made: Exported, seconds: float) -> str:
    return "\n".join(
        [
            f"{made.path}: {size(made.bytes)}, {duration(seconds)}",
            f"{len(made.held)} linears as they are stored, {len(made.plain)} as 16-bit numbers",
            *made.notes,
        ]
    )


def _json(made: Exported) -> str:
    from dataclasses import asdict

    return json.dumps(asdict(made), default=str, indent=2)
