"""Thousands of damaged files: each is refused with sentences or is harmless to the engine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.gguf import read_header
from backend.formats.gguf_tables import CHAT_ARCHITECTURES
from tests.formats.mutate import mutations
from tests.formats.tiny_gguf import write_tiny_gguf

LOADER = Path(__file__).with_name("load_probe.py")
ROOT = Path(__file__).parents[2]
#: settings of layers that carry a state instead of a cache, and of rotation in three directions
RECURRENT: dict[str, object] = {
    "wkv.head_size": 16,
    "ssm.inner_size": 128,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 1,
    "ssm.state_size": 16,
    "ssm.conv_kernel": 4,
    "shortconv.l_cache": 3,
    "rope.dimension_sections": [4, 2, 2, 0],
}


def load_all(paths: list[Path]) -> tuple[Counter[str], list[str]]:
    """Loads files with llama.cpp in child processes, a new one whenever one dies.

    Returns: how many were "ok" and "refused", and one line for each file that ended its process.
    """
    outcomes: Counter[str] = Counter()
    crashes = []
    todo = [str(path) for path in paths]
    while todo:
        child = subprocess.run(
            [sys.executable, str(LOADER)],
            input="\n".join(todo) + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            cwd=ROOT,
            timeout=100,
            check=False,
        )
        begun = ""
        for line in child.stdout.splitlines():
            word, _, path = line.partition(" ")
            if word == "begin":
                begun = path
            elif path == begun:
                outcomes[word] += 1
                todo.remove(path)
                begun = ""
        if begun:
            crashes.append(f"{Path(begun).name}: exit {child.returncode}: {child.stderr.strip()[:300]}")
            todo.remove(begun)
        elif todo:
            raise AssertionError(f"the loader ended with {len(todo)} files left: {child.stderr[-500:]}")
    return outcomes, crashes


def survivors(source: Path, n: int, seed: int, folder: Path) -> tuple[list[Path], float]:
    """Mutated files that the reader accepts, and the longest time that one took; anything but a sentence fails."""
    path = folder / "mutated.gguf"
    accepted = []
    slowest = 0.0
    for number, data in enumerate(mutations(source, n, seed)):
        path.write_bytes(data)
        start = time.process_time()
        try:
            read_header(path)
        except (InvalidModelFileError, UnsupportedModelError) as error:
            for part in (error.what, error.why, error.remedy):
                assert part.endswith("."), (number, part)
                assert part.isprintable(), (number, part)
        else:
            accepted.append(path.rename(folder / f"{number}.gguf"))
        slowest = max(slowest, time.process_time() - start)
    return accepted, slowest


@pytest.mark.parametrize(("kind", "seed"), [("gpt2", 20261122), ("llama", 7)])
def test_2000_damaged_files(tmp_path: Path, kind: str, seed: int) -> None:
    source = write_tiny_gguf(tmp_path / "sound.gguf", kind=kind)
    accepted, slowest = survivors(source, 2000, seed, tmp_path)
    assert slowest < 0.5
    assert 50 < len(accepted) < 1000  # the mutations are neither harmless nor all alike
    outcomes, crashes = load_all(accepted)
    print(f"{kind}: {len(accepted)} of 2000 accepted, {outcomes}, slowest {slowest * 1000:.1f} ms")
    assert not crashes
    assert outcomes["ok"] > outcomes["refused"]


@pytest.mark.parametrize("change", ["none", "experts", "lists", "recurrent", "mixed"])
def test_every_architecture_over_the_same_weights(tmp_path: Path, change: str) -> None:
    """Most are refused by the engine for tensors that they lack; none may end its process before or after that."""
    accepted = []
    for name in sorted(CHAT_ARCHITECTURES):
        changes: dict[str, object] = {
            "none": {},
            "experts": {"expert_count": 4, "expert_used_count": 2},
            "lists": {"attention.head_count": [4, 4], "attention.head_count_kv": [2, 0]},
            "recurrent": RECURRENT,
            "mixed": {**RECURRENT, "attention.head_count_kv": [2, 0]},
        }[change]
        path = write_tiny_gguf(
            tmp_path / f"{name}.gguf",
            architecture=name,
            changes={f"{name}.{key}": value for key, value in changes.items()},
        )
        with contextlib.suppress(InvalidModelFileError):
            read_header(path)
            accepted.append(path)
    outcomes, crashes = load_all(accepted)
    print(f"{change}: {len(accepted)} of {len(CHAT_ARCHITECTURES)} accepted, {outcomes}")
    assert not crashes
    assert accepted


def test_the_loader_notices_a_crash(tmp_path: Path) -> None:
    """Without our reader, llama.cpp ends its process over a repeated token: the test above could fail."""
    from tests.formats.tiny_gguf import vocabulary

    tokens = [*vocabulary()[0][:-1], "Ġt"]
    bad = write_tiny_gguf(tmp_path / "bad.gguf", changes={"tokenizer.ggml.tokens": tokens})
    good = write_tiny_gguf(tmp_path / "good.gguf")
    outcomes, crashes = load_all([bad, good])
    assert outcomes == {"ok": 1}
    assert len(crashes) == 1


def test_memory_stays_small(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "sound.gguf")
    path = tmp_path / "mutated.gguf"
    tracemalloc.start()
    try:
        for data in mutations(source, 100, 5):
            path.write_bytes(data)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with contextlib.suppress(InvalidModelFileError, UnsupportedModelError):
                read_header(path)
            assert tracemalloc.get_traced_memory()[1] - before < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_huge_header_is_given_up(tmp_path: Path) -> None:
    """A sparse file of 2 GB whose one setting is a list that fills it: neither the time nor the memory to read it."""
    path = tmp_path / "huge.gguf"
    key = b"general.noise"
    start = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    start += len(key).to_bytes(8, "little") + key + (9).to_bytes(4, "little")
    for element, count in ((0, 1_999_999_000), (8, 240_000_000), (8, 1_500_000)):
        with path.open("wb") as file:
            file.write(start + element.to_bytes(4, "little") + count.to_bytes(8, "little"))
            file.truncate(2_000_000_100)
        began = time.process_time()
        refuse(path)
        assert time.process_time() - began < 1
        tracemalloc.start()
        refuse(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20


def refuse(path: Path) -> None:
    with pytest.raises((InvalidModelFileError, UnsupportedModelError)):
        read_header(path)
