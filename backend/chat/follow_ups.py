"""What could be asked next: a few short questions, written by the model while nothing else is wanted of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from backend.api.errors import NutshellError
from backend.api.schemas import Completion, Message, Sampling
from backend.api.thinking import without_thought
from backend.engine.worker import Engine, Generation, TextChunk

__all__ = ["FollowUps", "questions_in"]

MOST = 3
#: of one suggestion; longer ones are no questions but answers
_LONGEST = 100
_TOKENS = 96
_WISH = (
    "Write three short questions that I could ask you next about this. Write them as I would ask them, one on each "
    "line, without numbers and without anything else."
)
_MARK = re.compile(r"^\s*(?:(?:[-*\u2022]+|\(?\d+[.):]|[Qq]\d*[.:])\s*)+")


class FollowUps:
    """At most one list of suggestions is being written; anything else that is asked of the engine ends it.

    Args:
        engine: writes them.
        prompt: renders a branch and a last wish with the loaded model's template.
        stop: strings that end an answer of that template.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Callable[[Sequence[Message], str], Awaitable[str]],
        stop: Callable[[], Awaitable[tuple[str, ...]]],
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._stop = stop
        self._running: Generation | None = None

    def cancel(self) -> None:
        """Ends what is being written; what waits for it gets nothing."""
        if self._running is not None:
            self._running.cancel()

    async def suggest(self, branch: Sequence[Message]) -> list[str]:
        """Up to three questions for what follows a branch that ends with an answer; none where that is not possible.

        The answer's tokens are still in the cache, so little more than the wish is read. Its sampling is not the
        conversation's: a fixed seed and little heat, for the same suggestions each time.
        """
        if self._engine.busy or not branch or branch[-1].role != "assistant":
            return []
        try:
            prompt = await self._prompt(branch, _WISH)
            room = self._engine.model().info.n_ctx - await self._engine.count_tokens(prompt)
            if room < _TOKENS or self._engine.busy:
                return []
            sampling = Sampling(temperature=0.3, seed=1, max_tokens=_TOKENS, stop=list(await self._stop()))
            self._running = running = self._engine.generate(Completion(prompt=prompt, sampling=sampling), yielding=True)
            text = ""
            async for item in running:
                if isinstance(item, TextChunk):
                    text += item.text
        except NutshellError:  # nobody asked for it, so nobody is told
            return []
        finally:
            self._running = None
        return [] if running.cancelled() else questions_in(without_thought(text))


def questions_in(text: str) -> list[str]:
    """The questions of a list, without its marks: lines that end with a question mark, each once, the first three."""
    found: list[str] = []
    for line in text.splitlines():
        words = _MARK.sub("", line).strip().strip('"\u201c\u201d*_ ')
        if words.endswith(("?", "\uff1f", "\u061f")) and 4 <= len(words) <= _LONGEST and words not in found:
            found.append(words)
    return found[:MOST]
