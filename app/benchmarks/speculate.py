"""`nutshell bench speculate`: answers with and without drafts, by class of prompt.

Each prompt is answered on one loaded model, greedily and from an empty cache, in turns of a second or two: with drafts,
then the same tokens without (`turns.py`). Decode only: nothing is drafted, and nothing indexed, before the first token.
The drafters keep what they learned, as they do in the program.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from app.benchmarks.disk import DiskWatch
from app.benchmarks.report import hardware_name, print_table
from app.benchmarks.turns import Answer, answer
from app.models import default_model
from app.terminal import say
from backend.api.errors import InvalidRequestError
from backend.api.schemas import LoadModel
from backend.config.paths import program_folder
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.loading import load_model
from backend.engine.model import Model
from backend.engine.native import NativeModel
from backend.speculative.decoder import Speculation
from backend.speculative.setup import prepare

__all__ = ["run"]

_PROMPTS = Path("tests") / "data" / "speculation.json"
_TOKENS = 96
_N_CTX = 2048


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; with --json one object, whose rows have class, engine, regime, mode, ratio and more."""
    prompts = read_prompts(Path(arguments.prompts) if arguments.prompts else program_folder() / _PROMPTS)
    wanted = [name.strip() for name in arguments.classes.split(",") if name.strip()] or list(prompts)
    if unknown := [name for name in wanted if name not in prompts]:
        raise InvalidRequestError(f"There are no prompts of {unknown[0]}.", remedy=f"Choose from {', '.join(prompts)}.")
    prompts = {name: prompts[name] for name in wanted}
    entry = default_model(arguments.model)
    options = LoadModel(
        n_ctx=_N_CTX,
        n_threads=arguments.threads,
        speculation="custom" if arguments.draft_nodes else "auto",
        draft_nodes=arguments.draft_nodes or 8,
        draft_model=arguments.draft_model,
        memory_budget=arguments.memory_budget,
    )
    model, _ = load_model(entry, options, lambda _done: True)
    watch = None
    stream = model.stream if isinstance(model, NativeModel) else None
    if stream is not None:
        watch = DiskWatch(stream, arguments.disk_rate * 1e6)
        stream.native.limit(arguments.disk_rate * 1e6)
    prepared = prepare(model, entry, options, load_model)
    try:
        if prepared.notice:
            say(prepared.notice)
        if stream is not None and arguments.disk_rate:
            prepared.measure_anew(model)
        while prepared.measure():
            pass
        if prepared.speculation is None:
            raise InvalidRequestError("This model cannot work with drafts.", why="It cannot forget what it has read.")
        rows = _rows(model, prepared.speculation, prompts, arguments.rounds, arguments.tokens or _TOKENS, watch)
        mode = f"{arguments.draft_nodes} nodes" if arguments.draft_nodes else "auto"
        mode += ", draft model" if arguments.draft_model and not prepared.notice else ""
        engine = "llama.cpp" if isinstance(model, LlamaCppModel) else "native"
        for row in rows:
            row.update(engine=engine, regime="memory" if stream is None else "disk", mode=mode)
        disk = None if watch is None else {"budget_mb": round(arguments.memory_budget / 1e6, 1), **watch.found()}
        costs = prepared.speculation.costs
        curve = {str(n): round(costs.ratio(n), 3) for n in (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 24, 32, 48, 64)}
    finally:
        prepared.close()
        model.close()
    header = ["class", "x plain", "worst", "tokens a pass", "acceptance", "draft model", "bookkeeping", "parted"]
    keys = ["class", "ratio", "worst", "tokens_per_pass", "acceptance", "draft_model", "bookkeeping", "parted"]
    table = [[str(row[key]) for key in keys] for row in rows]
    print_table(f"{entry.name} ({engine}, {mode}) on {hardware_name()}", header, table)
    if disk is not None:
        say(
            f"weights from the disk: {disk['pass_mb']} MB a pass at {disk['streaming_mb_s']} MB/s of "
            f"{disk['disk_mb_s']} ({disk['of_disk']:.0%})"
        )
    if arguments.json:
        found = {"model": entry.name, "hardware": hardware_name(), "pass_ratio": curve, "rows": rows}
        print(json.dumps(found if disk is None else {**found, "disk": disk}))
    return 0


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Class -> prompts, in ChatML's user turn, with what is attached.

    Raises:
        InvalidRequestError: there is no such file, or it is not one of prompts.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        texts, prompts = found["texts"], found["prompts"]
        classes: dict[str, list[str]] = {}
        for prompt in prompts:
            attached = prompt.get("attach", "")
            body = f"{attached}:\n```\n{texts[attached]}```\n\n{prompt['text']}" if attached else prompt["text"]
            classes.setdefault(prompt["class"], []).append(
                f"<|im_start|>user\n{body}<|im_end|>\n<|im_start|>assistant\n"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(
            f"The prompts in {path} cannot be read.",
            why="The file is not there, or not of this kind.",
            remedy="Name one with --prompts, or run this from the source folder.",
            details=repr(error),
        ) from None
    return classes


def _rows(
    model: Model,
    speculation: Speculation,
    classes: dict[str, list[str]],
    count: int,
    tokens: int,
    watch: DiskWatch | None,
) -> list[dict[str, Any]]:
    rows = []
    for name, prompts in classes.items():
        answers = []
        for prompt in prompts[: count or None]:
            answers.append(answer(model, speculation, prompt, tokens))
            if watch is not None:
                watch.look()
        rows.append({"class": name, **summary(answers)})
        say(f"{name}: {rows[-1]['ratio']} times plain")
    return rows


def summary(answers: list[Answer]) -> dict[str, Any]:
    """The figures of a class.

    `ratio` is the median of the answers' ratios, `total` that of all their seconds, `worst` the least of them;
    `bookkeeping` the share of the time that drafting itself took, the passes of a draft model left out;
    `parted` the tokens where plain decoding would have gone on otherwise, `widest_tie` the widest distance of the two
    best logits there.
    """
    passes, nodes = sum(a.passes for a in answers), sum(a.drafted for a in answers)
    accepted, tokens = sum(a.accepted for a in answers), sum(a.tokens for a in answers)
    plain, drafted = sum(a.plain_s for a in answers), sum(a.drafted_s for a in answers)
    parted = [gap for a in answers for gap in a.parted]
    return {
        "ratio": round(statistics.median(a.ratio for a in answers), 3),
        "total": round(plain / max(drafted, 1e-9), 3),
        "worst": round(min(a.ratio for a in answers), 3),
        "tokens_per_pass": round((passes + accepted) / max(passes, 1), 3),
        "acceptance": round(accepted / nodes, 3) if nodes else None,
        "plain_tok_s": round(tokens / max(plain, 1e-9), 2),
        "tokens": tokens,
        "prompts": len(answers),
        "draft_model": round(sum(a.model_s for a in answers) / max(drafted, 1e-9), 4),
        "bookkeeping": round(sum(a.bookkeeping_s for a in answers) / max(drafted, 1e-9), 4),
        "parted": len(parted),
        "widest_tie": round(max(parted), 4) if parted else None,
    }
