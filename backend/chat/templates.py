"""Chat templates: messages in, prompt out, with limits on time, memory and size."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from backend.api.errors import TemplateError
from backend.api.schemas import Role
from backend.chat.builtin_templates import MARKERS, BuiltinTemplate, choose
from backend.engine.model import Model

_MIB = 1 << 20
MOST_TEMPLATE_BYTES = 256 * 1024  # the largest published ones have 20 KB
MOST_OUTPUT_BYTES = 32 * _MIB
MOST_MEMORY_BYTES = 256 * _MIB  # the process itself takes 15 MB
MOST_SECONDS = 3.0
_WATCH_S = 0.02


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message as a template sees it."""

    role: Role
    content: str


class TemplateSandbox:
    """The template process, started when first needed and again after it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()

    async def render(self, template: str, context: dict[str, Any]) -> str:
        """One rendering.

        Raises:
            TemplateError: the template is broken, refused the messages, or went over a limit.
        """
        if len(template) > MOST_TEMPLATE_BYTES:
            raise _unusable(f"it is {len(template):,} bytes long")
        async with self._lock:
            line = await self._ask(json.dumps({"template": template, "context": context}).encode() + b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise _unusable("it has an error", details=str(answer["error"]))
        return str(answer["text"])

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)

    async def _ask(self, request: bytes) -> bytes:
        """One line for one line. The blocking exchange runs on a thread; this task watches and may kill the process,
        which ends the exchange.
        """
        if self._process is None:
            self._process = await asyncio.to_thread(_start)
        process = self._process
        exchange = asyncio.ensure_future(asyncio.to_thread(_exchange, process, request))
        try:
            over = await _watch(process, exchange)
            line = b"" if over else exchange.result()
            if len(line) > MOST_OUTPUT_BYTES:
                over = "its output is too large"
        except BaseException:
            process.kill()
            await asyncio.wait({exchange})
            await self.close()
            raise
        if over or not line.endswith(b"\n"):
            process.kill()
            await asyncio.wait({exchange})
            await self.close()
            raise _unusable(over or "rendering it crashed")
        return line


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend.chat.template_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()  # closes the pipes and waits


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        return process.stdout.readline(MOST_OUTPUT_BYTES + 1)
    except OSError:  # it died while we wrote
        return b""


async def _watch(process: subprocess.Popen[bytes], exchange: asyncio.Future[bytes]) -> str:
    """Waits for the answer; returns why it was given up, or ""."""
    end = time.monotonic() + MOST_SECONDS
    while True:
        done, _ = await asyncio.wait({exchange}, timeout=_WATCH_S)
        if done:
            return ""
        if time.monotonic() > end:
            return f"rendering it took more than {MOST_SECONDS:.0f} seconds"
        if _resident(process.pid) > MOST_MEMORY_BYTES:
            return f"rendering it took more than {MOST_MEMORY_BYTES // _MIB} MB"


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _unusable(why: str, *, details: str = "") -> TemplateError:
    return TemplateError(
        "The model's own chat template cannot be used.",
        why=f"Reason: {why}.",
        remedy="Nutshell can use a built-in one instead.",
        details=details,
    )


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The template that is used for a model.

    Attributes:
        notice: one sentence for the user where it is not the file's own; else "".
        stop: strings that end an answer, besides the model's end tokens.
    """

    source: str
    bos_token: str
    eos_token: str
    stop: tuple[str, ...] = ()
    notice: str = ""

    async def render(self, sandbox: TemplateSandbox, messages: Sequence[ChatMessage]) -> str:
        """The prompt that asks for the next assistant message.

        Raises:
            TemplateError: the template does not accept these messages.
        """
        shown = [{"role": m.role, "content": m.content} for m in messages]
        context = {
            "messages": shown,
            "add_generation_prompt": True,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        }
        try:
            return await sandbox.render(self.source, context)
        except TemplateError:
            folded = _fold_system(shown)
            if folded == shown:
                raise
            # many templates know no system role (Gemma, early Mistral): its text goes before the first user message
            return await sandbox.render(self.source, {**context, "messages": folded})


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return messages
    joined = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{"role": "user", "content": joined}, *messages[2:]]


#: What a usable template must render: a first turn, and a later one.
_PROBES = (
    [ChatMessage("user", "probe-one")],
    [ChatMessage("user", "probe-one"), ChatMessage("assistant", "probe-two"), ChatMessage("user", "probe-three")],
)


async def template_for(model: Model, sandbox: TemplateSandbox) -> ChatTemplate:
    """The file's own template if it renders two small conversations with their text in them; else a built-in one."""
    info = model.info
    if info.chat_template:
        own = ChatTemplate(info.chat_template, info.bos_text, info.eos_text)
        try:
            for probe in _PROBES:
                prompt = await own.render(sandbox, probe)
                if not all(message.content in prompt for message in probe):
                    raise _unusable("it leaves out what was said")
        except TemplateError as error:
            reason = error.why.removeprefix("Reason: ").removesuffix(".")
            return _builtin(model, f"The model's own chat template cannot be used ({reason}).")
        return own
    return _builtin(model, "This model file has no chat template.")


def _builtin(model: Model, sentence: str) -> ChatTemplate:
    chosen: BuiltinTemplate = choose({token: _is_one_token(model, token) for token in MARKERS})
    return ChatTemplate(
        chosen.source,
        model.info.bos_text,
        model.info.eos_text,
        chosen.stop,
        f"{sentence} Nutshell uses its built-in {chosen.name} template; answers may be worse than they could be.",
    )


def _is_one_token(model: Model, text: str) -> bool:
    tokens = model.tokenizer.encode(text, special=True)
    return len(tokens) == 1 or (len(tokens) == 2 and not model.tokenizer.piece(tokens[0]))
