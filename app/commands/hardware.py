"""`nutshell hardware`: what this machine has, as the planner will see it."""

from __future__ import annotations

import argparse
import json
import time
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
        description="Shows what this machine offers to a model: processor features, memory, graphics cards, disks. "
        "Speeds are measured once a day.",
    )
    parser.add_argument("--measure", action="store_true", help="measure the speed of memory and disks again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the report."""
    return run_async(_hardware(again=arguments.measure, as_json=arguments.json))


async def _hardware(*, again: bool, as_json: bool) -> int:
    from app.session import Session

    async with Session(load=False) as session:
        client = session.client
        report = await (client.measure_hardware() if again else client.hardware())
    if as_json:
        print(json.dumps(msgspec.to_builtins(report), ensure_ascii=False, indent=2))
    else:
        print(table(rows(report)))
    return 0


def rows(report: HardwareReport) -> list[tuple[str, str]]:
    """The report as lines of name and words."""
    cpu, memory = report.cpu, report.memory
    lines = [
        ("System", report.os),
        ("Processor", f"{cpu.name}, {_cores(report)}, {cpu.threads} threads"),
        ("Features", ", ".join(cpu.features) or "none that matter here"),
        ("Memory", f"{size(memory.available)} free of {size(memory.total)}{_reads(memory.rate, memory.measured)}"),
    ]
    for gpu in report.gpus:
        name = f"{gpu.name} ({gpu.backend or 'not usable by this build of the engine'})"
        link = f", {gpu.link} with {gpu.link_rate / 1e9:.0f} GB/s" if gpu.link else ""
        lines.append(("Graphics", f"{name}, {size(gpu.vram_free)} free of {size(gpu.vram_total)}{link}"))
        if gpu.users:
            users = ", ".join(f"{one.name} {size(one.bytes)}" if one.bytes else one.name for one in gpu.users)
            lines.append(("", f"also used by {users}"))
    if not report.gpus:
        lines.append(("Graphics", "none that the engine can use"))
    lines += [
        ("Disk", f"{size(disk.free)} free of {size(disk.total)} at {disk.path}{_reads(disk.rate, disk.measured)}")
        for disk in report.disks or [report.disk]
    ]
    lines.append(("Engine", f"{report.engine_build}, holds {size(report.engine_rss)}"))
    return lines


def _cores(report: HardwareReport) -> str:
    cpu = report.cpu
    if cpu.performance_cores and cpu.efficiency_cores:
        return f"{cpu.performance_cores} performance and {cpu.efficiency_cores} efficiency cores"
    return f"{cpu.cores} cores"


def _reads(rate: float, measured: float) -> str:
    """Gigabytes where megabytes would have five digits."""
    if not rate:
        return ""
    speed = f"{rate / 1e9:.0f} GB/s" if rate >= 1e10 else f"{rate / 1e6:,.0f} MB/s"
    return f", read at {speed} (measured {time.strftime('%H:%M', time.localtime(measured))})"
