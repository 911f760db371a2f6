"""`nutshell bench compress`: our builds beside llama.cpp's types of the same source, on the same held-out text.

llama.cpp's types are made from the source by its own `llama_model_quantize`, all with an importance matrix from our
calibration text, kept in the cache folder, and run by llama.cpp. Builds that are given run on the engine that they
belong to.
The reference is the source on our own engine. A type whose weights lie for more than half on the source's own grid is
left out: the source is itself a rounded file, and rounding it to the same grid again costs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from app.benchmarks.report import hardware_name, print_table
from app.commands.measure import Line
from app.models import default_model
from app.terminal import say
from backend.api.errors import InvalidRequestError, ModelError
from backend.config.paths import paths
from backend.quantize.calibration import calibration_tokens
from backend.quantize.evaluation import CONTEXT, TOKENS, UNSCORED, Evaluation, Measured
from backend.quantize.evaluation_model import layer_types
from backend.quantize.evaluation_peers import TYPES, Peers, same_type
from backend.quantize.evaluation_text import EvaluationText, read_text, tokenizer_of
from backend.quantize.evaluation_texts import TEXTS, held_out
from backend.quantize.options import Options

__all__ = ["run"]

#: a build with more of its weights than this in the source's own types is left out
_SAME = 0.5
_CALIBRATION = 16 * 1024


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table, and with --json one object as the last line."""
    source = Path(default_model(arguments.model).path)
    left_out: list[dict[str, str]] = []
    builds: list[Path] = []
    for wanted in arguments.build:
        with _one_of_many(Path(wanted).name, left_out):
            builds.append(Path(default_model(wanted).path))
    types = _types(arguments.types)
    texts = [_text(name) for name in (arguments.text or "code,prose").split(",")]
    threads = arguments.threads or psutil.cpu_count(logical=False) or 1
    evaluation = Evaluation(source, texts, tokens=arguments.tokens or TOKENS, threads=threads)
    line = Line()
    rows: list[dict[str, Any]] = []
    try:
        evaluation.prepare(line.tell)  # what is wrong with the source is the end of it
        for build in builds:
            with _one_of_many(build.name, left_out):
                rows += _rows(build.name, evaluation.of(build, line.tell))
        if types:
            peers = _peers(source, arguments, threads)
            for name in types:
                with _one_of_many(name, left_out):
                    rows += _peer(name, source, peers, evaluation, line, left_out)
    finally:
        line.end()
    rows.sort(key=lambda row: (row["text"], row["bits"]))
    figures = {
        "source": source.name,
        "hardware": hardware_name(),
        "context": CONTEXT,
        "unscored": UNSCORED,
        "calibration_tokens": arguments.calibration_tokens or _CALIBRATION,
        "rows": rows,
        "left_out": left_out,
    }
    _print(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0


@contextmanager
def _one_of_many(name: str, left_out: list[dict[str, str]]) -> Iterator[None]:
    """A build that cannot be measured does not cost the figures of the others."""
    try:
        yield
    except ModelError as error:
        left_out.append({"build": name, "why": str(error)})
        say(f"{name}: {error}")


def _peers(source: Path, arguments: argparse.Namespace, threads: int) -> Peers:
    chosen = Options(("q8",), tokens=arguments.calibration_tokens or _CALIBRATION, sequence=CONTEXT)
    tokens = calibration_tokens(tokenizer_of(source), chosen).tokens
    return Peers(source, tokens, paths().cache / "measure" / "peers", threads)


def _peer(
    name: str, source: Path, peers: Peers, evaluation: Evaluation, line: Line, left_out: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Rows of one of llama.cpp's types, or none where it says nothing."""
    began = time.monotonic()
    path = peers.make(name, say)
    made_s = time.monotonic() - began
    same = same_type(source, path)
    if same > _SAME:
        left_out.append({"build": name, "why": f"{100 * same:.0f} % of its weights lie on the source's own grid"})
        return []
    told = {"same_grid": round(same, 4), "types": {k: round(share, 4) for k, share in layer_types(path).items()}}
    return [{**row, **told, "made_s": round(made_s, 1)} for row in _rows(name, evaluation.of(path, line.tell))]


def _rows(name: str, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One for each text."""
    return [
        {
            "build": name,
            "bits": round(one.bits_per_weight, 4),
            "bits_all": round(one.bits_per_weight_all, 4),
            "file_mb": round(one.file_bytes / 1e6, 1),
            "kl": float(f"{one.kl_mean:.5g}"),
            "kl_error": float(f"{one.kl_error:.2g}"),
            "kl_p99": float(f"{one.kl_p99:.4g}"),
            "top1": round(one.top1, 4),
            "ppl": float(f"{one.perplexity:.6g}"),
            "ppl_source": float(f"{one.perplexity_reference:.6g}"),
            "bits_per_byte": round(one.bits_per_byte, 4),
            "text": one.text,
            "tokens": one.tokens,
            "seconds": round(one.seconds, 1),
        }
        for one in measured
    ]


def _types(asked: str) -> list[str]:
    if asked == "none":
        return []
    found = asked.upper().split(",") if asked else list(TYPES)
    unknown = [name for name in found if name not in TYPES]
    if unknown:
        raise InvalidRequestError(
            f"{unknown[0]} is not one of llama.cpp's types that are compared here.",
            remedy=f"Known are {', '.join(TYPES)}.",
        )
    return found


def _text(name: str) -> EvaluationText:
    return held_out(name) if name in TEXTS else read_text(Path(name).expanduser())


def _print(figures: dict[str, Any]) -> None:
    for text in dict.fromkeys(row["text"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["text"] == text]
        first = rows[0]
        print_table(
            f"{figures['source']}, {first['tokens']:,} tokens of {text}, perplexity {first['ppl_source']:.3f}",
            ["", "bits", "all", "MB", "KL", "+-", "p99", "same 1st", "perplexity", "loss"],
            [
                [
                    row["build"],
                    f"{row['bits']:.3f}",
                    f"{row['bits_all']:.3f}",
                    f"{row['file_mb']:.0f}",
                    f"{row['kl']:.4f}",
                    f"{row['kl_error']:.4f}",
                    f"{row['kl_p99']:.3f}",
                    f"{100 * row['top1']:.1f} %",
                    f"{row['ppl']:.3f}",
                    f"{100 * (row['ppl'] / row['ppl_source'] - 1):+.1f} %",
                ]
                for row in rows
            ],
        )
        print()
    told = {row["build"]: row for row in figures["rows"] if "types" in row}
    for name, row in told.items():
        shares = ", ".join(f"{100 * share:.0f} % {kind}" for kind, share in row["types"].items() if share >= 0.005)
        print(f"{name}: {shares}; {100 * row['same_grid']:.0f} % on the source's own grid")
    for one in figures["left_out"]:
        print(f"left out: {one['build']}: {one['why']}")
