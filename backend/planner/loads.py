"""Whether a model of this machine fits as it is to be loaded, and how else it would."""

from __future__ import annotations

import math
from pathlib import Path

from backend.api.plan_schemas import ModelPlan
from backend.api.schemas import LoadModel, ModelEntry
from backend.planner.learned import Known
from backend.planner.machine import with_disk
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.subject import Subject, subject_of_file

__all__ = ["plan_of_load", "plan_of_subject"]


def plan_of_load(
    entry: ModelEntry, request: LoadModel, machine: Machine, known: Known | None = None, *, leaving: int = 0
) -> ModelPlan:
    """The plan of one load; reads headers, and the disk for half a second where layers would stay on it.

    Args:
        entry: the model.
        request: how it is to be loaded; an f16 cache counts as not decided.
        machine: with what is free now.
        known: what earlier loads taught.
        leaving: bytes of the model that is loaded and would leave.

    Raises:
        ModelError: damaged, or of a kind that the planner cannot compute.
    """
    return plan_of_subject(subject_of_file(Path(entry.path)), entry, request, machine, known, leaving=leaving)


def plan_of_subject(
    subject: Subject,
    entry: ModelEntry,
    request: LoadModel,
    machine: Machine,
    known: Known | None = None,
    *,
    leaving: int = 0,
) -> ModelPlan:
    """The same of a model whose sizes are known already: `subject` is what `entry` is, at the position of `request`."""
    wishes = Wishes(
        context=request.n_ctx,
        kv="q8" if request.kv == "q8" else "",
        threads=request.n_threads,
        disk=request.memory_budget > 0,
        leaving=leaving,
    )
    wishes = wishes.knowing(known, subject)
    found = plan(subject, machine, wishes)
    if found.budget and subject.streams is not None:
        found = plan(subject, with_disk(machine, subject.streams), wishes)
    change = None
    if found.changes:
        change = LoadModel(
            id=entry.id, path=entry.path, n_ctx=found.context, kv="q8" if found.kv == "q8" else request.kv,
            memory_budget=found.budget, n_threads=request.n_threads, position=request.position,
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
        kv="" if subject.engine == "llama.cpp" else "q8" if found.kv == "q8" else "f16",
        budget=found.budget,
        tokens=found.speed.tokens if finite else 0.0,
        low=found.speed.low if finite else 0.0,
        high=found.speed.high if finite else 0.0,
    )
