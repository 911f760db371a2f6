"""Whether a model of this machine fits as it is to be loaded, and how else it would."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backend.api.errors import NutshellError
from backend.api.plan_schemas import ModelPlan
from backend.api.schemas import LoadModel, ModelEntry
from backend.planner.cards import to_load
from backend.planner.learned import Known
from backend.planner.machine import with_disk
from backend.planner.memory import takes_q8
from backend.planner.plan import Machine, Wishes, placed, plan
from backend.planner.subject import Subject, at_lowest_level, subject_of_file

__all__ = ["Drafts", "layers_to_load", "plan_of_load", "plan_of_subject"]

#: finds the models that could guess: asked only where a plan depends on it, because their vocabularies are compared
Drafts = Callable[[], Sequence[Path]]


def plan_of_load(
    entry: ModelEntry,
    request: LoadModel,
    machine: Machine,
    known: Known | None = None,
    *,
    leaving: int = 0,
    drafts: Drafts = tuple,
) -> ModelPlan:
    """The plan of one load; reads headers, and the disk for half a second where layers would stay on it.

    Args:
        entry: the model.
        request: how it is to be loaded; an f16 cache counts as not decided.
        machine: with what is free now.
        known: what earlier loads taught.
        leaving: bytes of the model that is loaded and would leave.
        drafts: models that could guess for it. Where layers stay on the disk and none was asked for, the one that
            helps most comes with the change.

    Raises:
        ModelError: damaged, or of a kind that the planner cannot compute.
    """
    subject = subject_of_file(Path(entry.path))
    return plan_of_subject(subject, entry, request, machine, known, leaving=leaving, drafts=drafts)


def plan_of_subject(
    subject: Subject,
    entry: ModelEntry,
    request: LoadModel,
    machine: Machine,
    known: Known | None = None,
    *,
    leaving: int = 0,
    drafts: Drafts = tuple,
) -> ModelPlan:
    """The same of a model whose sizes are known already: `subject` is what `entry` is, at the position of `request`."""
    asked = _drafting(subject, Path(entry.path), request)
    wishes = Wishes(
        context=request.n_ctx,
        kv="q8" if request.kv == "q8" else "",
        threads=request.n_threads,
        disk=request.memory_budget > 0,
        draft=asked,
        leaving=leaving,
    )
    wishes = wishes.knowing(known, subject)
    found = plan(subject, machine, wishes)
    taken = request.draft_model
    if found.budget and subject.streams is not None:
        machine = with_disk(machine, subject.streams)
        found = plan(subject, machine, wishes)
        wanted = found.changes and not request.draft_model and request.speculation != "off"
        for path in drafts() if wanted else ():
            with contextlib.suppress(NutshellError):
                helped = plan(subject, machine, replace(wishes, draft=subject_of_file(path)))
                if helped.changes and helped.draft and helped.speed.tokens > found.speed.tokens:
                    found, taken = helped, str(path)
    change = None
    if found.changes:
        change = LoadModel(
            id=entry.id, path=entry.path, n_ctx=found.context, kv="q8" if found.kv == "q8" else request.kv,
            memory_budget=found.budget, n_threads=request.n_threads, position=request.position,
            draft_model="none" if asked is not None and not found.draft else taken,
        )  # fmt: skip
    finite = math.isfinite(found.speed.high)
    return ModelPlan(
        name=entry.name,
        verdict=found.verdict,
        remedies=found.remedies,
        reasons=found.reasons,
        change=change,
        ram=found.ram,
        free=found.free,
        context=found.context,
        kv="" if not takes_q8(subject.architecture, subject.engine) else "q8" if found.kv == "q8" else "f16",
        budget=found.budget,
        draft=found.draft,
        tokens=found.speed.tokens if finite else 0.0,
        low=found.speed.low if finite else 0.0,
        high=found.speed.high if finite else 0.0,
        limit=found.limit if finite else "",
    )


def layers_to_load(path: Path, request: LoadModel, machine: Machine) -> int:
    """How many layers go to a graphics card (`LoadModel.n_gpu_layers`) where the request leaves it to the plan.

    Args:
        path: of the model.
        request: with its context.
        machine: with what is free now.

    Raises:
        ModelError: as `plan_of_load`.
    """
    subject = subject_of_file(path)
    wishes = Wishes(
        context=request.n_ctx,
        kv="q8" if request.kv == "q8" else "f16",
        threads=request.n_threads,
        draft=_drafting(subject, path, request),
    )
    card = placed(subject, machine, wishes)
    if card.link and request.memory_budget:  # what waits for the link waits in memory
        return 0
    return to_load(card, subject)


def _drafting(subject: Subject, path: Path, request: LoadModel) -> Subject | None:
    """What would guess; None where nothing was asked for, or it cannot be read: the model is loaded without it then."""
    if request.speculation == "off" or request.draft_model in ("", "none"):
        return None
    try:
        if request.draft_model == "self":
            return at_lowest_level(subject, path)
        return subject_of_file(Path(request.draft_model))
    except (NutshellError, OSError):
        return None
