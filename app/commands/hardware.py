"""`nutshell hardware`: what this machine has, as the planner will see it."""

from __future__ import annotations

import argparse
import json
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


async def _hardware(*, as_json: bool) -> int:
    from app.session import Session

    async with Session(load=False) as session:
        report = await session.client.hardware()
    if as_json:
        print(json.dumps(msgspec.to_builtins(report), ensure_ascii=False, indent=2))
    else:
        print(table(rows(report)))
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
