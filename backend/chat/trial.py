"""A short try of the model that is loaded: does it write, and how fast."""

from __future__ import annotations

from typing import Final

from backend.api.errors import ConflictError
from backend.api.plan_schemas import ModelPlan, ModelTrial
from backend.api.schemas import Completion, Sampling
from backend.engine.worker import Engine, GenerationDone, TextChunk

__all__ = ["TOKENS", "try_model"]

#: as many as are needed to see that words come; a second or two on a slow machine
TOKENS: Final = 10
#: a text that any model goes on with, whatever its template
_PROMPT: Final = "Monday, Tuesday, Wednesday, Thursday,"


async def try_model(engine: Engine, expected: ModelPlan) -> ModelTrial:
    """Has the loaded model write `TOKENS` tokens of its own choice, the likeliest ones.

    Args:
        engine: with a model.
        expected: what the planner says of this load.

    Raises:
        ModelError: none is loaded. ConflictError: it is answering.
        NutshellError: what went wrong while it wrote.
    """
    name = engine.model().info.name
    if engine.busy:
        raise ConflictError("The model is answering.", remedy="Wait until the answer is there, or stop it.")
    sampling = Sampling(temperature=0.0, seed=1, max_tokens=TOKENS)
    text, stats = "", None
    async for item in engine.generate(Completion(prompt=_PROMPT, sampling=sampling)):
        if isinstance(item, TextChunk):
            text += item.text
        elif isinstance(item, GenerationDone):
            stats = item.stats
    assert stats is not None
    return ModelTrial(
        name=name, text=text.strip(), tokens=stats.completion_tokens, tok_s=stats.tok_s, ttft_s=stats.ttft_s,
        expected=expected.tokens, low=expected.low, high=expected.high,
    )  # fmt: skip
