"""`nutshell bench`: measure the program on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.commands.options import byte_count, number

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add", "run"]


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "bench",
        help="measure the program on this machine",
        description="app: start-up, first token, speed through the whole program beside the engine alone, idle cost, "
        "memory, stop. ui: streaming, scrolling, opening, searching, on an echo. engine: llama.cpp in our hands "
        "beside llama-cpp-python's own; with --peer-gguf, a build on our own engine beside a GGUF on llama.cpp. "
        "kernels: our own linears beside the speed of the memory. compress: the quality of builds of --model beside "
        "llama.cpp's types of it. speculate: answers with and without drafts, by class of prompt. plan: the memory and "
        "speed of builds in many settings, predicted and then measured. download: how fast a model comes, beside curl.",
    )
    parser.add_argument("what", choices=["app", "ui", "engine", "kernels", "compress", "speculate", "plan", "download"])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="how often to measure (default: as needed)")
    parser.add_argument("--model", default="", metavar="FILE", help="a model file (default: the built-in model)")
    parser.add_argument("--peer-gguf", default="", metavar="FILE", help="engine: a GGUF file for llama.cpp")
    parser.add_argument("--busy", action="store_true", help="engine: also beside a foreign process that wants a core")
    parser.add_argument(
        "--threads", type=number(int, 1, 1024), default=0, metavar="N", help="kernels, engine: ours (default: cores)"
    )
    parser.add_argument("--isa", default="", metavar="NAME", help="kernels: an instruction set, or all (default: best)")
    parser.add_argument("--scheme", default="", metavar="A,B", help="kernels: only these, e.g. aqlm-2x8,q4")
    count = number(int, 1, 1 << 24)
    parser.add_argument(
        "--build", action="append", default=[], metavar="FILE", help="compress, plan: a build; may be repeated"
    )
    parser.add_argument("--types", default="", metavar="A,B", help="compress: llama.cpp's, e.g. IQ2_XS,Q2_K, or none")
    parser.add_argument("--text", default="", metavar="A,B", help="compress: files, or code,prose (the default)")
    parser.add_argument(
        "--tokens",
        type=count,
        default=0,
        metavar="N",
        help="compress: of each text (6144); ui, speculate: of an answer",
    )
    parser.add_argument(
        "--calibration-tokens",
        type=count,
        default=0,
        metavar="N",
        help="compress: for llama.cpp's importance matrix (default: 16384)",
    )
    parser.add_argument("--prompts", default="", metavar="FILE", help="speculate: the prompts (default: ours)")
    parser.add_argument("--classes", default="", metavar="A,B", help="speculate: only these, e.g. story,code edit")
    parser.add_argument(
        "--memory-budget",
        type=byte_count,
        default=0,
        metavar="SIZE",
        help="speculate: of the weights that stay in memory; the others come from the disk",
    )
    parser.add_argument(
        "--disk-rate", type=float, default=0.0, metavar="MB/S", help="speculate: as from a disk that gives no more"
    )
    parser.add_argument(
        "--draft-nodes",
        type=number(int, 1, 511),
        default=0,
        metavar="N",
        help="speculate: of every pass, whatever they promise (default: as many as pay)",
    )
    parser.add_argument("--draft-model", default="", metavar="FILE", help="speculate, plan: a small model that drafts")
    parser.add_argument("--size", type=byte_count, default=0, metavar="SIZE", help="download: of the file (1 GB)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures."""
    if arguments.what == "kernels":
        from app.benchmarks import kernels

        return kernels.run(arguments)
    if arguments.what == "speculate":
        from app.benchmarks import speculate

        return speculate.run(arguments)
    if arguments.what == "plan":
        from app.benchmarks import plan

        return plan.run(arguments)
    if arguments.what == "download":
        from app.benchmarks import download

        return download.run(arguments)
    if arguments.what == "ui":
        from app.benchmarks import ui

        return ui.run(arguments)
    if arguments.what == "compress":
        from app.benchmarks import compress

        return compress.run(arguments)
    if arguments.what == "engine" and arguments.peer_gguf:
        from app.benchmarks import native_engine

        return native_engine.run(arguments)
    if arguments.what == "engine":
        from app.benchmarks import engine

        return engine.run(arguments)
    from app.benchmarks import app

    return app.run(arguments)
