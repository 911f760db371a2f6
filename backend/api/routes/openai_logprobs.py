"""Log-probabilities in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Sequence

from backend.api.routes.openai_schemas import ChatLogprob, ChatLogprobs, TextLogprobs, TopLogprob
from backend.engine.worker import TokenLogprob

__all__ = ["chat_logprobs", "text_logprobs"]

#: What stands for "impossible": JSON has no infinity, and this is the number that OpenAI uses.
_FLOOR = -9999.0


def _finite(value: float) -> float:
    return max(float(value), _FLOOR)


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    """The form of chat answers: an object per token."""
    return ChatLogprobs(
        [
            ChatLogprob(
                token.token,
                _finite(token.logprob),
                list(token.raw),
                [TopLogprob(text, _finite(value), list(raw)) for text, raw, value in token.top],
            )
            for token in tokens
        ]
    )


def text_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> TextLogprobs:
    """The form of plain completions: parallel lists. `offset` is the length of the text before the first token."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return TextLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[_finite(token.logprob) for token in tokens],
        top_logprobs=[{text: _finite(value) for text, _, value in token.top} for token in tokens],
        text_offset=offsets,
    )
