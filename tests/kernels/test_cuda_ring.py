"""Weights that pass through a ring on the device: the same logits as when all of them stay, however passes end.

Copies are made at once here. Their order, and what waits for what, is held against a device of our own that does
everything as late as its events allow, or as early.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch", reason="torch is not installed")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton", reason="triton is not installed")

from kernels.cuda import placed as placing
from kernels.cuda import ring as rings
from kernels.cuda.executor import CudaExecutor
from kernels.cuda.placed import Placed, needs
from kernels.cuda.ring import WeightRing, ring_room
from kernels.cuda.weights import DenseWeight, linear, most_bytes, upload
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, spqr
from kernels.program import Program

CPU = torch.device("cpu")


def _weight(rng: np.random.Generator, kind: str, out: int, inputs: int, *, bias: bool = False) -> PackedLinear:
    numbers = (rng.standard_normal((out, inputs)) / np.sqrt(inputs)).astype(np.float32)
    more = rng.standard_normal(out).astype(np.float32) if bias else None
    if kind == "spqr":
        return spqr.quantize(numbers, 3, 0.02)
    if kind == "q4":
        return q4.quantize(numbers, 64)
    if kind == "f32":
        return dense.pack(numbers, "f32", bias=more)
    books, bits = (1, 10) if kind == "aqlm-1x10" else (2, 8)
    codes = rng.integers(0, 1 << bits, (out, inputs // 8, books), dtype=np.uint16)
    codebooks = (rng.standard_normal((books, 1 << bits, 8)) / np.sqrt(inputs)).astype(np.float16)
    return aqlm.pack(codes, codebooks, np.ones(out, np.float16), bias=more)


def _program(rng: np.random.Generator, layers: int = 5, kinds: str = "aqlm-2x8 spqr f32 q4 aqlm-1x10") -> Program:
    """Linears of these schemes one after the other, with what an executor needs around them."""
    width, vocabulary = 64, 23
    program = Program()
    table = _weight(rng, "f32", vocabulary, width)
    x = program.embed(table)
    ones = np.ones(width, np.float32)
    turns = itertools.cycle(kinds.split())
    for layer in range(layers):
        h = program.rms_norm(x, ones, 1e-5)
        q, k, v = program.linears(h, *(_weight(rng, next(turns), width, width, bias=True) for _ in range(3)))
        a = program.attention(layer, q, k, v, 32, 32**-0.5)
        program.linear_add(a, _weight(rng, next(turns), width, width, bias=True), x)
    program.output(program.rms_norm(x, ones, 1e-5), table)
    return program


@pytest.fixture(scope="module")
def program() -> Program:
    """Of plain numbers: Triton's interpreter takes a second for a few linears of the others."""
    return _program(np.random.default_rng(0), kinds="f32")


@pytest.fixture
def plain(program: Program) -> CudaExecutor:
    return CudaExecutor(program, capacity=32, device=CPU)


@pytest.mark.parametrize(("kinds", "resident"), [("f32", 0.0), ("f32", 0.3), ("f32", 0.7), ("", 0.2)])
def test_a_pass_through_the_ring_gives_the_same_numbers(kinds: str, resident: float) -> None:
    rng = np.random.default_rng(7)
    program = _program(rng, kinds=kinds) if kinds else _program(rng, layers=3)
    plain = CudaExecutor(program, capacity=32, device=CPU)
    placed = Placed(program, CPU, torch.float32, resident)
    assert placed.ring is not None
    streamed = CudaExecutor(program, capacity=32, device=CPU, placed=placed)
    for tokens, parents in (([1, 2, 3], [-1, 0, 1]), ([4, 5], [-1, -1]), ([7], [-1])):
        got, expected = (one.forward(tokens, parents, range(len(tokens))) for one in (streamed, plain))
        np.testing.assert_array_equal(got, expected)
        streamed.commit([0])
        plain.commit([0])


def test_all_of_it_may_stay(program: Program) -> None:
    assert Placed(program, CPU, torch.float32).ring is None


def test_more_passes_through_where_less_stays(program: Program) -> None:
    found = [Placed(program, CPU, torch.float32, resident).ring for resident in (0.2, 0.5, 0.8)]
    sent = [ring.pass_bytes for ring in found if ring is not None]
    assert sent == sorted(sent, reverse=True)
    assert len(set(sent)) == 3
    assert all(ring is not None and ring.ring_bytes < ring.pass_bytes for ring in found[:2])


def test_a_pass_that_is_given_up_leaves_the_next_one_right(
    program: Program, plain: CudaExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = CudaExecutor(program, capacity=32, device=CPU, placed=Placed(program, CPU, torch.float32, 0.1))
    expected = plain.forward([1, 2], [-1, 0], [0, 1])
    for give_up_at in range(1, len(program.steps), 3):
        asked = 0

        def given_up(last: int = give_up_at) -> bool:
            nonlocal asked
            asked += 1
            return asked > last

        with monkeypatch.context() as patch:
            patch.setattr(streamed._abort, "is_set", given_up)
            with pytest.raises(InterruptedError):
                streamed.forward([1, 2], [-1, 0], [0, 1])
        np.testing.assert_array_equal(streamed.forward([1, 2], [-1, 0], [0, 1]), expected)


def test_executors_of_one_program_share_what_was_placed(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = Placed(program, CPU, torch.float32, 0.5)
    monkeypatch.setattr(placing, "upload", lambda *_: pytest.fail("brought a second time"))
    first, second = (CudaExecutor(program, capacity=8, device=CPU, placed=placed) for _ in range(2))
    expected = first.forward([3], [-1], [0])
    np.testing.assert_array_equal(second.forward([3], [-1], [0]), expected)
    np.testing.assert_array_equal(first.forward([3], [-1], [0]), expected)


@pytest.mark.parametrize("kind", ["aqlm-2x8", "aqlm-1x10", "spqr", "q4", "f32"])
@pytest.mark.parametrize(("out", "inputs"), [(64, 64), (48, 192), (160, 128)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_a_linear_takes_on_the_device_is_known_before(
    kind: str, out: int, inputs: int, dtype: torch.dtype
) -> None:
    packed = _weight(np.random.default_rng(1), kind, out, inputs, bias=True)
    tensors = rings._tensors(upload(packed, CPU, dtype)).values()
    taken = sum(tensor.nbytes for tensor in tensors)
    padding = 0
    if kind == "spqr":
        padding = 8 * (packed.buffers["outliers"].size // 2 - len(spqr.unpack(packed).outlier_vals))
    elif kind == "f32":
        padding = out * (4 - dtype.itemsize)
    assert taken == most_bytes(packed, dtype) - padding


@pytest.mark.parametrize("resident", [0.0, 0.4, 0.8, 1.0])
def test_what_a_program_takes_on_the_device_is_known_before(resident: float) -> None:
    program = _program(np.random.default_rng(2), layers=9)
    made = Placed(program, CPU, torch.float32, resident)
    inside = set() if made.ring is None else {id(one) for one in made.ring._keep}
    stay = [
        tensor for key, one in made._weights.items() if key not in inside for tensor in rings._tensors(one).values()
    ]
    taken = sum(tensor.nbytes for tensor in stay)
    if made.ring is not None:
        kept = [rings._tensors(one) for one in made.ring.weights.values()]
        taken += made.ring.ring_bytes + sum(one[name].nbytes for one in kept for name in one if name in rings._STAY)
    expected = needs(program, resident, torch.float32)
    assert 0.7 * expected.device < taken <= expected.device
    sent = made.ring.pass_bytes if made.ring is not None else 0
    assert 0.7 * expected.link <= sent <= expected.link


class Device:
    """A device on which nothing happens before somebody must wait for it, and then only what that needs.

    A stream is a row of things to do; `wait_event` is one of them, and an event is how far another row had come.
    """

    def __init__(self) -> None:
        self.current = Row()

    @contextlib.contextmanager
    def stream(self, row: Row) -> Iterator[None]:
        before, self.current = self.current, row
        yield
        self.current = before

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        runtime = SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0)
        for name, what in {
            "Stream": lambda _device: Row(), "Event": Event, "current_stream": lambda: self.current,
            "stream": self.stream, "cudart": lambda: runtime, "synchronize": lambda: None,
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, what)


class Row:
    def __init__(self) -> None:
        self.todo: list[Callable[[], object]] = []
        self.at = 0

    def run(self, until: int) -> None:
        while self.at < until:
            self.at += 1
            self.todo[self.at - 1]()

    def wait_event(self, event: Event) -> None:
        row, until = event.row, event.until
        assert row is not None, "waits for what was never recorded"
        self.todo.append(lambda: row.run(until))

    def wait_stream(self, other: Row) -> None:
        until = len(other.todo)
        self.todo.append(lambda: other.run(until))


class Event:
    row: Row | None = None
    until = 0

    def record(self, row: Row) -> None:
        self.row, self.until = row, len(row.todo)


class Place:
    """A block's place in the ring: `copy_` is put on the row of whoever asks, and happens in its turn."""

    def __init__(self, device: Device, tensor: torch.Tensor) -> None:
        self.device, self.tensor = device, tensor

    def copy_(self, host: torch.Tensor, non_blocking: bool = False) -> None:
        assert non_blocking
        self.device.current.todo.append(lambda: self.tensor.copy_(host))


@pytest.mark.parametrize("eager", [False, True])
def test_events_alone_keep_the_order(monkeypatch: pytest.MonkeyPatch, eager: bool) -> None:
    """With copies as late as they may be, or as early; passes are given up in between."""
    device = Device()
    rng = np.random.default_rng(5)
    sizes = [(64, 64), (192, 64), (64, 192), (64, 64), (128, 64), (64, 128), (64, 64)]
    blocks = {3 * i: [_weight(rng, "f32", out, inputs)] for i, (out, inputs) in enumerate(sizes)}
    expected = [upload(one[0], CPU, torch.float32) for one in blocks.values()]
    ring: Any = WeightRing(blocks, CPU, torch.float32)
    assert ring.ring_bytes < ring.pass_bytes
    device.patch(monkeypatch)
    ring._stream = copies = Row()
    ring._arrived, ring._left = ([Event() for _ in sizes] for _ in range(2))
    ring._places = [Place(device, tensor) for tensor in ring._places]
    for place in ring._places:
        place.tensor.fill_(255)
    ring._used, ring._sent = 1, 0  # out of step: the next pass begins the ring anew
    right = []

    def compare(number: int) -> None:
        weight, right_one = ring.weights[id(blocks[3 * number][0])], expected[number]
        assert isinstance(weight, DenseWeight)
        assert isinstance(right_one, DenseWeight)
        right.append(torch.equal(weight.weight, right_one.weight))

    passes = (7, 7, 1, 2, 3, 4, 5, 6, 7, 4, 7)
    for last in passes:
        ring.begin()
        for number in range(last):
            ring.take(3 * number)
            device.current.todo.append(partial(compare, number))
            ring.done(3 * number)
            ring.take(3 * number + 1)  # a step without weights in the ring
            ring.done(3 * number + 1)
            if eager:
                copies.run(len(copies.todo))
    device.current.run(len(device.current.todo))
    assert right == [True] * sum(passes)


def test_a_ring_without_pinned_memory_works(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    device.patch(monkeypatch)
    refused = SimpleNamespace(cudaHostRegister=lambda *_: 1, cudaHostUnregister=lambda *_: 0)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: refused)
    ring = WeightRing({0: [_weight(np.random.default_rng(6), "f32", 64, 64)]}, CPU, torch.float32)
    assert not ring._pin()
    assert ring_room([5, 9, 3]) == 27
    y = linear(torch.ones(1, 64), next(iter(ring.weights.values())))
    assert torch.isfinite(y).all()
