"""The process that compresses, as its parent sees it: lines in and out, the end of the pipe, faults as sentences."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import psutil
import pytest

from backend.api.compression import CompressionOptions
from backend.quantize.child import _words
from backend.quantize.child_work import RealWork
from backend.quantize.expected import expected_loss
from backend.quantize.options import LEVELS, TUNINGS, Progress
from backend.quantize.wire import STOP, Compress, Done, Export, Failed, Inspect, Moved, Reply, Request, Stopped
from tests.formats.test_hf_export import build as write_build
from tests.formats.test_hf_export import mixed

FAKE = [sys.executable, "-m", "tests.fakes.compression_child"]
OPTIONS = CompressionOptions()


def job(folder: Path, name: str) -> Compress:
    return Compress(source="source", out=str(folder / name), levels=["q8"], options=OPTIONS)


class Child:
    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(FAKE, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def ask(self, request: Request | bytes) -> None:
        raw = request if isinstance(request, bytes) else msgspec.json.encode(request) + b"\n"
        self.stdin.write(raw)
        self.stdin.flush()

    def reply(self) -> Reply:
        assert self.process.stdout is not None
        return msgspec.json.decode(self.process.stdout.readline(), type=Reply)

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.process.wait(10)

    def last(self) -> Reply:
        while isinstance(reply := self.reply(), Moved):
            pass
        return reply


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.process.kill()
    made.close()


def test_a_request_is_answered_by_progress_and_one_result(child: Child, tmp_path: Path) -> None:
    child.ask(job(tmp_path, "build"))
    first = child.reply()
    assert isinstance(first, Moved)
    assert first.stage == "check"
    done = child.last()
    assert isinstance(done, Done)
    assert msgspec.json.decode(done.value)["path"] == str(tmp_path / "build")
    assert child.process.wait(10) == 0


def test_stop_is_a_line(child: Child, tmp_path: Path) -> None:
    child.ask(job(tmp_path, "slow"))
    for _ in range(6):
        assert isinstance(child.reply(), Moved)
    child.ask(STOP)
    assert isinstance(child.last(), Stopped)
    assert child.process.wait(10) == 0
    assert (tmp_path / "slow.work").is_dir()


def test_the_end_of_the_pipe_ends_it_in_whatever_it_does(child: Child, tmp_path: Path) -> None:
    child.ask(job(tmp_path, "stuck"))
    for _ in range(6):
        assert isinstance(child.reply(), Moved)
    child.stdin.close()
    assert child.process.wait(10) == 0


def test_it_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    request = msgspec.json.encode(job(tmp_path, "stuck")).decode()
    code = (
        "import subprocess, sys, threading\n"
        f"child = subprocess.Popen({FAKE!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        f"child.stdin.write({request!r}.encode() + b'\\n'); child.stdin.flush()\n"
        "for _ in range(6): child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "threading.Event().wait(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.communicate()
    gone, alive = psutil.wait_procs([orphan], timeout=10)
    assert (len(gone), alive) == (1, [])


def test_without_a_request_it_ends(child: Child) -> None:
    child.stdin.close()
    assert child.process.wait(10) == 0


@pytest.mark.parametrize("raw", [b"{}\n", b"no json\n", b'{"do": "fly"}\n'])
def test_a_request_that_is_none_fails_with_words(child: Child, raw: bytes) -> None:
    child.ask(raw)
    last = child.last()
    assert isinstance(last, Failed)
    assert last.error.what


def test_a_refusal_comes_through_as_it_was(child: Child) -> None:
    child.ask(Inspect(source="/models/refuse", folder="builds", levels=["q8"], options=OPTIONS))
    last = child.last()
    assert isinstance(last, Failed)
    assert (last.error.code, last.error.what) == ("unsupported_model", "This model has 3 tails.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (ValueError("anything"), "internal_error"),
    ],
)
def test_faults_become_words(error: Exception, code: str) -> None:
    words = _words(error)
    assert words.code == code
    assert "is kept" in words.remedy
    assert type(error).__name__ in words.details


@pytest.mark.parametrize("parameters", [0.1e9, 0.5e9, 1.5e9, 8e9])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_what_is_expected_gets_better_with_every_level_and_has_a_range(parameters: float, tuning: str) -> None:
    ranges = [expected_loss(level, int(parameters), tuning) for level in LEVELS if level != "aqlm-4x8"]
    known = [one for one in ranges if one is not None]
    assert len(known) == len(ranges)
    assert all(low < high for low, high in known)
    assert known == sorted(known, reverse=True)
    assert expected_loss("aqlm-9x9", int(parameters), tuning) is None


def test_the_child_module_starts_without_torch() -> None:
    code = "import sys, backend.quantize.child, backend.quantize.child_work; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_an_export_is_the_folder_of_the_real_work(tmp_path: Path) -> None:
    """Told of its progress, and stopped by it; what is written is the exporter's business."""
    build = write_build(tmp_path / "a.nutshell", mixed)
    told: list[float] = []

    def tell(progress: Progress) -> bool:
        told.append(progress.done / progress.total)
        return True

    made = RealWork().export(Export(build=str(build), out=str(tmp_path / "out"), format="hf-aqlm"), tell)
    assert (made.held, made.plain, made.path) == (12, 3, str(tmp_path / "out"))
    assert made.bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert told[-1] == 1.0
    with pytest.raises(InterruptedError):
        RealWork().export(Export(build=str(build), out=str(tmp_path / "b"), format="hf-aqlm"), lambda _: False)
    assert not (tmp_path / "b").exists()
