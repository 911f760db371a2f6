"""What a process holds, beside others that map the same file."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from backend.hardware.memory import held_bytes

MB = 1 << 20
PAGES = 32 * MB
_OTHER = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    sum(mapped[i] for i in range(0, len(mapped), 4096))
    print("mapped", flush=True)
    sys.stdin.read()
"""


@contextmanager
def mapped_elsewhere(path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mapped\n"
        yield
        assert other.stdin is not None
        other.stdin.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shares of pages are known on Linux")
def test_a_file_that_another_program_maps_counts_in_full(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(PAGES))
    process = psutil.Process()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[i] for i in range(0, PAGES, 4096)) == 0
        alone = held_bytes(process, path)
        assert alone - int(process.memory_full_info().pss) < MB
        with mapped_elsewhere(path):
            share, held = int(process.memory_full_info().pss), held_bytes(process, path)
    assert share < alone - PAGES // 4  # half of its pages are the other's
    assert held == pytest.approx(alone, abs=4 * MB)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shares of pages are known on Linux")
def test_a_link_to_the_model_is_the_model(tmp_path: Path) -> None:
    path, link = tmp_path / "blob", tmp_path / "model.gguf"
    path.write_bytes(bytes(PAGES))
    link.symlink_to(path)
    with link.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[i] for i in range(0, PAGES, 4096)) == 0
        with mapped_elsewhere(path):
            process = psutil.Process()
            assert held_bytes(process, link) - int(process.memory_full_info().pss) > PAGES // 4


def test_where_shares_are_not_known_all_pages_count(tmp_path: Path) -> None:
    process = SimpleNamespace(memory_full_info=lambda: SimpleNamespace(rss=7 * MB))
    assert held_bytes(cast("psutil.Process", process), tmp_path) == 7 * MB
