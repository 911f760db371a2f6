"""What can be told of a program that went wrong, without a word of what its user wrote.

Nothing is taken over as it stands: settings by their kind, log lines by their form. What an error said is left out,
because it may hold a text, a name or a path; where it happened is kept, because that is our own source.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from app.supervisor import reason_for_exit
from backend.api.schemas import HardwareReport
from backend.api.version import version
from backend.config.paths import Paths
from backend.config.settings import Settings

__all__ = ["describe", "harmless"]

_MOST_LINES = 40
_READ_BYTES = 400_000
_OURS = ("app", "backend", "ui", "kernels")
# 2026-01-31 12:00:00,123 WARNING 4242 nutshell.window: what it said
_RECORD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* (WARNING|ERROR|CRITICAL)\s+\d+ ([a-z][A-Za-z0-9_.]*): (.*)")
_NOTE = re.compile(r"\[supervisor (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] no answer to a health check \((\d+)\)")
_FRAME = re.compile(r'\s+File "([^"]+)", line (\d+), in ([A-Za-z_<>]\w*>?)')
_RAISED = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Failed))(?::|$)")
_NATIVE = re.compile(r"(llama|ggml|gguf)_[a-z0-9_]+(?=:.*\b(?:error|failed|abort)\b)", re.IGNORECASE)
_CODE = re.compile(r"\[([a-z_]{3,40})\]$")
_REASONS = {reason_for_exit(code, ready=ready) for code in (*range(-64, 256), 0xC0000005, 0xC000001D, 0xC00000FD,
            0xC0000409) for ready in (True, False)}  # fmt: skip


def describe(settings: Settings, where: Paths, report: HardwareReport | None, *, qt: str = "", state: str = "") -> str:
    """All of it as plain text.

    Args:
        settings: what the user chose.
        where: its folder of logs is read.
        report: what the engine says of the machine; None where it could not be asked.
        qt: the version of Qt, and on what it draws.
        state: of the link to the engine.
    """
    parts = [
        ("Nutshell", version()),
        ("Python", platform.python_version() + (", packaged" if getattr(sys, "frozen", False) else "")),
        ("Qt", qt),
        ("System", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Engine", state),
        *_machine(report),
    ]
    lines = [f"{name}: {value}" for name, value in parts if value]
    lines += ["", "Settings that differ from the defaults:", *(_settings(settings) or ["none"])]
    for name in ("engine", "window"):
        found = list(harmless(_last_lines(where.logs / f"{name}.log")))[-_MOST_LINES:]
        lines += ["", f"Last problems in {name}.log (what was said is left out):", *(found or ["none"])]
    return "\n".join(lines) + "\n"


def _machine(report: HardwareReport | None) -> list[tuple[str, str]]:
    if report is None:
        return []
    found = [
        ("Distribution", report.os),
        ("Processor", f"{report.cpu.name}, {report.cpu.cores} cores, {report.cpu.threads} threads"),
        ("Instructions", ", ".join(report.cpu.features)),
        ("Memory", f"{report.memory.total / 1e9:.1f} GB, {report.memory.available / 1e9:.1f} GB free"),
        ("Graphics", ", ".join(gpu.name for gpu in report.gpus)),
        ("Disk", f"{report.disk.free / 1e9:.1f} of {report.disk.total / 1e9:.1f} GB free"),
        ("Engine build", report.engine_build),
        ("Engine memory", f"{report.engine_rss / 1e6:.0f} MB"),
    ]
    if (model := report.model) is not None:  # its name and path may be anybody's
        kind = f"{model.entry.architecture or 'unknown'} {model.entry.quantization or ''}".strip()
        found.append(("Model", f"{kind}, {model.weight_bytes / 1e6:.0f} MB, context {model.n_ctx}"))
    return found


def _settings(settings: Settings) -> list[str]:
    """Numbers, switches and choices as they are; of texts only that there is one."""
    told = []
    values = settings.as_dict()
    for declaration in settings.declarations.values():
        value = values.get(declaration.name)
        if value == declaration.default or not declaration.shown:
            continue
        plain = not declaration.secret and (declaration.kind is not str or declaration.choices)
        told.append(f"{declaration.name} = {value if plain else 'set'}")
    return told


def harmless(lines: Iterable[str]) -> Iterable[str]:
    """What of a log can be told: when, where and of which kind, and never in the words of a message."""
    for line in lines:
        if record := _RECORD.match(line):
            when, level, logger, said = record.groups()
            known = next((reason for reason in _REASONS if said == f"the engine died: {reason}"), "")
            code = _CODE.search(said)
            more = known or (code.group(1) if code and code.group(1) in _codes() else "")
            yield f"{when} {level} {logger}" + (f": {more}" if more else "")
        elif note := _NOTE.match(line):
            yield f"{note.group(1)} no answer to a health check ({note.group(2)})"
        elif frame := _FRAME.match(line):
            path, number, function = frame.groups()
            if ours := _ours(path):
                yield f"    {ours}:{number} in {function}"
        elif raised := _RAISED.match(line):
            if (kind := raised.group(1).rsplit(".", 1)[-1]) in _known_errors():
                yield f"  {kind}"
        elif native := _NATIVE.match(line):
            yield f"  {native.group(0)}"


def _codes() -> set[str]:
    from backend.api.errors import BY_CODE

    return set(BY_CODE)


def _known_errors() -> set[str]:
    import builtins

    from backend.api import errors

    python = {name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)}
    return python | set(errors.__all__) | {"DecodeError", "ValidationError", "OperationalError", "DatabaseError"}


def _ours(path: str) -> str:
    """A source file of ours by its place in the program; "" for any other file."""
    root = Path(__file__).resolve().parent.parent
    try:
        inside = Path(path).resolve().relative_to(root)
    except (ValueError, OSError):
        return ""
    return (
        inside.as_posix() if inside.parts[0] in _OURS and inside.suffix == ".py" and (root / inside).is_file() else ""
    )


def _last_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
