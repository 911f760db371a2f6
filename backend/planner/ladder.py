"""One way from fast to best: the builds of one model that are on this machine, each as it fits.

A stop is a whole plan: the build, its context, how the conversation is stored, and how much of it stays in memory. What
the plan must give up for a build to fit (a shorter context, a cache of 8 bits, layers on the disk) moves with the stop.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from backend.api.errors import NutshellError
from backend.api.plan_schemas import LadderStop, ModelLadder
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_slider import PackSlider
from backend.formats.sniff import recognise
from backend.planner.learned import Known
from backend.planner.loads import Drafts, plan_of_subject
from backend.planner.plan import Machine
from backend.planner.quality import expected_loss
from backend.planner.subject import Subject, subject_of_file

__all__ = ["base_name", "builds_of", "ladder", "on_the_way", "plain_name"]

#: words of a file's name behind which its type stands, and nothing of its model
_TYPE: Final = re.compile(
    r"i?q\d\w*|b?f(p)?(16|32)|gguf|ggml|ud|i1|imat(rix)?|aqlm|spqr|gptq|awq|\d?bits?|nutshell|hf", re.ASCII
)
_ENDING: Final = re.compile(r"\.(gguf|nutshell|safetensors)$", re.IGNORECASE)
#: bits of a GGUF type beyond the digit in its name: Q4_K_M has 4.85
_BEYOND: Final = 0.85
#: builds that are offered though they do not fit
_BEYOND_REACH: Final = 3


@dataclass(frozen=True, slots=True)
class _Build:
    """A file that may be the same model; `model`: its name, `lost` nats a token (None: what its bits cost)."""

    entry: ModelEntry
    subject: Subject
    model: str
    lost: float | None
    slider: PackSlider | None = None
    steps: int = 0
    vouched: bool = True  # codes that were chosen without a text are far worse than their bits say


@dataclass(frozen=True, slots=True)
class _Place:
    """What all stops are planned for; `usual`: the cache and the drafting that every build would be loaded with."""

    machine: Machine
    known: Known | None
    usual: LoadModel
    leaving: int = 0
    drafts: Drafts = tuple


def base_name(name: str) -> str:
    """The model that a file's name tells of, without what tells of its type: letters and digits only.

    >>> base_name("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf") == base_name("qwen2.5-coder-1.5b-instruct")
    True
    """
    return "".join(_words(plain_name(name)))


def plain_name(name: str) -> str:
    """The same for people and for a search.

    >>> plain_name("hub/Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf")
    'Qwen2.5-Coder-1.5B-Instruct'
    """
    stem = _ENDING.sub("", Path(name).name)
    kind = _type(stem)
    return stem[: kind.start()].rstrip("-_. ") if kind else stem


def ladder(
    loaded: LoadedModel,
    entries: Iterable[ModelEntry],
    machine: Machine,
    known: Known | None = None,
    *,
    usual: LoadModel | None = None,
    drafts: Drafts = tuple,
) -> ModelLadder:
    """The builds of the loaded model; reads headers, and the disk for half a second where layers would stay on it.

    Args:
        loaded: it would leave for another one.
        entries: the models of this machine.
        machine: with what is free now.
        known: what earlier loads taught.
        usual: what the user chose for every model; its drafting counts.
        drafts: other models that could guess for it, which its builds take where layers would stay on the disk.
    """
    found = ModelLadder(path=loaded.entry.path)
    own = _build(loaded.entry)
    if own is None:
        return found
    place = loaded.slider.position if loaded.slider is not None else None
    usual = usual or LoadModel()
    usual = LoadModel(kv=loaded.kv, speculation=usual.speculation, draft_model=usual.draft_model)
    at = _Place(machine, known, usual, loaded.held_bytes, drafts)
    mine = msgspec.structs.replace(
        usual,
        id=loaded.entry.id,
        path=loaded.entry.path,
        position=place,
        draft_model=loaded.draft_model or usual.draft_model,
        memory_budget=loaded.weight_bytes - loaded.streamed_bytes if loaded.streamed_bytes else 0,
    )
    here = _stop(_where_it_stands(own, loaded), mine, at)
    others = _stops(_akin(own, entries), at)
    # its other positions are on its own slider: here they only say which builds are neither faster nor better
    passed = _stops([own], at) if own.slider is not None else []
    beside = {id(one) for one in passed}
    found.stops = [one for one in on_the_way([here, *others, *passed], keep=here) if id(one) not in beside]
    found.model = own.model
    found.own = next(place for place, one in enumerate(found.stops) if one is here)
    return found


def builds_of(
    entry: ModelEntry,
    entries: Iterable[ModelEntry],
    machine: Machine,
    known: Known | None = None,
    *,
    drafts: Drafts = tuple,
) -> list[LadderStop]:
    """The same of a model that is not loaded, with all measured places of its own slider."""
    own = _build(entry)
    at = _Place(machine, known, LoadModel(), drafts=drafts)
    return on_the_way(_stops([own, *_akin(own, entries)], at)) if own is not None else []


def _akin(own: _Build, entries: Iterable[ModelEntry]) -> list[_Build]:
    """Its other builds."""
    return [
        build
        for entry in entries
        # most other models are told apart by what is in the list already, without another look at the file
        if entry.error is None and entry.path != own.entry.path and entry.layers == own.entry.layers
        if (build := _build(entry)) is not None and _same_model(build, own) and build.vouched
    ]


def _stops(builds: Iterable[_Build], at: _Place) -> list[LadderStop]:
    """Of other builds; one that cannot be planned does not hide the others."""
    found = []
    for build in builds:
        named = msgspec.structs.replace(at.usual, id=build.entry.id, path=build.entry.path)
        for request, moved in _positions(build, named):
            with contextlib.suppress(NutshellError):
                found.append(_stop(moved, request, at))
    return found


def on_the_way(stops: Sequence[LadderStop], keep: LadderStop | None = None) -> list[LadderStop]:
    """From fast to best: those that fit and are better than all faster ones, then the nearest of those that do not
    fit and would be better still. `keep` stays, whatever it is.
    """
    way: list[LadderStop] = []
    least = math.inf
    for one in sorted((one for one in stops if one.fits), key=lambda one: (-one.plan.tokens, one.loss)):
        if one.loss < least or one is keep:
            way.append(one)
        least = min(least, one.loss)
    beyond = sorted((one for one in stops if not one.fits), key=lambda one: (one is not keep, one.plan.ram))
    better = [one for one in beyond if one.loss < least or one is keep][:_BEYOND_REACH]
    return way + sorted(better, key=lambda one: one.plan.ram)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.casefold())


def _type(stem: str) -> re.Match[str] | None:
    """Where the type's first word stands in a file's name."""
    found = list(re.finditer(r"[a-z0-9]+", stem, re.IGNORECASE))
    return next((word for word in found[1:] if _TYPE.fullmatch(word[0].casefold())), None)


def _build(entry: ModelEntry) -> _Build | None:
    """None where the planner does not know its kind."""
    path = Path(entry.path)
    try:
        subject = subject_of_file(path)
        if recognise(path) != "pack":
            # a blob's name is its checksum
            return _Build(entry, subject, plain_name(entry.name if path.name.startswith("sha256") else path.name), None)
        pack = PackCheckpoint(path, data=False)
        try:
            source = str(pack.metadata.get("source") or path.name)
            lost = _measured(pack.metadata, source)
            blind = bool(pack.metadata.get("data_free")) and subject.scheme.startswith(("aqlm", "spqr"))
            vouched = lost is not None or not blind
            return _Build(entry, subject, plain_name(source), lost, pack.slider, pack.steps, vouched)
        finally:
            pack.close()
    except (NutshellError, OSError):
        return None


def _measured(about: Mapping[str, Any], source: str) -> float | None:
    """Nats that a build lost, as it was checked when it was made, and its source before."""
    checked = about.get("checked")
    if not isinstance(checked, Mapping):
        return None
    after, before = checked.get("perplexity"), checked.get("perplexity_source")
    if not (isinstance(after, float) and isinstance(before, float) and before > 0 and 0 < after < math.inf):
        return None
    return max(math.log(after / before), 0.0) + _source_loss(source)


def _source_loss(source: str) -> float:
    word = _type(_ENDING.sub("", Path(source).name))
    kind = re.match(r"i?q(\d)", word[0].casefold()) if word else None
    return expected_loss(int(kind[1]) + _BEYOND) if kind else 0.0


def _same_model(one: _Build, other: _Build) -> bool:
    a, b = one.subject.architecture, other.subject.architecture
    sizes = [(look.layers, look.hidden_size, look.vocab_size, look.intermediate_size) for look in (a, b)]
    return base_name(one.model) == base_name(other.model) and sizes[0] == sizes[1]


def _positions(build: _Build, request: LoadModel) -> Iterator[tuple[LoadModel, _Build]]:
    """Of a build with a slider, those that were measured."""
    slider = build.slider
    if slider is None or not slider.anchors:
        yield request, build
        return
    for anchor in slider.anchors:
        moved = msgspec.structs.replace(request, position=slider.place(anchor.steps))
        yield moved, _moved(build, slider, slider.bytes[anchor.steps], anchor.kl)


def _where_it_stands(build: _Build, loaded: LoadedModel) -> _Build:
    slider = build.slider
    if slider is None or loaded.slider is None or not loaded.slider.points:
        return build
    point = min(loaded.slider.points, key=lambda one: abs(one.place - loaded.slider.position))  # type: ignore[union-attr]
    return _moved(build, slider, point.bytes, point.kl)


def _moved(build: _Build, slider: PackSlider, size: int, kl: float) -> _Build:
    """At another position, where all linears have so many bytes, and this KL to the source."""
    lost = build.lost or 0.0
    stood = next((one.kl for one in slider.anchors if one.steps == build.steps), slider.kl[build.steps])
    of_source = max(lost - stood, 0.0)
    moved = build.subject.with_linears(size - slider.bytes[build.steps])
    return replace(build, subject=moved, lost=of_source + kl)


def _stop(build: _Build, request: LoadModel, at: _Place) -> LadderStop:
    subject = build.subject
    plan = plan_of_subject(subject, build.entry, request, at.machine, at.known, leaving=at.leaving, drafts=at.drafts)
    bits = 8 * subject.weights.total / max(subject.architecture.parameters, 1)
    return LadderStop(
        load=plan.change or request,
        plan=plan,
        scheme=subject.scheme,
        engine=subject.engine,
        bytes=subject.weights.total,
        loss=build.lost if build.lost is not None else expected_loss(bits),
        measured=build.lost is not None,
        fits=plan.verdict == "fits" or plan.change is not None,
    )
