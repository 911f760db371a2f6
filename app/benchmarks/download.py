"""`nutshell bench download`: how fast a model arrives, beside curl from the same server on this machine.

Both write to the same disk, in turns; the order changes with every round. Ours also takes the SHA-256 of what arrives
and leaves it on the disk for good; curl does neither. So curl is timed twice: alone, and until its file is kept too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from app.benchmarks.download_server import FILE, REPOSITORY
from app.benchmarks.report import hardware_name, print_table
from app.terminal import say, size
from backend.api.errors import NutshellError
from backend.config.paths import paths

__all__ = ["run"]

_BYTES, _ROUNDS, _BAR = 1_000_000_000, 5, 0.8


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints."""
    count, rounds = arguments.size or _BYTES, arguments.rounds or _ROUNDS
    curl = shutil.which("curl")
    if curl is None:
        say("curl is not on this machine, so ours stands alone.")
    folder = paths().cache
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "app.benchmarks.download_server", str(count)]
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="bench-download-") as scratch,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            rows = _measure(Path(scratch), f"http://127.0.0.1:{port}", curl, rounds, count)
        finally:
            server.terminate()
    found = _found(rows, count)
    print_table(
        f"{size(count)} over loopback, {hardware_name()}",
        ["round", "ours MB/s", "curl MB/s", "ours/curl", "curl kept MB/s", "ours/curl kept"],
        [
            [
                str(number + 1), f"{row['ours_mb_s']:.0f}", _number(row["curl_mb_s"], 0), _number(row["share"], 2),
                _number(row["curl_kept_mb_s"], 0), _number(row["share_kept"], 2),
            ]
            for number, row in enumerate(found["rows"])
        ],
    )  # fmt: skip
    if found["share"] is not None:
        print(f"median {found['share']:.2f} of curl, {found['share_kept']:.2f} of curl kept, wanted {_BAR}")
    if arguments.json:
        print(json.dumps(found))
    return 0


def _measure(folder: Path, hub: str, curl: str | None, rounds: int, count: int) -> list[tuple[float, float, float]]:
    """Seconds of each round: ours, curl's, and until its file was kept; 0 without it."""
    kept = {name: os.environ.get(name) for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE")}
    os.environ.update({"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"})
    try:
        rows = []
        for number in range(rounds):
            ours, theirs = 0.0, (0.0, 0.0)
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                if which == 0:
                    ours = _ours(folder, count)
                elif curl is not None:
                    theirs = _curl(folder, hub, curl, count)
            rows.append((ours, *theirs))
        return rows
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _ours(folder: Path, count: int) -> float:
    from backend.hub.fetch import Wanted, download
    from backend.hub.network import Network
    from backend.hub.remote import open_repository

    network = Network()
    repository = open_repository(REPOSITORY, network=network)
    root = folder / "hub"
    _at_rest(count)
    began = time.perf_counter()
    download(Wanted(REPOSITORY, repository.commit, repository.files), root=root, network=network)
    took = time.perf_counter() - began
    shutil.rmtree(root)
    return took


def _at_rest(count: int) -> None:
    """Brings disk and memory to the same state for whoever is timed next.

    The file before was deleted. Some disks are told so with the next commit, and a virtual machine gives its memory
    back to its host, so the next writer waits for both: ours and curl took 1.1 or 2.3 s by that alone.
    """
    if hasattr(os, "sync"):
        os.sync()
    np.ones(count + count // 3, np.uint8)  # touched, and free again at once


def _curl(folder: Path, hub: str, curl: str, count: int) -> tuple[float, float]:
    """Seconds until curl ended, and until what it wrote was on the disk."""
    out = folder / "curl.bin"
    address = f"{hub}/{REPOSITORY}/resolve/main/{FILE}"
    _at_rest(count)
    began = time.perf_counter()
    done = subprocess.run([curl, "-sS", "--noproxy", "*", "-o", str(out), address], capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        raise NutshellError("curl could not fetch the file.", details=done.stderr[-500:])
    with out.open("rb") as file:
        os.fsync(file.fileno())
    kept = time.perf_counter() - began
    out.unlink()
    return took, kept


def _found(rows: list[tuple[float, float, float]], count: int) -> dict[str, Any]:
    each = [
        {
            "ours_mb_s": count / ours / 1e6,
            "curl_mb_s": count / curl / 1e6 if curl else None,
            "share": curl / ours if curl else None,
            "curl_kept_mb_s": count / kept / 1e6 if curl else None,
            "share_kept": kept / ours if curl else None,
        }
        for ours, curl, kept in rows
    ]

    def median(key: str) -> float | None:
        shares = [share for row in each if (share := row[key]) is not None]
        return statistics.median(shares) if shares else None

    return {
        "hardware": hardware_name(), "bytes": count, "rows": each, "bar": _BAR,
        "share": median("share"), "share_kept": median("share_kept"),
    }  # fmt: skip


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
