"""Whether and how a model fits this machine, with reasons in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from backend.planner.cards import Card, on_card
from backend.planner.guessing import TOKENS, can_guess, cost
from backend.planner.learned import Correction, Known
from backend.planner.memory import (
    STREAMED_PASS,
    KvType,
    Memory,
    cell_bytes,
    compute_bytes,
    kv_bytes,
    pass_tokens,
    ring_bytes,
    takes_q8,
    tokenizer_bytes,
)  # fmt: skip
from backend.planner.speed import Rates, Speed, besides_reading, link_seconds, pass_seconds, prompt_seconds, speed
from backend.planner.subject import Subject

__all__ = ["Machine", "Plan", "Wishes", "best", "placed", "plan"]

Verdict = Literal["fits", "fits if", "does not fit"]
#: the prediction may be so much too low before a load that was called good fails
_MARGIN = 1.05
_LEAST_CONTEXT = 2048
_USUAL_CONTEXT = 8192
#: of all memory, what the system and a browser can be asked to leave to a model
_MOST = 0.85
#: tokens a second below which nobody waits for an answer: layers on the disk are not offered first then
_BEARABLE = 0.5
#: nodes of a tree of guesses at most, in memory; the logits of all of them are wanted, from the draft model as well
_DRAFTED = 64
#: weights are sent to a card in every pass where that is so many times as fast as the processor: the link's rate is a
#: data sheet's
_WORTH_SENDING = 1.3
_ORDER: dict[Verdict, int] = {"fits": 0, "fits if": 1, "does not fit": 2}


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is; bytes, and bytes a second.

    Attributes:
        gpu_free: of a card that llama.cpp can use. cuda_free: of one that our engine can use.
    """

    cores: int
    memory_total: int
    memory_free: int
    rates: Rates
    gpu_free: int = 0
    disk_free: int = 0
    cuda_free: int = 0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is decided already; 0 and "" leave it to the plan.

    Attributes:
        disk: layers may stay on the disk and be read for each pass. Without the wish it is a remedy.
        draft: a smaller model that guesses, where memory allows. tokens_per_pass, cost: what comes of guessing
            (`speed.speed`); what a draft model brings where weights come from the disk is known without them.
        leaving: bytes of what is loaded now and will leave.
        filled: share of the context that a conversation has reached, for its speed.
        prompt: tokens of the text before the first word.
        learned: from earlier loads on this machine.
    """

    context: int = 0
    kv: KvType | Literal[""] = ""
    threads: int = 0
    disk: bool = False
    draft: Subject | None = None
    tokens_per_pass: float = 1.0
    cost: float = 1.0
    leaving: int = 0
    filled: float = 0.5  # a conversation fills half of its context, on the whole
    prompt: int = 512
    learned: Correction = field(default_factory=Correction)

    def knowing(self, known: Known | None, subject: Subject) -> Wishes:
        """The same with what earlier loads taught about a model; None: nothing."""
        if known is None:
            return self
        return replace(self, learned=known(subject.engine, subject.scheme, subject.name))


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, what they need, and why. Layers are counted: all of them are somewhere.

    `link`: bytes of the weights that are sent to the card in every pass. `budget` is the `memory_budget` to load it
    with, bytes: of the weights only so much stays in memory; 0: all of them.
    `changes`: loading it with these settings is what the first remedy says. `limit`: what a token waits for.
    """

    verdict: Verdict
    build: str
    engine: str
    repository: str
    context: int
    kv: str
    threads: int
    layers_gpu: int
    layers_ram: int
    layers_disk: int
    budget: int
    draft: str
    memory: Memory
    ram: int
    gpu: int
    link: int
    free: int
    speed: Speed
    reasons: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)
    changes: bool = False
    limit: str = ""


def plan(subject: Subject, machine: Machine, wishes: Wishes | None = None) -> Plan:
    """The plan for one build: as it is wished, else what would have to change for it to fit."""
    wishes = wishes or Wishes()
    if wishes.kv == "q8" and not takes_q8(subject.architecture, subject.engine):
        found = plan(subject, machine, replace(wishes, kv="f16"))
        return replace(found, reasons=[*found.reasons, "This model's memory of the conversation always has 16 bits."])
    trained = subject.context or _USUAL_CONTEXT
    context = min(wishes.context or _USUAL_CONTEXT, trained)
    if wishes.draft is not None and not can_guess(wishes.draft, subject):
        wishes = replace(wishes, draft=None)
    first = _settled(subject, machine, wishes, context, wishes.kv or "f16")
    if first.verdict == "fits":
        return first
    for remedy, context_, kv in _smaller(subject, wishes, context):
        other = _settled(subject, machine, replace(wishes, draft=None), context_, kv)
        if other.verdict == "fits":
            reasons = first.reasons + other.reasons
            return replace(other, verdict="fits if", reasons=reasons, remedies=[remedy], changes=True)
    need = math.ceil((first.memory.total - first.memory.draft - first.gpu) * _MARGIN)
    close = [f"Close programs that hold {_gb(need - first.free)}."] if need <= machine.memory_total * _MOST else []
    streamed = _from_disk(subject, machine, wishes, context)
    if streamed is not None and (not close or streamed.speed.tokens >= _BEARABLE):
        reasons = first.reasons + streamed.reasons
        return replace(streamed, reasons=reasons, remedies=streamed.remedies + close, changes=True)
    if close:
        return replace(first, verdict="fits if", remedies=close + (streamed.remedies if streamed else []))
    remedies = [f"A machine with {_gb(need / _MOST)} of memory would hold it.", "A build with fewer bits needs less."]
    return replace(first, verdict="does not fit", remedies=remedies)


def _from_disk(subject: Subject, machine: Machine, wishes: Wishes, context: int) -> Plan | None:
    """With layers on the disk, as much of the rest as was wished; None where that does not help."""
    if subject.streams is None or wishes.disk:
        return None
    wishes = replace(wishes, disk=True)
    alone = replace(wishes, draft=None)
    ways = [(wished, context, wishes.kv or "f16") for wished in ([alone] if wishes.draft is None else [wishes, alone])]
    found = [one for way in ways if (one := _settled(subject, machine, *way)).verdict == "fits" and one.budget]
    for _, context_, kv in [] if found else _smaller(subject, alone, context):
        one = _settled(subject, machine, alone, context_, kv)
        if one.verdict == "fits" and one.budget:
            found = [one]
            break
    if not found:
        return None
    taken = max(found, key=lambda one: one.speed.tokens)
    remedy = f"Keep {_gb(taken.budget)} of its weights in memory and read the others from the disk."
    return replace(taken, verdict="fits if", remedies=[remedy])


def best(plans: Sequence[Plan]) -> Plan | None:
    """Of the builds of one model the one to take: of those that fit, the largest that reads 5 tokens a second.

    None without builds. Where none is so fast, the fastest; where none fits, the nearest to it.
    """
    if not plans:
        return None
    verdict = min(_ORDER[one.verdict] for one in plans)
    good = [one for one in plans if _ORDER[one.verdict] == verdict]
    if verdict == 2:
        return min(good, key=lambda one: one.ram)
    quick = [one for one in good if one.speed.tokens >= 5]
    return max(quick, key=lambda one: one.memory.weights) if quick else max(good, key=lambda one: one.speed.tokens)


def _smaller(subject: Subject, wishes: Wishes, context: int) -> list[tuple[str, int, KvType]]:
    """What could be less, the mildest first; nothing that was asked for but the draft model, without any of them."""
    found: list[tuple[str, int, KvType]] = []
    kv: KvType = wishes.kv or "f16"
    shorter = context // 2
    first = ""
    if wishes.draft is not None:
        first = "Do without the model that guesses."
        found.append((first, context, kv))
    fewer = not wishes.kv and takes_q8(subject.architecture, subject.engine)
    if fewer and subject.engine == "native":
        kv = "q8"
        found.append((f"{first} Remember the conversation with 8 bits.".lstrip(), context, kv))
    while not wishes.context and shorter >= _LEAST_CONTEXT:
        with_kv = " and remember it with 8 bits" if kv == "q8" and not wishes.kv else ""
        found.append((f"{first} Take a context of {shorter:,} tokens{with_kv}.".lstrip(), shorter, kv))
        context, shorter = shorter, shorter // 2
    if fewer and kv == "f16":  # the last of all: llama.cpp reads a prompt at half the speed with it
        how = "Remember the conversation" if wishes.context else f"Take a context of {context:,} tokens and remember it"
        found.append((f"{first} {how} with 8 bits.".lstrip(), context, "q8"))
    return found


def _settled(subject: Subject, machine: Machine, wishes: Wishes, context: int, kv: KvType) -> Plan:
    """The plan with these settings; its verdict is "fits" or not."""
    memory = _memory(subject, wishes, context, kv)
    card = on_card(subject, memory, context, gpu_free=machine.gpu_free, cuda_free=machine.cuda_free)
    if not card.bytes or subject.engine == "llama.cpp":
        return _with_card(subject, machine, wishes, context, kv, memory, card)
    plain = memory if kv == "f16" else _memory(subject, wishes, context, "f16")
    there = _with_card(subject, machine, wishes, context, "f16", plain, card)  # it has no other keys and values there
    if not card.link:
        return there
    here = _with_card(subject, machine, wishes, context, kv, memory, Card())
    quicker = there.speed.tokens > _WORTH_SENDING * here.speed.tokens
    return there if there.verdict == "fits" and (quicker or here.verdict != "fits") else here


def placed(subject: Subject, machine: Machine, wishes: Wishes) -> Card:
    """What of a model goes to a graphics card when it is loaded exactly as wished, whatever it needs beside that."""
    roomy = replace(machine, memory_free=1 << 60)
    found = _settled(subject, roomy, wishes, wishes.context, wishes.kv or "f16")
    return Card(found.layers_gpu, found.gpu, link=found.link)


def _memory(subject: Subject, wishes: Wishes, context: int, kv: KvType) -> Memory:
    weights = subject.weights
    batch = STREAMED_PASS if _streams(subject, wishes) else pass_tokens(weights.total, subject.engine)
    draft = _draft_bytes(wishes.draft, context, kv)
    rows = _DRAFTED if wishes.tokens_per_pass > 1 or draft else 1
    return Memory(
        weights=weights.total,
        kv=kv_bytes(subject.architecture, context, kv, subject.engine, batch),
        compute=compute_bytes(subject.architecture, subject.engine, batch, rows, context),
        tokenizer=tokenizer_bytes(subject.architecture, subject.engine),
        draft=draft,
        learned=wishes.learned.memory,
        copied=weights.copied + (wishes.draft.weights.copied if wishes.draft else 0),
    )


def _streams(subject: Subject, wishes: Wishes) -> bool:
    return wishes.disk and subject.streams is not None


def _with_card(
    subject: Subject, machine: Machine, wishes: Wishes, context: int, kv: KvType, memory: Memory, card: Card
) -> Plan:
    """The plan with so much on the card. What is sent there in every pass is in the machine's memory."""
    architecture, weights, layers = subject.architecture, subject.weights, subject.architecture.layers
    learned, free = wishes.learned, machine.memory_free + wishes.leaving
    native_there = card.bytes > 0 and subject.engine == "native"
    rest = memory.total - card.bytes
    if native_there:
        rest = memory.total - weights.total - memory.kv - memory.compute + card.link
    on_gpu = layers if native_there else card.layers
    budget = disk = 0
    if _streams(subject, wishes) and not card.bytes and rest * _MARGIN > free:
        ring = ring_bytes(weights.layers)
        budget = math.floor(free / _MARGIN) - (rest - weights.total)
        disk = weights.total + ring - budget
        if disk > sum(weights.layers):  # what is no layer must stay in memory
            budget = disk = 0
    on_disk = math.ceil(disk * layers / max(sum(weights.layers), 1))
    ram = rest - weights.total + budget if budget else rest
    threads = wishes.threads or machine.cores
    attended = round(memory.kv * wishes.filled)
    cells = attended / max(cell_bytes(architecture, kv, subject.engine), 1)
    # on a processor attention waits for arithmetic (`besides_reading`), and has read the cache meanwhile
    waits = round(attended * on_gpu / max(layers, 1))
    read = weights.per_token + waits
    on_gpu_read = read if native_there else card.read + round(waits * card.layers / max(layers, 1))
    in_ram = max(read - on_gpu_read, 0)
    rates = learned.rates(machine.rates)
    multiplying = weights.multiplied * in_ram / max(read, 1) / max(threads, 1)
    seconds = pass_seconds(in_ram, on_gpu_read, 0, rates, multiplying)
    seconds += besides_reading(architecture, subject.engine, cells, threads, layers - on_gpu, kv)
    # What comes from the disk is read ahead while the rest is computed, all experts of a layer with it.
    seconds = max(seconds, pass_seconds(0, 0, disk, rates), link_seconds(card.link, rates))
    tokens_per_pass, of_pass = wishes.tokens_per_pass, wishes.cost
    if (budget or card.link) and wishes.draft is not None and tokens_per_pass <= 1:
        known = learned.guessed.get(wishes.draft.name, 0.0) if budget else 0.0
        if known:
            tokens_per_pass, of_pass = known, 1.0
        else:
            tokens_per_pass, of_pass = TOKENS, cost(wishes.draft, subject.engine, seconds, rates, threads)
    fits = ram * _MARGIN <= free
    return Plan(
        verdict="fits" if fits else "does not fit",
        build=subject.name,
        engine=subject.engine,
        repository=subject.repository,
        context=context,
        kv=kv,
        threads=threads,
        layers_gpu=card.layers,
        layers_ram=layers - card.layers - on_disk,
        layers_disk=on_disk,
        budget=budget,
        draft=wishes.draft.name if wishes.draft else "",
        memory=memory,
        ram=ram,
        gpu=card.bytes,
        link=card.link,
        free=free,
        speed=speed(
            seconds,
            prompt=wishes.prompt,
            prompt_s=prompt_seconds(
                architecture,
                subject.engine,
                wishes.prompt,
                threads,
                kv=kv,
                core=learned.core,
                scheme=subject.scheme,
            ),
            tokens_per_pass=tokens_per_pass,
            cost=of_pass,
            measured=learned.disk > 0 if budget else learned.of_speed in ("model", "scheme"),
        ),
        reasons=_reasons(subject, memory, ram, free, fits, card, disk, context),
        limit=_limit(in_ram, on_gpu_read, disk, card.link, rates, multiplying),
    )


def _draft_bytes(draft: Subject | None, context: int, kv: KvType) -> int:
    if draft is None:
        return 0
    kv = kv if takes_q8(draft.architecture, draft.engine) else "f16"
    cache = kv_bytes(draft.architecture, context, kv, draft.engine)
    compute = compute_bytes(draft.architecture, draft.engine, _DRAFTED, _DRAFTED, context)
    return draft.weights.total + cache + compute + tokenizer_bytes(draft.architecture, draft.engine)


def _reasons(
    subject: Subject, memory: Memory, ram: int, free: int, fits: bool, card: Card, disk: int, context: int
) -> list[str]:
    about = "" if subject.exact else "about "
    found = [
        f"Weights take {about}{_gb(memory.weights)}, a conversation of {context:,} tokens {_gb(memory.kv)}, "
        f"everything else {_gb(memory.total - memory.weights - memory.kv - memory.draft)}."
    ]
    if memory.draft:
        found.append(f"The model that guesses takes {_gb(memory.draft)}.")
    if card.link:
        found.append(
            f"{card.layers} of {len(subject.weights.layers)} layers stay on the graphics card. The others are sent "
            f"there for every word, {_gb(card.link)}."
        )
    elif card.layers:
        found.append(f"{card.layers} of {len(subject.weights.layers)} layers go to the graphics card.")
    if disk:
        found.append(f"{_gb(disk)} of the weights are read from the disk for every word, which is slow.")
    joined = "and" if fits else "but only"
    found.append(f"{_gb(ram)} of memory are needed, {joined} {_gb(free)} are free.")
    return found


def _limit(ram: int, gpu: int, disk: int, link: int, rates: Rates, multiplying: float) -> str:
    """Which of the parts of a pass takes longest, and what would help."""
    reading, card = ram / max(rates.ram, 1), gpu / max(rates.gpu, 1)
    computing = multiplying * rates.slower
    if disk and disk / max(rates.disk, 1) > max(reading, computing) + card:
        what = f"The disk sets its speed: it brings {_gb(disk)} for every word, {_gb(rates.disk)} a second."
        return f"{what} More memory, or a smaller build, would be faster."
    if link_seconds(link, rates) > card:
        what = f"The way to the graphics card sets its speed: {_gb(link)} for every word, {_gb(rates.link)} a second."
        return f"{what} A model that guesses, or a smaller build, would be faster."
    if card > max(reading, computing):
        return "The graphics card's memory sets its speed. A smaller build would be faster."
    if computing > reading:
        what = (
            "The processor sets its speed: it takes longer to multiply with the weights than the memory to bring them."
        )
        return f"{what} More cores would be faster, or a build of another kind."
    what = f"The memory sets its speed: it brings {_gb(ram)} for every word, {_gb(rates.ram)} a second."
    return f"{what} A smaller build would be faster; more cores would not."


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 0.95e9 else f"{size / 1e6:.0f} MB"
