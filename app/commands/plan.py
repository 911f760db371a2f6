"""`nutshell plan`: whether a model fits this machine, and how fast it will be, before it is downloaded or loaded."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.options import number
from app.terminal import size, table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.api.plan_schemas import LadderStop
    from backend.api.schemas import ModelEntry
    from backend.planner.learned import Learned
    from backend.planner.plan import Machine, Plan
    from backend.planner.subject import Subject

__all__ = ["add", "run"]


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "plan",
        help="tell whether a model fits this machine",
        description="Computes what a model needs and how fast it will be: a file on this machine, or one of the "
        "catalogue, of which nothing is downloaded. Nothing is loaded.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a file or folder, (part of) its name, or an id of the catalogue"
    )
    parser.add_argument("--context", type=number(int, 16, 1 << 24), default=0, metavar="N", help="tokens of context")
    parser.add_argument("--kv", default="", choices=["f16", "q8"], help="how the conversation is remembered")
    parser.add_argument("--threads", type=number(int, 1, 1024), default=0, metavar="N", help="threads to compute with")
    parser.add_argument("--draft", default="", metavar="D", help="a smaller model that guesses, as MODEL")
    parser.add_argument(
        "--tokens-per-pass",
        type=number(float, 1, 64),
        default=1.0,
        metavar="T",
        help="that come out of a pass with speculation (default: 1, none)",
    )
    parser.add_argument("--disk", action="store_true", help="layers may stay on the disk (own packs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Plans."""
    from backend.config.paths import paths
    from backend.hardware.speeds import keep_speeds
    from backend.planner.learned import Learned
    from backend.planner.machine import this_machine, with_disk
    from backend.planner.plan import Wishes, best, plan

    keep_speeds(paths().measured)

    wishes = Wishes(
        context=arguments.context,
        kv=arguments.kv,
        threads=arguments.threads,
        disk=arguments.disk,
        draft=_found(arguments.draft)[0][-1] if arguments.draft else None,
        tokens_per_pass=arguments.tokens_per_pass,
    )
    subjects, entry = _found(arguments.model)
    machine = this_machine(paths().models)
    learned = Learned(paths().learned)

    def planned(machine: Machine) -> list[Plan]:
        return [plan(one, machine, wishes.knowing(learned.about, one)) for one in subjects]

    plans = planned(machine)
    file = next((subject.streams for subject, one in zip(subjects, plans, strict=True) if one.budget), None)
    if file is not None:  # only now its disk matters
        plans = planned(with_disk(machine, file))
    chosen = best(plans)
    builds = _builds(entry, machine, learned) if entry is not None else []
    if arguments.json:
        facts = {
            "best": _facts(chosen) if chosen else None,
            "plans": [_facts(one) for one in plans],
            "builds": [_stop_facts(one) for one in builds],
        }
        print(json.dumps(facts, indent=2))
        return 0
    if chosen is None:
        print("The catalogue knows no build of this model that could run here.")
        return 0
    if len(plans) > 1:
        print(table([("BUILD", "ANSWER", "MEMORY", "TOK/S"), *map(_row, plans)], right=frozenset({2, 3})) + "\n")
    print(_words(chosen))
    if len(builds) > 1:
        print("\nIts builds on this machine, from fast to best:\n")
        rows = [("BUILD", "TYPE", "ANSWER", "MEMORY", "TOK/S", "PERPLEXITY"), *map(_stop_row, builds)]
        print(table(rows, right=frozenset({3, 4, 5})))
    return 0


def _builds(entry: ModelEntry, machine: Machine, learned: Learned) -> list[LadderStop]:
    from app.models import local_models
    from backend.planner.ladder import builds_of
    from backend.speculative.suggest import guessers

    installed = local_models().scan()
    return builds_of(entry, installed, machine, learned.about, drafts=lambda: guessers(entry, installed))


def _found(wanted: str) -> tuple[list[Subject], ModelEntry | None]:
    """What a name means: a path, a model on this machine, or else one of the catalogue, which has no file here.

    Raises:
        NotFoundError: nothing of the kind. ModelError: it cannot be read.
    """
    from app.models import default_model
    from backend.api.errors import NotFoundError
    from backend.planner.catalogue import entry_named
    from backend.planner.subject import subject_of_file, subjects_of

    path = Path(wanted).expanduser()
    if path.exists():
        return [subject_of_file(path)], default_model(wanted)
    try:
        return subjects_of(entry_named(wanted)), None
    except NotFoundError as unknown:
        try:
            entry = default_model(wanted)
        except NotFoundError:
            raise unknown from None
        return [subject_of_file(Path(entry.path))], entry


def _facts(one: Plan) -> dict[str, Any]:
    """As JSON: no number that is infinite."""
    facts = asdict(one)
    facts["memory"]["total"] = one.memory.total
    facts["speed"] = {key: round(value, 3) if math.isfinite(value) else None for key, value in facts["speed"].items()}
    return facts


def _stop_facts(one: LadderStop) -> dict[str, Any]:
    plan = one.plan
    return {
        "build": plan.name, "path": one.load.path, "position": one.load.position, "scheme": one.scheme,
        "engine": one.engine, "bytes": one.bytes, "fits": one.fits, "ram": plan.ram, "context": plan.context,
        "kv": plan.kv, "budget": plan.budget, "draft": plan.draft,
        "tok_s": round(plan.tokens, 3), "low": round(plan.low, 3),
        "high": round(plan.high, 3), "loss": round(one.loss, 4), "measured": one.measured, "remedies": plan.remedies,
    }  # fmt: skip


def _stop_row(one: LadderStop) -> tuple[str, ...]:
    plan = one.plan
    place = f" at {one.load.position:.2f}" if one.load.position is not None else ""
    answer = "fits" if plan.verdict == "fits" else plan.remedies[0] if plan.remedies else plan.verdict
    quality = f"+{math.expm1(one.loss):.1%}{'' if one.measured else ' expected'}"
    return plan.name + place, one.scheme, answer, size(plan.ram), f"{plan.tokens:.1f}", quality


def _row(one: Plan) -> tuple[str, ...]:
    return one.build, one.verdict, size(one.ram), f"{one.speed.tokens:.1f}"


def _words(one: Plan) -> str:
    answer = {"fits": "It fits.", "fits if": "It fits if you do this:", "does not fit": "It does not fit."}
    found = one.speed
    lines = [f"{one.build}: {answer[one.verdict]}", *(f"  {text}" for text in one.remedies), ""]
    lines += one.reasons
    if one.budget:
        lines.append(f"Load it with --memory-budget {one.budget >> 20}M.")
    if one.verdict != "does not fit":
        lines.append(
            f"About {found.tokens:.1f} tokens a second ({found.low:.1f} to {found.high:.1f}), and "
            f"{found.first:.1f} s until the first word after a text of 512 tokens, with {one.threads} threads."
        )
        lines.append(one.limit)
    return "\n".join(lines)
