"""Reads files in processes of their own, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Final

import psutil

from backend.api.errors import InvalidRequestError

from .document import MAX_CHARACTERS, Document

__all__ = ["MOST_MEMORY", "MOST_SECONDS", "read_apart"]

#: 300 short pages of a PDF take 0.4 s, a megabyte of text 0.2 s, the start of the process included
MOST_SECONDS: Final = 30.0
#: bytes; a file of 64 MB, the largest, is held some times over
MOST_MEMORY: Final = 768 << 20
_MOST_ANSWER: Final = 12 * MAX_CHARACTERS + 4096  # JSON writes a character of an old plane as twelve
_WATCH_S: Final = 0.05


async def read_apart(name: str, content: bytes, *, seconds: float = MOST_SECONDS) -> Document:
    """The document in these bytes, read by another process.

    Raises InvalidRequestError with the words for the person: what the file is, why that does not do, what to do.
    """
    process = await asyncio.to_thread(_start, name)
    exchange = asyncio.ensure_future(asyncio.to_thread(_exchange, process, content))
    try:
        over = await _watch(process, exchange, seconds)
    finally:
        if not exchange.done():
            process.kill()
            await asyncio.wait({exchange})
    answer = exchange.result()
    if over or process.returncode != 0 or len(answer) > _MOST_ANSWER:
        raise InvalidRequestError(
            f"{name} cannot be read.",
            why=over or "Reading it failed: the file is damaged, or made to do harm.",
            remedy="Open it in the program that made it, save it again, or attach its text.",
        )
    found = json.loads(answer)
    if "what" in found:
        raise InvalidRequestError(found["what"], why=found["why"], remedy=found["remedy"])
    return Document(found["kind"], found["mime"], found["text"])


def _start(name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a json.py in the folder that the user happens to stand in must not be imported
        [sys.executable, "-P", "-m", "backend.attachments.process", name.replace("\0", " ")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _exchange(process: subprocess.Popen[bytes], content: bytes) -> bytes:
    return process.communicate(content)[0]


async def _watch(process: subprocess.Popen[bytes], exchange: asyncio.Future[bytes], seconds: float) -> str:
    """Waits for the answer; returns why it was given up, or ""."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        done, _ = await asyncio.wait({exchange}, timeout=min(max(left, 0.0), _WATCH_S))
        if done:
            return ""
        if left <= 0:
            return f"Reading it takes more than {seconds:.0f} seconds."
        if _resident(process.pid) > MOST_MEMORY:
            return f"Reading it takes more than {MOST_MEMORY >> 20} MB of memory."


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
