"""`nutshell bench`: measure the program on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add", "run"]


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "bench",
        help="measure the program on this machine",
        description="app: start-up, first token, speed through the whole program beside the engine alone, idle cost, "
        "memory, stop. engine: our engine beside llama-cpp-python's own, interleaved.",
    )
    parser.add_argument("what", choices=["app", "engine"])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="how often to measure (default: as needed)")
    parser.add_argument(
        "--model", default="", metavar="FILE", help="a model file or folder (default: the built-in model)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures."""
    if arguments.what == "engine":
        from app.benchmarks import engine

        return engine.run(arguments)
    from app.benchmarks import app

    return app.run(arguments)
