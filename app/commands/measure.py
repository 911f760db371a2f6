"""`nutshell measure`: how good a build is beside the model that it was made from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.options import number
from app.terminal import LiveLine, size

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.quantize.evaluation import Measured
    from backend.quantize.options import Progress

__all__ = ["Line", "add", "run"]

_EPILOG = """\
The text is cut into contexts of 1,024 tokens; the first 256 of each are read but not scored. A GGUF build is run by
llama.cpp, everything else by Nutshell's own engine, and always from its file. What the reference says is kept in the
cache folder (up to 230 MB for each context), so that the next build of it takes half the time.
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "measure",
        help="measure how much a build lost",
        description="Perplexity of a build, and how far its predictions are from those of the model it was made from.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("build", metavar="BUILD", help="a file of Nutshell's, a Hugging Face folder, or a GGUF file")
    parser.add_argument("--reference", required=True, metavar="SRC", help="the model that the build was made from")
    parser.add_argument(
        "--position",
        type=number(float, 0, 1),
        metavar="P",
        help="of the build's slider: 0 is fastest, 1 is best (default: the build's own)",
    )
    parser.add_argument(
        "--text",
        default="code",
        metavar="FILE",
        help="a text file; or code or prose: Python sources or its manual, which come with the program (default: code)",
    )
    parser.add_argument(
        "--tokens", type=number(int, 1, 1 << 24), metavar="N", help="at most N tokens of the text (default: 6144)"
    )
    parser.add_argument(
        "--threads", type=number(int, 1, 1024), metavar="N", help="threads to compute with (default: all cores)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures, and prints what was found."""
    from app.models import default_model
    from backend.quantize.evaluation import TOKENS, measure
    from backend.quantize.evaluation_text import read_text, refuse_learned
    from backend.quantize.evaluation_texts import TEXTS, held_out

    text = held_out(arguments.text) if arguments.text in TEXTS else read_text(Path(arguments.text).expanduser())
    build, reference = (Path(default_model(wanted).path) for wanted in (arguments.build, arguments.reference))
    if arguments.text not in TEXTS:
        refuse_learned(Path(arguments.text).expanduser(), build)
    line = Line()
    try:
        found = measure(
            build,
            reference,
            text,
            tokens=arguments.tokens or TOKENS,
            threads=arguments.threads or 0,
            position=arguments.position,
            report=line.tell,
        )
    finally:
        line.end()
    print(json.dumps(found.as_json()) if arguments.json else _words(found))
    return 0


class Line(LiveLine):
    """The line of a measurement."""

    def __init__(self) -> None:
        super().__init__()
        self._module = ""

    def tell(self, now: Progress) -> bool:
        """The model at work, what is done, and what is left; never gives up."""
        if now.module == self._module and not self.due():
            return True
        self._module = now.module
        left = "" if now.seconds_left is None else f", {now.seconds_left:.0f} s left"
        self.show(f"{100 * now.done / max(1, now.total):3.0f} %  {now.module}{left}")
        return True


def _words(found: Measured) -> str:
    theirs = found.perplexity_reference
    loss = 100 * (found.perplexity / theirs - 1)
    return "\n".join(
        [
            f"{found.build} beside {found.reference}, on {found.tokens:,} tokens of {found.text}",
            "",
            f"perplexity        {found.perplexity:.3f}, of the reference {theirs:.3f} ({loss:+.2f} %)",
            f"bits per byte     {found.bits_per_byte:.4f}",
            f"KL                {found.kl_mean:.4g} (standard error {found.kl_error:.2g}), "
            f"99th percentile {found.kl_p99:.4g}",
            f"same first guess  {100 * found.top1:.1f} %",
            f"bits per weight   {found.bits_per_weight:.3f} in the layers, {found.bits_per_weight_all:.3f} in all",
            f"file              {size(found.file_bytes)}",
        ]
    )
