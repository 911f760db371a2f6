"""Making models smaller: what can be made, the work, its results."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.compression import ComparePrompts, ExportBuild, NewCompression, PlanCompression
from backend.api.failures import Json
from backend.api.services import Services

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """The routes under /api/compression."""
    work = services.compressions

    async def status(request: Request) -> Response:
        return Json(await work.status())

    async def start(request: Request) -> Response:
        return Json(await work.start(await body(request, NewCompression)), status_code=202)

    async def sources(request: Request) -> Response:
        return Json(await work.sources())

    async def plan(request: Request) -> Response:
        return Json(await work.plan(await body(request, PlanCompression)))

    async def resume(request: Request) -> Response:
        return Json(await work.resume(request.path_params["id"]), status_code=202)

    async def pause(request: Request) -> Response:
        return Json(await work.pause(request.path_params["id"]))

    async def compare(request: Request) -> Response:
        prompts = (await body(request, ComparePrompts)).prompts
        return Json(await work.compare(request.path_params["id"], prompts), status_code=202)

    async def export(request: Request) -> Response:
        return Json(await work.export(await body(request, ExportBuild)), status_code=202)

    async def delete(request: Request) -> Response:
        await work.delete(request.path_params["id"])
        return Response(status_code=204)

    return [
        Route("/api/compression", status),
        Route("/api/compression", start, methods=["POST"]),
        Route("/api/compression/sources", sources),
        Route("/api/compression/plan", plan, methods=["POST"]),
        Route("/api/compression/export", export, methods=["POST"]),
        Route("/api/compression/{id}/resume", resume, methods=["POST"]),
        Route("/api/compression/{id}/pause", pause, methods=["POST"]),
        Route("/api/compression/{id}/compare", compare, methods=["POST"]),
        Route("/api/compression/{id}", delete, methods=["DELETE"]),
    ]
