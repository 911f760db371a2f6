"""Log files: small, rotated, without secrets.

What people write and what models answer does not belong into a log. Where a length helps, log `private(text)`.
"""

from __future__ import annotations

import logging
import re
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["configure", "private", "redact"]

_BYTES_PER_FILE = 1_000_000
_FILES = 4
_FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"
_HIDDEN = "[hidden]"

_SECRETS = (
    # Authorization: Bearer ..., also inside a printed dictionary of headers, and Basic
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{4,}"),
    # api_key=..., "token": "...", x-api-key: ..., ?key=...
    re.compile(
        r"(?i)((?:\b|[_-])(?:api[_-]?key|access[_-]?token|auth[_-]?token|token|secret|password|passwd)"
        r"[\"']?\s*[=:]\s*[\"']?)(?!bearer\b|basic\b)[^\s\"'&,;})\]]{4,}"
    ),
    re.compile(r"(?i)(--api-key[ =])\S+"),
    # keys by their look: OpenAI, Hugging Face, GitHub
    re.compile(r"()\b(?:sk-[A-Za-z0-9_-]{8,}|hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,})"),
    # a user and password inside an address
    re.compile(r"(://)[^\s/@:]+:[^\s/@]+(?=@)"),
)


def redact(text: str) -> str:
    """The text with tokens, keys and passwords replaced."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return text


def private(text: str) -> str:
    """What may be said in a log about a text that is nobody's business: its length in characters."""
    return f"[{len(text):,} characters]"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))  # last, so that tracebacks are covered too


def configure(
    folder: Path, name: str, *, level: int = logging.INFO, stderr: bool = False, secrets: tuple[str, ...] = ()
) -> Path | None:
    """Send all logging of this process to `folder`/`name`.log, and to stderr if asked; gives the file.

    One name per process ("engine", "window"): two processes cannot rotate one file. `secrets` are exact strings that
    never appear, such as the token of this run. Where the file cannot be written it logs to stderr instead and
    gives None. Calling it again replaces what an earlier call set.
    """
    formatter = _Formatter(_FORMAT) if not secrets else _exact(secrets)
    handlers: list[logging.Handler] = []
    path: Path | None = folder / f"{name}.log"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(folder / f"{name}.log", "a", _BYTES_PER_FILE, _FILES - 1, "utf-8", errors="replace")
        )
    except OSError:
        path = None
        stderr = True
    if stderr:
        handlers.append(logging.StreamHandler())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler.formatter, _Formatter)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = False  # a full disk must not print a traceback for every line that cannot be logged
    logging.captureWarnings(True)
    # These log every request with its address at INFO; the event stream alone would fill the file, and the addresses
    # to which the hub redirects are signed: whoever reads one may fetch the file.
    for chatty in ("httpx", "httpcore", "httpx2", "httpcore2", "asyncio", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    return path


def _exact(secrets: tuple[str, ...]) -> _Formatter:
    class Exact(_Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            for secret in secrets:
                if secret:
                    text = text.replace(secret, _HIDDEN)
            return text

    return Exact(_FORMAT)
