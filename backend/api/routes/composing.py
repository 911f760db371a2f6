"""What goes into a message besides its words: files that wait for it, files that were sent with it, prompts."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import Json
from backend.api.schemas import AttachmentContent, NewFile, NewPrompt, PromptUpdate
from backend.api.services import Services

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """The routes of files and prompts."""
    store, held = services.store, services.chat.files

    async def add_file(request: Request) -> Response:
        return Json(await held.add(await body(request, NewFile)), status_code=201)

    async def files(request: Request) -> Response:
        del request
        return Json(await held.waiting())

    async def drop_file(request: Request) -> Response:
        held.drop(request.path_params["id"])
        return Response(status_code=204)

    async def attachment(request: Request) -> Response:
        return Json(await asyncio.to_thread(store.attachment, request.path_params["id"]))

    async def content(request: Request) -> Response:
        data = await asyncio.to_thread(store.attachment_content, request.path_params["id"])
        return Json(AttachmentContent(data=data))

    async def prompts(request: Request) -> Response:
        del request
        return Json(await asyncio.to_thread(store.list_prompts))

    async def create_prompt(request: Request) -> Response:
        new = await body(request, NewPrompt)
        return Json(await asyncio.to_thread(store.create_prompt, new.name, new.text), status_code=201)

    async def update_prompt(request: Request) -> Response:
        change = await body(request, PromptUpdate)
        prompt_id = request.path_params["id"]
        return Json(await asyncio.to_thread(lambda: store.update_prompt(prompt_id, name=change.name, text=change.text)))

    async def delete_prompt(request: Request) -> Response:
        await asyncio.to_thread(store.delete_prompt, request.path_params["id"])
        return Response(status_code=204)

    return [
        Route("/api/files", files),
        Route("/api/files", add_file, methods=["POST"]),
        Route("/api/files/{id}", drop_file, methods=["DELETE"]),
        Route("/api/attachments/{id}", attachment),
        Route("/api/attachments/{id}/content", content),
        Route("/api/prompts", prompts),
        Route("/api/prompts", create_prompt, methods=["POST"]),
        Route("/api/prompts/{id}", update_prompt, methods=["PATCH"]),
        Route("/api/prompts/{id}", delete_prompt, methods=["DELETE"]),
    ]
