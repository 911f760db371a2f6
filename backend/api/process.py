"""The engine process: `python -m backend.api`.

It prints one line of JSON to stdout when it answers ({"port", "token", "pid", "version"}), or why it does not
({"error": {"code", "what", "why", "remedy", "details"}}, exit code 1). Everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from backend.api.errors import NutshellError
from backend.api.schemas import ErrorInfo, LoadModel
from backend.api.stopping import StopSwitch, watch_stdin
from backend.api.version import version

__all__ = ["Handshake", "main"]

logger = logging.getLogger(__name__)


class Handshake(msgspec.Struct, kw_only=True):
    """The line on stdout."""

    port: int
    token: str
    pid: int
    version: str


class _Refusal(msgspec.Struct):
    error: ErrorInfo


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m backend.api", description="The engine process of Nutshell: models, conversations, HTTP."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond loopback a key is needed")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--api-key", help="opens /v1 for other programs (or the variable NUTSHELL_API_KEY)")
    parser.add_argument("--model", help="model to load at once: a path, or an id or name of the list")
    parser.add_argument("--position", type=float, help="of that model's slider: 0 is fastest, 1 is best")
    parser.add_argument("--n-ctx", type=int, default=0, help="tokens of context for every model; 0: our choice")
    parser.add_argument("--n-threads", type=int, default=0, help="threads for every model; 0: one per core")
    parser.add_argument("--kv", default="", choices=["", "f16", "q8"], help="keys and values of the conversation")
    parser.add_argument("--speculation", default="", choices=["", "auto", "off", "custom"], help="drafts")
    parser.add_argument("--draft-nodes", type=int, default=8, metavar="N", help="with --speculation custom")
    parser.add_argument("--memory-budget", type=int, default=0, metavar="BYTES", help="of weights that stay in memory")
    parser.add_argument("--draft-model", default="", metavar="FILE", help="a small model that drafts")
    parser.add_argument(
        "--serve", action="store_true", help="offer /v1 to other programs: on loopback, any key or none opens it"
    )
    parser.add_argument("--stay", action="store_true", help="do not end with stdin; includes --serve")
    parser.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help="a page that may call")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name of this machine")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the engine process; returns its exit code."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Out of the environment, so that no child of ours sees it.
    options.api_key = options.api_key or os.environ.pop("NUTSHELL_API_KEY", None)
    wire = _take_stdout()
    stop = StopSwitch()
    if not options.stay:
        watch_stdin(stop)
    try:
        asyncio.run(_run(options, wire, stop))
    except NutshellError as error:
        logger.error("%s [%s]", error, error.details)
        _say(wire, _Refusal(ErrorInfo.of(error)))
        return 1
    return 0


def _take_stdout() -> IO[bytes]:
    """Our own handle on stdout; what any library prints from now on goes to stderr."""
    sys.stdout.flush()
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return wire


def _say(wire: IO[bytes], line: msgspec.Struct) -> None:
    try:
        wire.write(msgspec.json.encode(line) + b"\n")
    except OSError as error:
        logger.warning("nobody reads our stdout: %s", error)


async def _run(options: argparse.Namespace, wire: IO[bytes], stop: StopSwitch) -> None:
    from backend.api.assembly import build_services
    from backend.api.server import EngineServer

    stop.on_signals()
    services = build_services(
        LoadModel(
            n_ctx=max(options.n_ctx, 0),
            n_threads=max(options.n_threads, 0),
            kv=options.kv,
            speculation=options.speculation,
            draft_nodes=min(max(options.draft_nodes, 1), 63),
            draft_model=options.draft_model,
            memory_budget=max(options.memory_budget, 0),
        )
    )
    server = EngineServer(
        services,
        host=options.host,
        port=options.port,
        api_key=options.api_key,
        serve=options.serve or options.stay,
        origins=options.allow_origin,
        hosts=options.allow_host,
    )
    services.request_stop = lambda: stop.request("asked by a client")
    try:
        await server.start()
    except BaseException:
        await services.quiesce()
        await services.close()
        raise
    services.watch_memory()
    try:
        if options.model:
            services.opening = asyncio.create_task(services.open_model(_request(options.model, options.position)))
        _say(wire, Handshake(port=server.port, token=server.token, pid=os.getpid(), version=version()))
        await stop.wait()
    finally:
        await server.stop()


def _request(model: str, position: float | None) -> LoadModel:
    path = Path(model).expanduser()
    if path.is_file() or path.suffix.lower() in (".gguf", ".nutshell") or len(path.parts) > 1:
        return LoadModel(path=str(path.absolute()), position=position)
    return LoadModel(id=model, position=position)
