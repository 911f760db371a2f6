"""`nutshell serve`: offer the model to other programs through the OpenAI-compatible API."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
from typing import TYPE_CHECKING

from app.commands.options import add_model_options, engine_arguments, number
from app.terminal import run_async, say
from backend.api.errors import InvalidRequestError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from app.session import Session
    from app.supervisor import EngineState

__all__ = ["add", "run"]

DEFAULT_PORT = 9460


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "serve",
        help="offer the model to other programs",
        description="Offers the model to other programs through the OpenAI-compatible API, until Ctrl+C. "
        "Only programs on this machine can reach it, unless --host says otherwise; that needs --api-key.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine)"
    )
    parser.add_argument(
        "--port",
        type=number(int, 0, 65535),
        default=DEFAULT_PORT,
        metavar="N",
        help=f"default {DEFAULT_PORT}; 0 takes a free one",
    )
    parser.add_argument("--api-key", default="", metavar="KEY", help="what other programs must send as their API key")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    if not is_loopback(arguments.host) and not arguments.api_key:
        raise InvalidRequestError(
            f"Listening on {arguments.host} lets other machines in, so a key is required.",
            remedy="Give one with --api-key, or leave --host away.",
        )
    return run_async(_serve(arguments))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _serve(arguments: argparse.Namespace) -> int:
    from app.session import Session

    more = ["--serve", "--host", arguments.host, "--port", str(arguments.port), *engine_arguments(arguments)]
    # By the environment, because the arguments of a process can be read by every user of the machine.
    env = {"NUTSHELL_API_KEY": arguments.api_key} if arguments.api_key else {}
    async with Session(
        arguments.model, position=arguments.position, arguments=more, env=env, host=arguments.host
    ) as session:
        for notice in session.notices:
            say(notice)
        handshake = await session.supervisor.ready()
        base = f"{handshake.base_url}/v1"
        print(f"{session.model.entry.name} is served at {base}", flush=True)
        say(f"\nTry it:\n{example(base, arguments.api_key)}\n\nCtrl+C ends it.")
        await _until_it_ends(session)
    return 0


def example(base: str, key: str) -> str:
    """A curl command that asks the server something."""
    header = f' \\\n    -H "Authorization: Bearer {key}"' if key else ""
    return (
        f'  curl {base}/chat/completions \\\n    -H "Content-Type: application/json"{header} \\\n'
        """    -d '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'"""
    )


async def _until_it_ends(session: Session) -> None:
    from app.supervisor import Died, Failed

    ended: asyncio.Future[EngineState] = asyncio.get_running_loop().create_future()

    def watch(state: EngineState) -> None:
        if isinstance(state, Died | Failed) and not ended.done():
            ended.set_result(state)

    session.supervisor.listen(watch)
    state = await ended
    if isinstance(state, Failed):
        raise state.error
