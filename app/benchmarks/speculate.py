"""`nutshell bench speculate`: answers with and without drafts, by class of prompt.

Each prompt is answered twice on one loaded model, greedily and from an empty cache: plain, and in the mode that is
measured; the two take turns to be first. Decode only: the clock starts with the first token. What the drafts do to the
first token is a column of its own. The drafters keep what they learned, as they do in the program.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.benchmarks.report import hardware_name, print_table
from app.models import default_model
from app.terminal import say
from backend.api.errors import InvalidRequestError
from backend.api.schemas import Completion, LoadModel, Sampling
from backend.config.paths import program_folder
from backend.engine.generate import End, Session, Token, generate
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.loading import load_model
from backend.engine.model import Model
from backend.speculative.decoder import DraftStats, Speculation
from backend.speculative.setup import prepare

__all__ = ["run"]

_PROMPTS = Path("tests") / "data" / "speculation.json"
_TOKENS = 96
_N_CTX = 2048


@dataclass(slots=True)
class Answer:
    """One answer: its tokens, the text, seconds to the first token and from there to the last."""

    tokens: int
    text: str
    first_s: float
    rest_s: float
    drafts: DraftStats


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; with --json one object, whose rows have class, engine, regime, mode, ratio and more."""
    prompts = read_prompts(Path(arguments.prompts) if arguments.prompts else program_folder() / _PROMPTS)
    entry = default_model(arguments.model)
    options = LoadModel(
        n_ctx=_N_CTX, n_threads=arguments.threads, speculation="auto", draft_model=arguments.draft_model
    )
    model, _ = load_model(entry, options, lambda _done: True)
    prepared = prepare(model, entry, options, load_model)
    try:
        if prepared.notice:
            say(prepared.notice)
        while prepared.measure():
            pass
        if prepared.speculation is None:
            raise InvalidRequestError("This model cannot work with drafts.", why="It cannot forget what it has read.")
        rows = _rows(model, prepared.speculation, prompts, arguments.rounds, arguments.tokens or _TOKENS)
        mode = "auto, draft model" if arguments.draft_model and not prepared.notice else "auto"
        engine = "llama.cpp" if isinstance(model, LlamaCppModel) else "native"
        for row in rows:
            row.update(engine=engine, regime="memory", mode=mode)
        costs = prepared.speculation.costs
        curve = {str(n): round(costs.ratio(n), 3) for n in (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 24, 32, 48, 64)}
    finally:
        prepared.close()
        model.close()
    header = ["class", "x plain", "tokens a pass", "acceptance", "first token", "drafting", "same text"]
    keys = ["class", "ratio", "tokens_per_pass", "acceptance", "ttft_ratio", "draft_share", "same"]
    table = [[str(row[key]) for key in keys] for row in rows]
    print_table(f"{entry.name} ({engine}, {mode}) on {hardware_name()}", header, table)
    if arguments.json:
        print(json.dumps({"model": entry.name, "hardware": hardware_name(), "pass_ratio": curve, "rows": rows}))
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
    model: Model, speculation: Speculation, classes: dict[str, list[str]], count: int, tokens: int
) -> list[dict[str, Any]]:
    rows = []
    for name, prompts in classes.items():
        pairs: list[tuple[Answer, Answer]] = []
        for number, prompt in enumerate(prompts[: count or None]):
            if number % 2:
                drafted = answer(model, speculation, prompt, tokens)
                plain = answer(model, None, prompt, tokens)
            else:
                plain = answer(model, None, prompt, tokens)
                drafted = answer(model, speculation, prompt, tokens)
            pairs.append((plain, drafted))
        rows.append({"class": name, **summary(pairs)})
        say(f"{name}: {rows[-1]['ratio']} times plain")
    return rows


def summary(pairs: list[tuple[Answer, Answer]]) -> dict[str, Any]:
    """The figures of a class from (plain, drafted) answers."""

    def rate(answers: list[Answer]) -> float:
        return sum(a.tokens - 1 for a in answers) / max(sum(a.rest_s for a in answers), 1e-9)

    plain, drafted = [p for p, _ in pairs], [d for _, d in pairs]
    passes = sum(d.drafts.passes for d in drafted)
    nodes, accepted = sum(d.drafts.drafted for d in drafted), sum(d.drafts.accepted for d in drafted)
    whole = sum(d.rest_s for d in drafted)
    return {
        "ratio": round(rate(drafted) / max(rate(plain), 1e-9), 3),
        "tokens_per_pass": round((passes + accepted) / max(passes, 1), 3),
        "acceptance": round(accepted / nodes, 3) if nodes else None,
        "plain_tok_s": round(rate(plain), 2),
        "ttft_ratio": round(sum(d.first_s for d in drafted) / max(sum(p.first_s for p in plain), 1e-9), 3),
        "draft_share": round(sum(d.drafts.draft_s for d in drafted) / max(whole, 1e-9), 4),
        "same": f"{sum(p.text == d.text for p, d in pairs)} of {len(pairs)}",
    }


def answer(model: Model, speculation: Speculation | None, prompt: str, tokens: int) -> Answer:
    """One greedy answer of at most `tokens` tokens from an empty cache."""
    model.rewind(0)
    completion = Completion(prompt=prompt, sampling=Sampling(temperature=0, max_tokens=tokens))
    started = first = last = time.perf_counter()
    pieces: list[str] = []
    count = 0
    drafts = DraftStats()
    for item in generate(Session(model, speculation), completion, lambda: False):
        if isinstance(item, Token):
            last = time.perf_counter()
            first = last if not count else first
            count += 1
            pieces.append(item.text)
        elif isinstance(item, End):
            drafts = item.drafts
    return Answer(count, "".join(pieces), first - started, last - first, drafts)
