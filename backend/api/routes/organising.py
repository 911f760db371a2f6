"""Folders and presets."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import Json
from backend.api.schemas import FolderUpdate, NewFolder, NewPreset, PresetUpdate
from backend.api.services import Services

__all__ = ["routes"]


def routes(services: Services) -> list[Route]:
    """The routes of folders and presets."""
    store = services.store

    async def folders(request: Request) -> Response:
        return Json(await asyncio.to_thread(store.list_folders))

    async def create_folder(request: Request) -> Response:
        new = await body(request, NewFolder)
        return Json(await asyncio.to_thread(store.create_folder, new.name, new.parent_id), status_code=201)

    async def update_folder(request: Request) -> Response:
        change = await body(request, FolderUpdate)
        folder_id = request.path_params["id"]
        return Json(
            await asyncio.to_thread(
                lambda: store.update_folder(folder_id, name=change.name, parent_id=change.parent_id)
            )
        )

    async def delete_folder(request: Request) -> Response:
        await asyncio.to_thread(store.delete_folder, request.path_params["id"])
        return Response(status_code=204)

    async def presets(request: Request) -> Response:
        return Json(await asyncio.to_thread(store.list_presets))

    async def create_preset(request: Request) -> Response:
        new = await body(request, NewPreset)
        made = await asyncio.to_thread(
            lambda: store.create_preset(new.name, new.system_prompt, new.sampling, icon=new.icon, model=new.model)
        )
        return Json(made, status_code=201)

    async def update_preset(request: Request) -> Response:
        change = await body(request, PresetUpdate)
        preset_id = request.path_params["id"]
        return Json(
            await asyncio.to_thread(
                lambda: store.update_preset(
                    preset_id,
                    name=change.name,
                    system_prompt=change.system_prompt,
                    sampling=change.sampling,
                    icon=change.icon,
                    model=change.model,
                )
            )
        )

    async def delete_preset(request: Request) -> Response:
        await asyncio.to_thread(store.delete_preset, request.path_params["id"])
        return Response(status_code=204)

    return [
        Route("/api/folders", folders),
        Route("/api/folders", create_folder, methods=["POST"]),
        Route("/api/folders/{id}", update_folder, methods=["PATCH"]),
        Route("/api/folders/{id}", delete_folder, methods=["DELETE"]),
        Route("/api/presets", presets),
        Route("/api/presets", create_preset, methods=["POST"]),
        Route("/api/presets/{id}", update_preset, methods=["PATCH"]),
        Route("/api/presets/{id}", delete_preset, methods=["DELETE"]),
    ]
