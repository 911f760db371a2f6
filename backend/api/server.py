"""The HTTP server of the engine process; it can also run inside a test.

server = EngineServer(services)
await server.start()        # server.base_url, server.token
await server.stop()         # also closes the services
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from backend.api.errors import InvalidRequestError, NutshellError
from backend.api.failures import on_exception
from backend.api.listening import listen
from backend.api.routes import composing, compression, conversations, downloads, hub_token, native, openai, organising
from backend.api.security import MAX_BODY, Access, Guard, is_loopback
from backend.api.services import Services

__all__ = ["EngineServer", "create_app"]


def create_app(services: Services, access: Access) -> ASGIApp:
    """The whole application: every known path, behind the guard."""
    app = Starlette(
        routes=[
            *native.routes(services),
            *conversations.routes(services),
            *organising.routes(services),
            *composing.routes(services),
            *compression.routes(services),
            *downloads.routes(services),
            *hub_token.routes(services),
            *openai.routes(services),
        ],
        exception_handlers={NutshellError: on_exception, HTTPException: on_exception, Exception: on_exception},
    )
    app.router.redirect_slashes = False
    return Guard(app, access)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers (the process has its own) and without its ten wake-ups a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.leave = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.leave.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class EngineServer:
    """One listening server around `services`.

    Attributes:
        token: the run token; opens every route.
        port: the port, once started.
    """

    def __init__(
        self,
        services: Services,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        api_key: str | None = None,
        serve: bool = False,
        origins: Iterable[str] = (),
        hosts: Iterable[str] = (),
        max_body: int = MAX_BODY,
    ) -> None:
        self.services = services
        self.host = host
        self.port = port
        self.token = token or secrets.token_urlsafe(32)
        self._api_key = api_key or None
        self._serve = serve
        self._origins = frozenset(_checked_origin(origin) for origin in origins)
        self._hosts = frozenset(hosts)
        self._max_body = max_body
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []

    @property
    def base_url(self) -> str:
        """Where a client on this machine reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "localhost": "127.0.0.1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host and "[" not in host else f"http://{host}:{self.port}"

    def bind(self) -> None:
        """Takes the port without answering on it yet. `start` does this too, if it was not done.

        Raises:
            PortInUseError, InvalidRequestError: why it cannot listen there.
        """
        if self._sockets:
            return
        self._loopback = is_loopback(self.host)
        if not self._loopback and self._api_key is None:
            raise InvalidRequestError(
                f"An API key is needed to listen on {self.host}.",
                why="Other machines can reach that address, and without a key anyone could use the model.",
                remedy="Give one with --api-key, or listen on 127.0.0.1.",
            )
        self._sockets = listen(self.host, self.port, both_loopbacks=self._serve)
        self.port = self._sockets[0].getsockname()[1]

    async def start(self) -> None:
        """Listens and answers. Raises what `bind` raises."""
        self.bind()
        access = Access(
            token=self.token,
            port=self.port,
            api_key=self._api_key,
            open_v1=self._serve and self._loopback and self._api_key is None,
            loopback=self._loopback,
            hosts=self._hosts,
            origins=self._origins,
            max_body=self._max_body,
        )
        self.services.hub.bind()
        config = uvicorn.Config(
            create_app(self.services, access),
            loop="asyncio",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            # Longer than the clients keep an idle connection (30 s), so that it is always they who close it.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(self._sockets), name="http server")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Ends answers and streams, the listening, the engine and the database, in this order. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        await self.services.quiesce()
        server.should_exit = True
        server.leave.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self.services.close()


def _checked_origin(origin: str) -> str:
    scheme, separator, rest = origin.rstrip("/").partition("://")
    if not separator or not scheme or not rest or "*" in origin or "/" in rest:
        raise InvalidRequestError(
            f"'{origin}' is not the address of a web page's origin.",
            remedy="Write it as https://example.org, without a path; a wildcard is not possible.",
        )
    return f"{scheme}://{rest}".lower()
