"""The hub's token, which no route gives out; what of the hub would run here; and the folder of the models."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import Json
from backend.api.hub_schemas import MoveFolder, NewToken, TokenState
from backend.api.services import Services
from backend.hub import account

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """The routes /api/hub/token, /api/hub/fits and /api/models/folder."""

    async def state(request: Request) -> Response:
        return Json(_wire(await asyncio.to_thread(account.state)))

    async def keep(request: Request) -> Response:
        new = await body(request, NewToken)
        return Json(_wire(await asyncio.to_thread(account.keep, new.token)))

    async def forget(request: Request) -> Response:
        return Json(_wire(await asyncio.to_thread(account.forget)))

    async def fits(request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        return Json(await asyncio.to_thread(services.fits, name, request.query_params.get("revision", "main")))

    async def folder(request: Request) -> Response:
        return Json(await asyncio.to_thread(services.folder.state))

    async def move(request: Request) -> Response:
        return Json(await services.folder.move((await body(request, MoveFolder)).folder), status_code=202)

    return [
        Route("/api/hub/fits/{owner}/{name}", fits),
        Route("/api/models/folder", folder),
        Route("/api/models/folder", move, methods=["POST"]),
        Route("/api/hub/token", state),
        Route("/api/hub/token", keep, methods=["POST"]),
        Route("/api/hub/token", forget, methods=["DELETE"]),
    ]


def _wire(info: account.TokenInfo) -> TokenState:
    return TokenState(source=info.source, endpoint=info.endpoint, keyring=info.keyring, why=info.why)
