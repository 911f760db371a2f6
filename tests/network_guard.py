"""Switches the socket guard on for this process and for every Python process that it starts."""

from __future__ import annotations

import os
import runpy
import tempfile
from pathlib import Path

__all__ = ["install", "take_report"]

_FOLDER = Path(__file__).with_name("guard")


def install() -> None:
    """Call once, before any test."""
    if "NUTSHELL_GUARD_REPORT" in os.environ:
        return
    handle, name = tempfile.mkstemp(prefix="nutshell-guard-", suffix=".txt")
    os.close(handle)
    os.environ["NUTSHELL_GUARD_REPORT"] = name
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (str(_FOLDER), known) if part)
    runpy.run_path(str(_FOLDER / "sitecustomize.py"))


def take_report() -> str:
    """What was tried since the last call, one line for each attempt; "" for nothing."""
    path = Path(os.environ["NUTSHELL_GUARD_REPORT"])
    if not path.exists() or path.stat().st_size == 0:
        return ""
    text = path.read_text(encoding="utf-8")
    path.write_text("")
    return text
