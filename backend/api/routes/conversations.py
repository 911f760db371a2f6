"""Conversations, turns, search."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body, flag
from backend.api.failures import FieldError, Json
from backend.api.schemas import (
    Cancelled,
    Conversation,
    ConversationChanged,
    ConversationDetail,
    ConversationUpdate,
    ExportedText,
    ImportedFile,
    ImportFile,
    NewConversation,
    NewVersion,
    Purged,
    StartTurn,
)
from backend.api.services import Services
from backend.chat.exchange.readers import read_file
from backend.chat.exchange.writers import to_html, to_json, to_markdown

__all__ = ["routes"]

#: Hits of one search at most.
SEARCH_LIMIT = 200


def routes(services: Services) -> list[Route]:
    """The routes of conversations. The database is asked on a worker thread: a write waits for the disk."""
    store = services.store

    def changed(conversation: Conversation, status: int = 200) -> Response:
        services.hub.publish(ConversationChanged(conversation=conversation))
        return Json(conversation, status_code=status)

    async def list_all(request: Request) -> Response:
        deleted = flag(request, "deleted")
        return Json(await asyncio.to_thread(lambda: store.conversations(deleted=deleted)))

    async def create(request: Request) -> Response:
        new = await body(request, NewConversation)
        return changed(await asyncio.to_thread(store.create_conversation, new), 201)

    async def detail(request: Request) -> Response:
        return Json(await asyncio.to_thread(store.detail, request.path_params["id"]))

    async def update(request: Request) -> Response:
        change = await body(request, ConversationUpdate)
        return changed(await asyncio.to_thread(store.update_conversation, request.path_params["id"], change))

    async def delete(request: Request) -> Response:
        conversation_id = request.path_params["id"]
        messages = (await asyncio.to_thread(store.detail, conversation_id)).messages
        for message in messages:
            if message.status == "streaming":
                services.chat.cancel(message.id)
        return changed(await asyncio.to_thread(store.delete_conversation, conversation_id))

    async def restore(request: Request) -> Response:
        return changed(await asyncio.to_thread(store.restore_conversation, request.path_params["id"]))

    async def empty_trash(request: Request) -> Response:
        del request
        return Json(Purged(purged=await asyncio.to_thread(store.purge_deleted, time.time() + 1)))

    async def export(request: Request) -> Response:
        write = {"markdown": to_markdown, "html": to_html, "json": with_files}.get(
            request.query_params.get("format", "")
        )
        if write is None:
            raise FieldError("'format' must be markdown, html or json.", param="format")
        detail = await asyncio.to_thread(store.detail, request.path_params["id"])
        return Json(ExportedText(text=await asyncio.to_thread(write, detail)))

    def with_files(detail: ConversationDetail) -> str:
        files = {
            message.id: [(file, store.attachment_content(file.id)) for file in store.attachments(message.id)]
            for message in detail.messages
            if message.attachments
        }
        return to_json(detail, files)

    async def import_file(request: Request) -> Response:
        path = Path((await body(request, ImportFile)).path)
        found = await asyncio.to_thread(read_file, path)
        made = [await asyncio.to_thread(store.import_conversation, one) for one in found]
        for conversation in made:
            services.hub.publish(ConversationChanged(conversation=conversation))
        return Json(ImportedFile(conversations=made), status_code=201)

    async def start_turn(request: Request) -> Response:
        turn = await body(request, StartTurn)
        return Json(await services.chat.start_turn(request.path_params["id"], turn), status_code=202)

    async def follow_ups(request: Request) -> Response:
        return Json(await services.chat.follow_ups(request.path_params["id"]))

    async def end_follow_ups(request: Request) -> Response:
        del request
        services.chat.end_follow_ups()
        return Response(status_code=204)

    async def cancel_message(request: Request) -> Response:
        return Json(Cancelled(cancelled=services.chat.cancel(request.path_params["id"])))

    async def add_version(request: Request) -> Response:
        new = await body(request, NewVersion)
        if not new.text.strip():
            raise FieldError("'text' must not be empty.", param="text")
        made = await asyncio.to_thread(store.add_version, request.path_params["id"], new.text)
        changed(await asyncio.to_thread(store.conversation, made.conversation_id))
        return Json(made, status_code=201)

    async def delete_turn(request: Request) -> Response:
        return changed(await asyncio.to_thread(store.delete_turn, request.path_params["id"]))

    async def search(request: Request) -> Response:
        query = request.query_params.get("q", "").strip()
        text = request.query_params.get("limit", "50")
        if not text.isdecimal() or not 1 <= int(text) <= SEARCH_LIMIT:
            raise FieldError(f"'limit' must be a number from 1 to {SEARCH_LIMIT}.", param="limit")
        return Json(await asyncio.to_thread(store.search, query, int(text)) if query else [])

    return [
        Route("/api/conversations", list_all),
        Route("/api/conversations", create, methods=["POST"]),
        Route("/api/conversations/{id}", detail),
        Route("/api/conversations/{id}", update, methods=["PATCH"]),
        Route("/api/conversations/{id}", delete, methods=["DELETE"]),
        Route("/api/conversations/{id}/restore", restore, methods=["POST"]),
        Route("/api/trash", empty_trash, methods=["DELETE"]),
        Route("/api/conversations/{id}/export", export),
        Route("/api/import", import_file, methods=["POST"]),
        Route("/api/conversations/{id}/turns", start_turn, methods=["POST"]),
        Route("/api/conversations/{id}/follow-ups", follow_ups, methods=["POST"]),
        Route("/api/conversations/{id}/follow-ups", end_follow_ups, methods=["DELETE"]),
        Route("/api/messages/{id}/cancel", cancel_message, methods=["POST"]),
        Route("/api/messages/{id}/versions", add_version, methods=["POST"]),
        Route("/api/messages/{id}", delete_turn, methods=["DELETE"]),
        Route("/api/search", search),
    ]
