"""`nutshell hardware`: what this machine has, as the planner will see it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.terminal import run_async, size, table
from backend.api.schemas import HardwareReport

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add", "run"]


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "hardware",
        help="show processor, memory, graphics and disk",
        description="Shows what this machine offers to a model: processor features, memory, graphics cards, disk.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the report."""
    return run_async(_hardware(as_json=arguments.json))


def _disk_rate() -> float:
    """MB/s of direct reads from the disk that holds the default model; 0: not known."""
    from app.models import default_model
    from backend.api.errors import NutshellError
    from backend.hardware.disk_rate import direct_read_rate

    try:
        return direct_read_rate(Path(default_model("").path)) / 1e6
    except NutshellError:
        return 0.0


async def _hardware(*, as_json: bool) -> int:
    from app.session import Session

    async with Session(load=False) as session:
        report = await session.client.hardware()
    rate = _disk_rate()
    if as_json:
        found = msgspec.to_builtins(report) | {"disk_read_mb_s": round(rate, 1)}
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        lines = rows(report)
        if rate:
            lines.append(("Disk reads", f"{rate:,.0f} MB/s past the system's cache"))
        print(table(lines))
    return 0


def rows(report: HardwareReport) -> list[tuple[str, str]]:
    """The report as lines of name and words."""
    cpu, memory, disk = report.cpu, report.memory, report.disk
    lines = [
        ("System", report.os),
        ("Processor", f"{cpu.name}, {cpu.cores} cores, {cpu.threads} threads"),
        ("Features", ", ".join(cpu.features) or "none that matter here"),
        ("Memory", f"{size(memory.available)} free of {size(memory.total)}"),
    ]
    lines += [
        ("Graphics", f"{gpu.name} ({gpu.backend}), {size(gpu.vram_free)} free of {size(gpu.vram_total)}")
        for gpu in report.gpus
    ] or [("Graphics", "none that the engine can use")]
    lines += [
        ("Disk", f"{size(disk.free)} free of {size(disk.total)} at {disk.path}"),
        ("Engine", f"{report.engine_build}, holds {size(report.engine_rss)}"),
    ]
    return lines
