"""The `model` of a request: what it names, and loading it when it is installed but not loaded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.errors import NoModelError, NotFoundError
from backend.api.failures import Json
from backend.api.naming import find, names_of
from backend.api.routes.openai_schemas import ModelCard, ModelList
from backend.api.schemas import LoadedModel, ModelEntry
from backend.api.services import Services

__all__ = ["ModelNotFoundError", "ready_model", "routes", "wire_name"]


class ModelNotFoundError(NotFoundError):
    """No installed model has the name that a program asked for."""

    code = "model_not_found"


def _usable(entries: Sequence[ModelEntry]) -> list[ModelEntry]:
    return [entry for entry in entries if entry.error is None]


def wire_names(entries: Sequence[ModelEntry]) -> dict[str, str]:
    """Entry id -> the id that other programs see: the name, which people can read, unless two share it."""
    count = Counter(entry.name.casefold() for entry in entries)
    return {entry.id: entry.name if entry.name and count[entry.name.casefold()] == 1 else entry.id for entry in entries}


def wire_name(loaded: LoadedModel) -> str:
    """The model's name in an answer."""
    return loaded.entry.name or loaded.entry.id


async def ready_model(services: Services, wanted: str | None) -> LoadedModel:
    """The model that a request runs on.

    What is loaded is taken if the request names it, or names nothing that is installed (programs often send a fixed
    name). An installed model that is named but not loaded is loaded first.

    Raises:
        ModelNotFoundError: nothing is loaded and nothing of this name is installed.
        NoModelError: nothing is loaded and none was named.
        NutshellError: what loading raises.
    """
    loaded = services.engine.loaded
    name = (wanted or "").strip()
    if loaded is not None and (not name or name.casefold() in names_of(loaded.entry)) and not services.loader.loading:
        return loaded
    if name:
        entry = find(_usable(await asyncio.to_thread(services.models.scan)), name)
        if entry is not None:
            return await services.loader.ensure(entry)
    if services.loader.loading is not None:
        await services.loader.settled()
    loaded = services.engine.loaded
    if loaded is not None:
        return loaded
    if name:
        raise ModelNotFoundError(
            f"There is no model named '{name[:200]}' here.", remedy="GET /v1/models lists the installed ones."
        )
    raise NoModelError("No model is loaded.", remedy="Load one in Nutshell, or name an installed one as 'model'.")


def routes(services: Services) -> list[Route]:
    """GET /v1/models and /v1/models/{id}."""

    async def cards() -> list[tuple[ModelEntry, ModelCard]]:
        entries = _usable(await asyncio.to_thread(services.models.scan))
        loaded = services.engine.loaded
        if loaded is not None and all(entry.id != loaded.entry.id for entry in entries):
            entries.append(loaded.entry)  # opened from a path outside the list
        names = wire_names(entries)
        made = await asyncio.to_thread(lambda: {entry.id: _modified(entry) for entry in entries})
        found = [
            (
                entry,
                ModelCard(
                    id=names[entry.id],
                    created=made[entry.id],
                    loaded=loaded is not None and loaded.entry.id == entry.id,
                    context_length=entry.context_length,
                    quantization=entry.quantization,
                ),
            )
            for entry in entries
        ]
        # Programs that take the first one get what is ready.
        return sorted(found, key=lambda pair: not pair[1].loaded)

    async def models(request: Request) -> Response:
        return Json(ModelList([card for _, card in await cards()]))

    async def model(request: Request) -> Response:
        wanted = request.path_params["id"]
        pairs = await cards()
        entry = find([entry for entry, _ in pairs], wanted)
        for candidate, card in pairs:
            if entry is not None and candidate.id == entry.id:
                return Json(card)
        raise ModelNotFoundError(f"There is no model named '{wanted[:200]}' here.")

    return [Route("/v1/models", models), Route("/v1/models/{id:path}", model)]


def _modified(entry: ModelEntry) -> int:
    try:
        return int(Path(entry.path).stat().st_mtime)
    except OSError:
        return 0
