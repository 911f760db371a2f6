"""Finding and downloading models, and the switches of the network."""

from __future__ import annotations

import asyncio
from typing import Final, cast, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.downloads import Deleted, DownloadLimit, NetworkCall, NetworkState, NewDownload, Purpose
from backend.api.errors import ConflictError, InvalidRequestError
from backend.api.failures import FieldError, Json
from backend.api.services import Services
from backend.hub.network import NETWORK, PURPOSES
from backend.hub.removal import remove as remove_model

__all__ = ["routes"]

_PURPOSES: Final = get_args(Purpose)


def routes(services: Services) -> list[Route]:
    """The routes under /api/hub, /api/downloads and /api/network, and the catalogue."""
    work = services.downloads

    async def search(request: Request) -> Response:
        found = await work.search(request.query_params.get("q", "").strip())
        return Json(await asyncio.to_thread(services.guess, found))

    async def repository(request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        return Json(await work.repository(name, request.query_params.get("revision", "main")))

    async def status(request: Request) -> Response:
        return Json(await work.list())

    async def start(request: Request) -> Response:
        return Json(await work.start(await body(request, NewDownload)), status_code=202)

    async def resume(request: Request) -> Response:
        return Json(await work.resume(request.path_params["id"]), status_code=202)

    async def pause(request: Request) -> Response:
        return Json(await work.pause(request.path_params["id"]))

    async def delete(request: Request) -> Response:
        await work.delete(request.path_params["id"])
        return Response(status_code=204)

    async def limit(request: Request) -> Response:
        work.limit((await body(request, DownloadLimit)).bytes_per_second)
        return Response(status_code=204)

    async def network(request: Request) -> Response:
        return Json(_network())

    async def switch(request: Request) -> Response:
        wanted = await body(request, NetworkState)
        if unknown := sorted(set(wanted.off) - set(PURPOSES)):
            raise InvalidRequestError(f"There is no purpose {unknown[0]!r}.", remedy=f"Known: {', '.join(PURPOSES)}.")
        NETWORK.offline = wanted.offline
        for purpose in PURPOSES:
            NETWORK.allow(purpose, purpose not in wanted.off)
        return Json(_network())

    async def remove(request: Request) -> Response:
        entry = await asyncio.to_thread(services.models.by_id, request.path_params["id"])
        loaded = services.engine.loaded
        if loaded is not None and loaded.entry.id == entry.id:
            raise ConflictError(f"{entry.name} is in use.", remedy="Choose another model first, then delete this one.")
        return Json(Deleted(freed=await asyncio.to_thread(remove_model, entry, services.own_folders())))

    async def offered(request: Request) -> Response:
        return Json(await asyncio.to_thread(services.offers))

    async def recommended(request: Request) -> Response:
        purpose = request.query_params.get("purpose", "")
        if purpose not in _PURPOSES:
            raise FieldError(f"'purpose' must be one of: {', '.join(_PURPOSES)}.", param="purpose")
        return Json(await asyncio.to_thread(services.recommended, cast("Purpose", purpose)))

    return [
        Route("/api/catalogue", offered),
        Route("/api/catalogue/recommended", recommended),
        Route("/api/models/{id}", remove, methods=["DELETE"]),
        Route("/api/hub/search", search),
        Route("/api/hub/repositories/{owner}/{name}", repository),
        Route("/api/downloads", status),
        Route("/api/downloads", start, methods=["POST"]),
        Route("/api/downloads/limit", limit, methods=["PATCH"]),
        Route("/api/downloads/{id}/resume", resume, methods=["POST"]),
        Route("/api/downloads/{id}/pause", pause, methods=["POST"]),
        Route("/api/downloads/{id}", delete, methods=["DELETE"]),
        Route("/api/network", network),
        Route("/api/network", switch, methods=["PATCH"]),
    ]


def _network() -> NetworkState:
    return NetworkState(
        offline=NETWORK.offline,
        purposes={str(purpose): words for purpose, words in PURPOSES.items()},
        off=[purpose for purpose in PURPOSES if not NETWORK.allowed(purpose)],
        calls=[
            NetworkCall(
                at=call.at, purpose=call.purpose, method=call.method, host=call.host, path=call.path, status=call.status
            )
            for call in NETWORK.calls()
        ],
    )
