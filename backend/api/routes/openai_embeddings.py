"""POST /v1/embeddings."""

from __future__ import annotations

import base64

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import FieldError, Json
from backend.api.routes.openai_models import ready_model, wire_name
from backend.api.routes.openai_schemas import Embedding, Embeddings, EmbeddingsRequest, Usage
from backend.api.services import Services

__all__ = ["routes"]

#: Texts of one request at most; OpenAI's own limit.
MOST_TEXTS = 2048


def texts_of(request: EmbeddingsRequest) -> list[str]:
    """The texts to embed. Raises FieldError."""
    given = [request.input] if isinstance(request.input, str) else request.input
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise FieldError(
            "The input must be text.", param="input", remedy="Send a string or a list of strings instead of token ids."
        )
    if not given or not all(given):
        raise FieldError("The input is empty.", param="input", remedy="Send at least one character in each text.")
    if len(given) > MOST_TEXTS:
        raise FieldError(f"At most {MOST_TEXTS} texts can be sent at once.", param="input")
    return given


def routes(services: Services) -> list[Route]:
    """The embeddings route."""

    async def embeddings(request: Request) -> Response:
        asked = await body(request, EmbeddingsRequest)
        texts = texts_of(asked)
        loaded = await ready_model(services, asked.model)
        vectors, tokens = await services.engine.embed(texts)
        size = len(vectors[0])
        if asked.dimensions is not None and asked.dimensions != size:
            raise FieldError(
                f"This model's vectors have {size} numbers.", param="dimensions", remedy="Leave dimensions out."
            )
        out = []
        for index, vector in enumerate(vectors):
            exact = np.ascontiguousarray(vector, dtype="<f4")
            if asked.encoding_format == "base64":
                out.append(Embedding(embedding=base64.b64encode(exact.tobytes()).decode("ascii"), index=index))
            else:
                out.append(Embedding(embedding=exact.tolist(), index=index))
        return Json(Embeddings(data=out, model=wire_name(loaded), usage=Usage(tokens, tokens)))

    return [Route("/v1/embeddings", embeddings, methods=["POST"])]
