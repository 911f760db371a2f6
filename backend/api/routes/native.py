"""Status, models, jobs, hardware, events: what a window needs besides conversations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.events import Subscription
from backend.api.failures import Json
from backend.api.schemas import BackendStatus, LoadModel, MoveModel
from backend.api.services import Services
from backend.api.speculation_schemas import Speculate
from backend.api.sse import KEEP_ALIVE_S, EventStream, comment, data
from backend.api.version import version
from backend.engine.llama_library import build_description
from backend.jobs.loading import named_entry

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """The routes under /api that are not about conversations."""

    async def status(request: Request) -> Response:
        if services.opening is not None:
            await asyncio.wait({services.opening})
        return Json(
            BackendStatus(
                version=version(),
                pid=os.getpid(),
                model=services.engine.loaded,
                loading=services.loader.loading,
                busy=services.engine.busy,
                data_dir=str(services.data_dir),
                notices=services.notices,
            )
        )

    async def hardware(request: Request) -> Response:
        again = request.method == "POST"
        report = await asyncio.to_thread(services.hardware_report, again=again)
        report.engine_build = await asyncio.to_thread(build_description)
        return Json(report)

    async def models(request: Request) -> Response:
        return Json(await asyncio.to_thread(services.models.scan))

    async def load(request: Request) -> Response:
        return Json(await services.loader.start(await body(request, LoadModel)), status_code=202)

    async def plan(request: Request) -> Response:
        wanted = await body(request, LoadModel)
        entry = await named_entry(services.models, wanted.id, wanted.path)
        return Json(await asyncio.to_thread(services.plan, entry, wanted))

    async def ladder(request: Request) -> Response:
        return Json(await asyncio.to_thread(services.ladder))

    async def trial(request: Request) -> Response:
        return Json(await services.trial())

    async def move(request: Request) -> Response:
        return Json(await services.loader.move((await body(request, MoveModel)).position))

    async def speculate(request: Request) -> Response:
        return Json(await services.loader.speculate(await body(request, Speculate)))

    async def passes(request: Request) -> Response:
        return Json(services.engine.passes())

    async def drafts(request: Request) -> Response:
        from backend.speculative.suggest import suggestions  # tokenizers, 60 ms: only where drafts are asked for

        model, loaded = services.engine.model(), services.engine.loaded
        assert loaded is not None
        installed = await asyncio.to_thread(services.models.scan)
        return Json(await asyncio.to_thread(suggestions, model, loaded.entry, installed))

    async def unload(request: Request) -> Response:
        await services.loader.unload()
        return Response(status_code=204)

    async def jobs(request: Request) -> Response:
        return Json(services.jobs.list())

    async def job(request: Request) -> Response:
        return Json(services.jobs.get(request.path_params["id"]))

    async def cancel_job(request: Request) -> Response:
        return Json(services.jobs.cancel(request.path_params["id"]))

    async def events(request: Request) -> Response:
        # Subscribed before the response starts: whoever has read the headers misses nothing from then on.
        subscription = services.hub.subscribe()

        async def close() -> None:
            subscription.close()

        return EventStream(event_frames(subscription), on_close=close)

    async def shutdown(request: Request) -> Response:
        services.request_stop()
        return Response(status_code=202)

    return [
        Route("/api/status", status),
        Route("/api/hardware", hardware),
        Route("/api/hardware/measure", hardware, methods=["POST"]),
        Route("/api/models", models),
        Route("/api/models/load", load, methods=["POST"]),
        Route("/api/models/plan", plan, methods=["POST"]),
        Route("/api/models/ladder", ladder),
        Route("/api/models/trial", trial, methods=["POST"]),
        Route("/api/models/position", move, methods=["POST"]),
        Route("/api/models/speculation", passes),
        Route("/api/models/drafts", drafts),
        Route("/api/models/speculation", speculate, methods=["POST"]),
        Route("/api/models/unload", unload, methods=["POST"]),
        Route("/api/jobs", jobs),
        Route("/api/jobs/{id}", job),
        Route("/api/jobs/{id}/cancel", cancel_job, methods=["POST"]),
        Route("/api/events", events),
        Route("/api/shutdown", shutdown, methods=["POST"]),
    ]


async def event_frames(subscription: Subscription, keep_alive_s: float = KEEP_ALIVE_S) -> AsyncGenerator[bytes, None]:
    """A comment at once, then every event as one frame; a comment after each silence."""
    yield comment("nutshell events")
    while (batch := await subscription.batch(keep_alive_s)) is not None:
        yield b"".join(map(data, batch)) if batch else comment("keep-alive")
