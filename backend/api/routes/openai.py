"""The OpenAI-compatible door: /v1, for other programs."""

from __future__ import annotations

from starlette.routing import Route

from backend.api.routes import openai_chat, openai_completions, openai_embeddings, openai_models
from backend.api.services import Services

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """Every route under /v1."""
    return [
        *openai_models.routes(services),
        *openai_chat.routes(services),
        *openai_completions.routes(services),
        *openai_embeddings.routes(services),
    ]
