"""A model that is larger than the memory it may take: the same text, the budget kept, sentences for what goes wrong."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.errors import InvalidModelFileError, InvalidRequestError, MemoryShortageError
from backend.architectures import build
from backend.engine.model import Aborted, TokenTree
from backend.engine.native import NativeModel
from backend.engine.native_streaming import stream_pack
from backend.formats.pack import PackCheckpoint
from kernels.program import Embed, LinearAdd, Linears, Output
from kernels.ring import spread
from tests.packs import write_rounded_pack


@pytest.fixture(scope="module")
def wide_pack(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in numbers of four bytes: its blocks are larger than the pages that direct reads come in."""
    return write_rounded_pack(tiny_gguf, tmp_path_factory.mktemp("packs") / "tiny-f32.nutshell", "f32")


def _load(path: Path, budget: int = 0, position: float | None = None) -> NativeModel:
    return NativeModel(path, n_ctx=128, n_threads=2, n_batch=64, memory_budget=budget, position=position)


def _budgets(path: Path) -> list[int]:
    model = _load(path)
    whole, table = model.info.weight_bytes, 0
    for step in model._program.steps:
        if isinstance(step, Embed | Output):
            table = max(table, (step.table if isinstance(step, Embed) else step.head).nbytes)
    model.close()
    return [table + (whole - table) * share // 100 for share in (50, 70, 90)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(0, 100))
def test_reading_is_spread_evenly(sizes: list[int], percent: int) -> None:
    total = sum(sizes)
    wanted = total * percent / 100
    passed = taken = 0
    for size, chosen in zip(sizes, spread(sizes, int(wanted)), strict=True):
        passed, taken = passed + size, taken + size * chosen
        assert abs(taken - wanted * passed / total) <= max(sizes) / 2 + 1


@pytest.mark.parametrize("which", [0, 1, 2])
def test_logits_are_those_of_a_model_in_memory(wide_pack: Path, which: int) -> None:
    budget = _budgets(wide_pack)[which]
    whole, streamed = _load(wide_pack), _load(wide_pack, budget)
    try:
        assert whole.info.streamed_bytes == 0 < streamed.info.streamed_bytes
        assert streamed.info.weight_bytes == whole.info.weight_bytes
        for tokens, parents in (([5, 6, 7], [-1, 0, 1]), ([9], [-1]), ([3, 4, 5, 6, 7], [-1, -1, 0, 1, 1])):
            tree = TokenTree(tokens, parents, range(len(tokens)))
            assert np.array_equal(streamed.forward(tree), whole.forward(tree))
            for model in (streamed, whole):
                model.commit([0])
        assert np.array_equal(streamed.embed([3, 4]), whole.embed([3, 4]))
        again = TokenTree.chain([8])
        assert np.array_equal(streamed.forward(again), whole.forward(again))
    finally:
        whole.close()
        streamed.close()


def test_what_weights_take_is_within_the_budget(wide_pack: Path) -> None:
    for budget in _budgets(wide_pack):
        checkpoint = PackCheckpoint(wide_pack)
        made = stream_pack(wide_pack, checkpoint, build(checkpoint).program, budget)
        assert made.stream is not None
        resident: dict[int, int] = {}
        for i, step in enumerate(made.program.steps):
            match step:
                case Linears(weights=linears):
                    found = linears
                case LinearAdd(weight=one) | Embed(table=one) | Output(head=one):
                    found = (one,)
                case _:
                    found = ()
            for linear in found:
                for buffer in linear.buffers.values():
                    if i not in made.stream.blocks or not np.shares_memory(buffer, made.stream._memory):
                        resident[buffer.ctypes.data] = buffer.nbytes
        assert sum(resident.values()) + made.stream.ring_bytes <= made.bytes <= budget
        del made
        checkpoint.close()


def test_a_budget_that_cannot_be_kept_is_refused_with_what_would_do(wide_pack: Path) -> None:
    with pytest.raises(MemoryShortageError, match="at least"):
        _load(wide_pack, 1000)


def test_a_budget_for_everything_streams_nothing(wide_pack: Path) -> None:
    model = _load(wide_pack, 1 << 40)
    assert model.stream is None
    assert not model.info.streamed_bytes
    model.close()


def test_a_file_cut_short_meanwhile_is_a_sentence(wide_pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.nutshell"
    shutil.copy(wide_pack, path)
    model = _load(path, _budgets(wide_pack)[0])
    model.forward(TokenTree.chain([4]))
    with path.open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(InvalidModelFileError, match="cut short"):
        model.forward(TokenTree.chain([4]))
    model.close()


def test_an_abort_in_the_middle_of_a_read_ends_the_pass_there(wide_pack: Path) -> None:
    """Afterwards everything is as it was."""
    model, whole = _load(wide_pack, _budgets(wide_pack)[0]), _load(wide_pack)
    stream = model.stream
    assert stream is not None
    first, tree = TokenTree.chain([5, 6, 7]), TokenTree([8, 9, 10, 11], [-1, 0, 0, 1], range(4))
    for each in (model, whole):
        each.forward(first)
        each.commit([0, 1, 2])
    expected = model.forward(tree).copy()  # and what is read ahead of the next pass begins
    stream.native.limit(stream.pass_bytes / 4)  # four seconds a pass
    read, busy, _ = stream.counts()

    def stop() -> None:
        deadline = time.monotonic() + 20
        while stream.counts()[1] < busy + 0.3 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        model.request_abort(True)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Aborted):  # noqa: PT012 - what was read ahead may be enough for a pass
        while True:
            model.forward(tree)
    assert stream.counts()[0] - read < stream.pass_bytes, "no pass was read to its end first"
    thread.join()
    stream.native.limit(0)
    model.request_abort(False)
    assert model.length == 3
    assert np.array_equal(model.forward(tree), expected)
    whole.forward(tree)
    for each in (model, whole):
        each.commit([0, 1, 3])
    assert np.array_equal(model.forward(TokenTree.chain([12])), whole.forward(TokenTree.chain([12])))
    model.close()
    whole.close()


@pytest.mark.parametrize("nodes", [16, 32, 64, 128, 256, 511, 512])
def test_a_tree_of_any_size_is_one_pass_over_the_weights(wide_pack: Path, nodes: int) -> None:
    """Each node's logits are those of its path, read node by node; the cells of what is accepted are right."""
    rng = np.random.default_rng(nodes)
    size = {"n_ctx": 600, "n_threads": 2, "n_batch": 512}
    budget = _budgets(wide_pack)[0]
    streamed, whole = (NativeModel(wide_pack, memory_budget=b, **size) for b in (budget, 0))  # type: ignore[arg-type]
    stream = streamed.stream
    assert stream is not None
    prompt = TokenTree.chain([5, 6, 7])
    for each in (streamed, whole):
        each.forward(prompt)
        each.commit([0, 1, 2])
    parents = [-1] + [int(rng.integers(max(0, i - 9), i)) for i in range(1, nodes)]
    tokens = [int(t) for t in rng.integers(0, 60, nodes)]
    passes = stream.counts()[0] / stream.pass_bytes
    rows = streamed.forward(TokenTree(tokens, parents, range(nodes))).copy()
    assert rows.shape[0] == nodes
    assert not np.isnan(rows).any()
    assert stream.counts()[0] / stream.pass_bytes - passes < 2.1, "itself, and what is read ahead of the next"

    def path_to(node: int) -> list[int]:
        path = [node]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        return path[::-1]

    for node in [0, nodes - 1, *rng.integers(0, nodes, 12).tolist()]:
        for at in path_to(node):
            row = whole.forward(TokenTree.chain([tokens[at]]))[0].copy()
            whole.commit([0])
        np.testing.assert_allclose(rows[node], row, rtol=0, atol=2e-3 * float(np.abs(row).max()))
        whole.rewind(3)
    path = path_to(nodes - 1)
    streamed.commit(path)
    assert streamed.length == 3 + len(path)
    whole.forward(TokenTree.chain([tokens[at] for at in path]))
    whole.commit(range(len(path)))
    last = TokenTree.chain([9])
    here, fresh = streamed.forward(last)[0], whole.forward(last)[0]
    np.testing.assert_allclose(here, fresh, rtol=0, atol=2e-3 * float(np.abs(fresh).max()))
    with pytest.raises(ValueError, match="at most 512"):
        streamed.forward(TokenTree.chain([1] * 513))
    streamed.close()
    whole.close()


def test_the_slider_stays_where_it_was_loaded(slider_pack: Path) -> None:
    whole = _load(slider_pack, position=1.0)
    wanted, size = whole.forward(TokenTree.chain([4])).copy(), whole.info.weight_bytes
    whole.close()
    model = _load(slider_pack, size - size // 4, position=1.0)
    assert model.info.streamed_bytes
    assert np.array_equal(model.forward(TokenTree.chain([4])), wanted)
    with pytest.raises(InvalidRequestError, match="cannot be moved"):
        model.move(0)
    model.close()


def test_a_pass_that_only_reads_changes_nothing(wide_pack: Path) -> None:
    model = _load(wide_pack, _budgets(wide_pack)[0])
    try:
        stream = model.stream
        assert stream is not None
        first = model.forward(TokenTree.chain([5, 6, 7])).copy()
        before = stream.counts()[0]
        stream.pass_through()
        stream.pass_through()
        assert stream.counts()[0] >= before + stream.pass_bytes
        assert (model.forward(TokenTree.chain([5, 6, 7])) == first).all()
    finally:
        model.close()
