"""What every benchmark prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.hardware.probe import probe


def hardware_name() -> str:
    """The processor and its cores: figures without it mean nothing."""
    cpu = probe(Path.cwd()).cpu
    return f"{cpu.name}, {cpu.cores} cores"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table: first column left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(title)
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
