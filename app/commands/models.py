"""`nutshell models`: the models on this machine."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import msgspec

from app.terminal import run_async, say, size, table
from backend.api.schemas import ModelEntry

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add", "run"]

_SOURCES = {
    "builtin": "built in",
    "file": "file",
    "huggingface": "Hugging Face",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "llamacpp": "llama.cpp",
}


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "models",
        help="list the models on this machine",
        description="Lists the built-in model and those in the folders of Hugging Face, LM Studio, Ollama and "
        "llama.cpp. They are read in place, never copied.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Lists."""
    return run_async(_models(as_json=arguments.json))


async def _models(*, as_json: bool) -> int:
    from app.session import Session

    async with Session(load=False) as session:
        entries = await session.client.models()
    if as_json:
        print(json.dumps([msgspec.to_builtins(entry) for entry in entries], ensure_ascii=False, indent=2))
        return 0
    if not entries:
        say("There are no models on this machine yet.")
        return 0
    print(table([("NAME", "SIZE", "QUANTIZATION", "FROM", "ID"), *map(_row, entries)], right=frozenset({1})))
    for entry in entries:
        if entry.error is not None:
            say(f"{entry.name} cannot be used: {entry.error.what} {entry.error.why}".rstrip())
    return 0


def _row(entry: ModelEntry) -> tuple[str, ...]:
    kind = entry.quantization or "-"
    return entry.name, size(entry.bytes), kind, _SOURCES.get(entry.source, entry.source), entry.id
