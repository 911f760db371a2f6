"""What happens when memory gets short while a model is loaded: less and less of it, each step said in a sentence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from backend.api.errors import NutshellError
from backend.api.schemas import Event, LoadedModel, MemoryReport, Notice

__all__ = ["Keeper", "MemoryWatch"]

_EVERY_S = 3.0
#: Of all memory, and bytes at least: where other programs begin to be pushed out, and where the system begins to end
#: them. Weights that are mapped count as free in what the system says, so these are of what cannot be given back.
_SHORT, _LEAST_SHORT = 0.04, 300_000_000
_GONE, _LEAST_GONE = 0.015, 120_000_000
#: The same of all memory at most: a container of 300 MB for a model of 100 has less than these bytes to spare.
_MOST_SHORT, _MOST_GONE = 0.15, 0.06
#: looks in a row that must agree: a program that starts takes a second's worth of memory and gives it back
_LOOKS = 2
logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """What `MemoryWatch` needs of the engine process."""

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that is loaded."""
        ...

    async def drop_draft(self) -> None:
        """Lets go of the model that guesses; later loads have it again."""
        ...

    def stop_answers(self) -> bool:
        """Stops every answer that is being written; what there is of it is kept. False: there was none."""
        ...

    async def unload(self) -> None:
        """Lets go of the model."""
        ...


class MemoryWatch:
    """Looks at the memory that is free every few seconds.

    Args:
        keeper: what holds memory.
        publish: tells the window.
        read: memory in all and free, with the limit of a container.
    """

    def __init__(self, keeper: Keeper, publish: Callable[[Event], None], read: Callable[[], MemoryReport]) -> None:
        self._keeper, self._publish, self._read = keeper, publish, read
        self._short = self._gone = 0  # looks in a row
        self._warned = False

    async def run(self) -> None:
        """For as long as the process lives."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.look()
            except NutshellError as error:
                logger.warning("memory is short, and nothing could be let go: %s", error)

    async def look(self) -> None:
        """One look, and at most one step."""
        loaded = self._keeper.loaded
        if loaded is None:
            self._short = self._gone = 0
            return
        memory = self._read()
        free, total = memory.available, memory.total
        short = max(_SHORT * total, min(_LEAST_SHORT, _MOST_SHORT * total))
        gone = max(_GONE * total, min(_LEAST_GONE, _MOST_GONE * total))
        self._short = self._short + 1 if free < short else 0
        self._gone = self._gone + 1 if free < gone else 0
        if free > 2 * short:
            self._warned = False
        if self._gone >= _LOOKS:
            self._gone = 0
            await self._let_go(loaded, free)
        elif self._short >= _LOOKS and loaded.draft_model:
            self._short = 0
            await self._keeper.drop_draft()
            self._say(f"Memory is short: {_mb(free)} are free. The small model that guesses ahead was let go.")
        elif self._short >= _LOOKS and not self._warned:
            self._warned = True
            self._say(
                f"Memory is short: {_mb(free)} are free. Close other programs, or choose a smaller model or context: "
                f"with less, {loaded.entry.name} is let go before the system ends Nutshell."
            )

    async def _let_go(self, loaded: LoadedModel, free: int) -> None:
        stopped = self._keeper.stop_answers()
        await self._keeper.unload()
        kept = "The answer was stopped, and what there is of it is kept. " if stopped else ""
        self._say(
            f"Memory ran out, {_mb(free)} were left: {loaded.entry.name} was let go. {kept}Close other programs, then "
            "choose it again."
        )

    def _say(self, text: str) -> None:
        logger.warning("%s", text)
        self._publish(Notice(level="warning", text=text))


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
