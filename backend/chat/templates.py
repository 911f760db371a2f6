"""Chat templates: messages in, prompt out, with limits on time, memory and size."""

from __future__ import annotations

import asyncio
import json
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
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def render(self, template: str, context: dict[str, Any]) -> str:
        """One rendering.

        Raises:
            TemplateError: the template is broken, refused the messages, or went over a limit.
        """
        if len(template) > MOST_TEMPLATE_BYTES:
            raise _unusable(f"it is {len(template):,} bytes long")
        async with self._lock:
            answer = await self._ask(json.dumps({"template": template, "context": context}).encode() + b"\n")
        if "error" in answer:
            raise _unusable("it has an error", details=str(answer["error"]))
        return str(answer["text"])

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()
            # the transport keeps its pipes until the loop has seen their end
            process._transport.close()  # type: ignore[attr-defined]

    async def _ask(self, request: bytes) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            reading = asyncio.ensure_future(process.stdout.readline())
            over = await _watch(process, reading)
            if over:
                raise _unusable(over)
            line = reading.result()
        except (ValueError, ConnectionError) as error:  # ValueError: the line is over the stream's limit
            await self.close()
            raise _unusable("its output is too large", details=repr(error)) from None
        except BaseException:
            await self.close()
            raise
        if not line:
            await self.close()
            raise _unusable("rendering it crashed")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "backend.chat.template_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MOST_OUTPUT_BYTES,
            )
        return self._process


async def _watch(process: asyncio.subprocess.Process, reading: asyncio.Future[bytes]) -> str:
    """Waits for the answer; returns why it was given up, or ""."""
    end = time.monotonic() + MOST_SECONDS
    while True:
        done, _ = await asyncio.wait({reading}, timeout=_WATCH_S)
        if done:
            return ""
        over = ""
        if time.monotonic() > end:
            over = f"rendering it took more than {MOST_SECONDS:.0f} seconds"
        elif _resident(process.pid) > MOST_MEMORY_BYTES:
            over = f"rendering it took more than {MOST_MEMORY_BYTES // _MIB} MB"
        if over:
            reading.cancel()
            return over


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
