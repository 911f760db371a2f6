"""Weights read from the disk in every forward: where blocks lie, and that the bytes are right however passes end."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu.executor import CpuExecutor
from kernels.cpu.stream import ALIGNMENT, Range, Stream, aligned
from kernels.packed import PackedLinear
from kernels.packing import dense
from kernels.program import Program
from kernels.ring import lay

_UNIT = ALIGNMENT


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 40))
def test_a_block_waits_for_the_last_one_on_its_place(units: list[int], room: int) -> None:
    sizes = [unit * _UNIT for unit in units]
    ring = lay(sizes, room * _UNIT)
    memory = np.full(ring.bytes, -1, np.int64)
    count = len(sizes)
    for number in range(3 * count):
        block = number % count
        place = memory[ring.places[block] : ring.places[block] + sizes[block]]
        assert len(place) == sizes[block]
        if number >= 2 * count:  # every place has been written by a pass before this one
            assert place.max() == number - ring.behind[block]
        place[:] = number
    assert ring.bytes <= max(room * _UNIT, *sizes)


def test_memory_begins_at_a_page() -> None:
    assert aligned(3 * ALIGNMENT).ctypes.data % ALIGNMENT == 0


class Layers:
    """x -> several linears in a row, the weights of which lie in a file at odd places."""

    def __init__(self, path: Path, widths: tuple[int, ...]) -> None:
        rng = np.random.default_rng(3)
        self.path = path
        table = dense.pack(rng.normal(size=(11, widths[0])).astype(np.float32), "f32")
        head = dense.pack(rng.normal(size=(11, widths[-1])).astype(np.float32), "f32")
        self.linears = [
            dense.pack(rng.normal(size=(out, columns)).astype(np.float32) / columns**0.5, "f32")
            for columns, out in pairwise(widths)
        ]
        self.table, self.head = table, head
        self.starts: list[int] = []
        with path.open("wb") as file:
            for linear in self.linears:
                file.write(b"?" * (64 - file.tell() % 64 + 64))
                self.starts.append(file.tell())
                file.write(linear.buffers["data"].tobytes())

    def program(self, linears: list[PackedLinear]) -> Program:
        program = Program()
        x = program.embed(self.table)
        for linear in linears:
            (x,) = program.linears(x, linear)
        program.output(x, self.head)
        return program

    def streamed(self, room: int, which: list[int], rate: float = 0.0) -> tuple[CpuExecutor, Stream]:
        parts = {
            i: Range(start, start + linear.buffers["data"].nbytes)
            for i, (start, linear) in enumerate(zip(self.starts, self.linears, strict=True))
        }
        stream = Stream(str(self.path), {1 + i: [parts[i]] for i in which}, room, rate)
        linears = list(self.linears)
        for i in which:
            old = linears[i]
            data = stream.array(parts[i], parts[i].start, np.float32, old.buffers["data"].size)
            linears[i] = PackedLinear(
                old.scheme, old.out_features, old.in_features, old.parameters, {"data": data, **_rest(old)}
            )
        return CpuExecutor(self.program(linears), capacity=64, stream=stream, threads=2), stream


def _rest(linear: PackedLinear) -> dict[str, np.ndarray]:
    return {name: buffer for name, buffer in linear.buffers.items() if name != "data"}


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path / "weights", (48, 80, 1100, 1040, 96, 48, 160))


@pytest.mark.parametrize("room", [0, 1 << 20, 1 << 26])
@pytest.mark.parametrize("which", [[0], [5], [1, 2], [0, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_logits_are_those_of_resident_weights(layers: Layers, which: list[int], room: int) -> None:
    plain = CpuExecutor(layers.program(layers.linears), capacity=64, threads=2)
    streamed, stream = layers.streamed(room, which)
    for n in (1, 3, 17, 1):
        tokens = [i % 11 for i in range(n)]
        wanted = plain.forward(tokens, range(-1, n - 1), [n - 1]).copy()
        assert np.array_equal(streamed.forward(tokens, range(-1, n - 1), [n - 1]), wanted)
    assert stream.counts()[0] >= 4 * stream.pass_bytes


def test_two_programs_take_turns_on_one_stream(layers: Layers) -> None:
    first, stream = layers.streamed(0, [1, 2])
    plain = CpuExecutor(layers.program(layers.linears), capacity=8, threads=2)
    wanted = plain.forward([4], [-1], [0]).copy()
    second = CpuExecutor(
        Program(list(first._steps), [*layers.program(layers.linears).widths]), capacity=8, stream=stream
    )
    for executor in (first, second, first, second):
        assert np.array_equal(executor.forward([4], [-1], [0]), wanted)


def test_a_forward_that_waits_for_the_disk_gives_up_at_once(layers: Layers) -> None:
    streamed, stream = layers.streamed(0, [1, 2, 3])
    wanted = streamed.forward([7], [-1], [0]).copy()
    stream.native.limit(2e5)  # the 10 MB of a pass take 50 s now
    failed: list[BaseException] = []

    def run() -> None:
        try:
            streamed.forward([7], [-1], [0])
            streamed.forward([7], [-1], [0])
        except InterruptedError as error:
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    streamed.abort(True)
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert failed
    streamed.abort(False)
    stream.native.limit(0.0)
    assert np.array_equal(streamed.forward([7], [-1], [0]), wanted)


def test_a_slower_disk_is_as_slow_as_it_is_said_to_be(layers: Layers) -> None:
    streamed, stream = layers.streamed(0, [1, 2, 3], rate=50e6)
    for _ in range(3):
        streamed.forward([7], [-1], [0])
    read, busy_s, waited_s = stream.counts()
    assert waited_s > 0
    assert read / busy_s <= 50e6 * 1.05


@pytest.mark.parametrize("change", ["cut", "written"])
def test_a_file_that_changes_is_an_error_and_no_number(layers: Layers, change: str) -> None:
    streamed, _ = layers.streamed(0, [1, 2, 3])
    streamed.forward([7], [-1], [0])
    with layers.path.open("r+b") as file:
        if change == "cut":
            file.truncate(layers.starts[2])
        else:
            file.seek(layers.starts[2])
            file.write(b"\1\2\3\4")
            file.flush()
            os.utime(layers.path, (1, 1))
    with pytest.raises(RuntimeError, match=r"changed|shorter"):
        streamed.forward([7], [-1], [0])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        Stream(str(tmp_path / "nothing"), {0: [Range(0, 100)]}, 0)
