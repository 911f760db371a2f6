"""The hub's token: where it comes from, entering and forgetting it. No route gives it out."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import Json
from backend.api.hub_schemas import NewToken, TokenState
from backend.hub import account

__all__ = ["routes"]


def routes() -> list[Route]:
    """The routes under /api/hub/token."""

    async def state(request: Request) -> Response:
        return Json(_wire(await asyncio.to_thread(account.state)))

    async def keep(request: Request) -> Response:
        new = await body(request, NewToken)
        return Json(_wire(await asyncio.to_thread(account.keep, new.token)))

    async def forget(request: Request) -> Response:
        return Json(_wire(await asyncio.to_thread(account.forget)))

    return [
        Route("/api/hub/token", state),
        Route("/api/hub/token", keep, methods=["PUT"]),
        Route("/api/hub/token", forget, methods=["DELETE"]),
    ]


def _wire(info: account.TokenInfo) -> TokenState:
    return TokenState(source=info.source, endpoint=info.endpoint, keyring=info.keyring, why=info.why)
