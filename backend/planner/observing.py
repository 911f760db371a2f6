"""What an answer showed about its model, as the planner remembers it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from backend.api.errors import NutshellError
from backend.api.schemas import LoadedModel, TurnStats
from backend.hardware.memory import held_bytes
from backend.planner.learned import Learned, Observation
from backend.planner.memory import KvType, cell_bytes
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.speed import Rates, attention_of_prompt, besides_reading
from backend.planner.subject import Subject, subject_of_file

__all__ = ["Observer", "Seen", "observation", "observation_of_disk"]

#: an answer tells of the speed from so many tokens on, and of the prompt's from so many that were read
_TOKENS, _READ = 24, 192
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one answer: tokens of the prompt that were read and the seconds they took; seconds of a token without drafts,
    and times that rate with them.

    What was too short to tell is 0.
    """

    read: int = 0
    read_s: float = 0.0
    token_s: float = 0.0
    speedup: float = 0.0


def observation(
    subject: Subject, threads: int, context: int, kv: KvType, held: int, seen: Seen, *, used: int
) -> Observation:
    """The observation of a process that held so many bytes, beside what would be predicted with nothing learned.

    Args:
        subject: the model.
        threads: that computed.
        context: cells of its cache. used: cells in use; our engine takes memory for those only.
        kv: of the cache.
        held: bytes (PSS).
        seen: of the answer.
        used: tokens in the cache.
    """
    cells = used if subject.engine == "native" else context
    nothing = Machine(cores=threads, memory_total=0, memory_free=0, rates=Rates(ram=1.0))
    memory = plan(subject, nothing, Wishes(context=max(cells, 1), kv=kv, threads=threads)).memory
    in_use = plan(subject, nothing, Wishes(context=max(used, 1), kv=kv, threads=threads)).memory.kv
    look = subject.architecture
    multiplied, cell = seen.read * look.active, max(cell_bytes(look, kv, subject.engine), 1)
    attended = attention_of_prompt(look, subject.engine, seen.read, threads, kv)
    linear_s = max(seen.read_s - attended, seen.read_s / 2)  # attention may be cheaper elsewhere
    return Observation(
        engine=subject.engine,
        scheme=subject.scheme,
        model=subject.name,
        threads=threads,
        predicted=memory.peak,
        measured=held,
        read=subject.weights.per_token,
        multiplying=subject.weights.multiplied / max(threads, 1),
        token_s=seen.token_s,
        besides=besides_reading(look, subject.engine, in_use / cell, threads, look.layers, kv),
        prefill=multiplied / linear_s / threads if linear_s > 0 else 0.0,
    )


def observation_of_disk(subject: Subject, threads: int, streamed: int, draft: str, seen: Seen) -> Observation:
    """The observation of a model that did not stay in memory: what the disk brought, and what guesses made of it.

    Args:
        subject: the model.
        threads: that computed.
        streamed: bytes that each pass read from the disk.
        draft: name of the model that guessed; "": none did.
        seen: of the answer.
    """
    return Observation(
        engine=subject.engine,
        scheme=subject.scheme,
        model=subject.name,
        threads=threads,
        predicted=0,
        measured=0,
        besides=0.0,
        multiplying=0.0,
        read=streamed,
        token_s=seen.token_s,
        disk=True,
        draft=draft,
        speedup=seen.speedup if draft else 0.0,
    )


class Observer:
    """Notes the first telling answer of every load, on a thread of its own.

    Args:
        learned: where it is noted.
        held: bytes of this process with a model.
    """

    def __init__(self, learned: Learned, held: Callable[[Path], int] | None = None) -> None:
        self._learned = learned
        self._held = held or _own
        self._seen: LoadedModel | None = None
        self._thread = ThreadPoolExecutor(1, "observer")

    def answered(self, loaded: LoadedModel, stats: TurnStats) -> None:
        """After every answer; returns at once."""
        if loaded is self._seen or loaded.n_gpu_layers or stats.completion_tokens < _TOKENS or stats.tok_s <= 0:
            return
        # Which model's memory, which position's name? And of guesses without a figure beside them, what was plain?
        if loaded.draft_notice or loaded.slider is not None or (stats.accepted and stats.speedup == 1.0):
            return
        self._seen = loaded
        self._thread.submit(self._note, loaded, stats)

    def close(self) -> None:
        """Waits for what is being noted."""
        self._thread.shutdown()

    def _note(self, loaded: LoadedModel, stats: TurnStats) -> None:
        try:
            subject = subject_of_file(Path(loaded.entry.path))
            read = stats.prompt_tokens - stats.cached_tokens
            telling = read >= _READ and stats.prefill_tok_s > 0
            seen = Seen(
                read if telling else 0,
                read / stats.prefill_tok_s if telling else 0.0,
                max(stats.speedup, 1e-9) / stats.tok_s,
                stats.speedup,
            )
            if loaded.streamed_bytes:
                draft = subject_of_file(Path(loaded.draft_model)).name if loaded.draft_bytes else ""
                self._learned.add(observation_of_disk(subject, loaded.n_threads, loaded.streamed_bytes, draft, seen))
                return
            used = max(stats.context_used, 1)
            kv: KvType = "q8" if loaded.kv == "q8" else "f16"
            self._learned.add(
                observation(
                    subject, loaded.n_threads, loaded.n_ctx, kv, self._held(Path(loaded.entry.path)), seen, used=used
                )
            )
        except (NutshellError, OSError, ValueError, psutil.Error) as error:
            _log.info("what this answer showed is not remembered: %r", error)


def _own(model: Path) -> int:
    return held_bytes(psutil.Process(), model)
