"""What every executor must do, as tests to inherit: a class that has `make` and `far` is tested by all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from backend.architectures import build
from kernels.program import Executor, Program
from tests.unit.architectures.checkpoints import random_tensors

Make = Callable[[Program, int], Executor]
Floats = npt.NDArray[np.float32]

CAPACITY = 64
VOCABULARY = 101


def chain(executor: Executor, tokens: Sequence[int], *, keep: bool = True) -> Floats:
    """Logits of every token, behind what is committed; then committed, unless told not to."""
    n = len(tokens)
    logits = executor.forward(tokens, range(-1, n - 1), range(n)).copy()
    if keep:
        executor.commit(range(n))
    return logits


def some_tokens(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, n).tolist()


def path_to(parents: Sequence[int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.insert(0, node)
        node = parents[node]
    return path


#: heads of 16 numbers: the least that the fast executors must take
PROGRAMS: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("llama", {}),
    "window": ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "norms": ("qwen3", {}),
}


@cache
def program_of(name: str) -> Program:
    model_type, changes = PROGRAMS[name]
    return build(random_tensors(model_type, head_dim=16, **changes)).program


class ExecutorBehaviour:
    #: the most that two ways to the same logits may be apart (they are about 10 large)
    far = 1e-4

    @pytest.fixture(params=PROGRAMS)
    def program(self, request: pytest.FixtureRequest) -> Program:
        return program_of(request.param)

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    def test_pieces_of_a_text(self, make: Make, program: Program) -> None:
        tokens = some_tokens(40)
        whole = chain(make(program, CAPACITY), tokens)
        assert np.isfinite(whole).all()
        for sizes in ([1] * 40, [7, 1, 32], [39, 1], [13, 13, 14]):
            executor = make(program, CAPACITY)
            done = 0
            for size in sizes:
                logits = chain(executor, tokens[done : done + size])
                assert np.abs(logits - whole[done : done + size]).max() < self.far
                done += size
            assert executor.length == 40

    def test_only_wanted_rows(self, make: Make, program: Program) -> None:
        tokens = some_tokens(12)
        executor = make(program, CAPACITY)
        whole = chain(executor, tokens, keep=False)
        for wanted in ([], [11], [0, 5, 11], [3]):
            logits = executor.forward(tokens, range(-1, 11), wanted)
            assert logits.dtype == np.float32
            if wanted:
                assert logits.shape == (len(wanted), VOCABULARY)
                assert np.abs(logits - whole[wanted]).max() < self.far
            else:
                assert logits.size == 0

    @pytest.mark.parametrize("nodes", [2, 9, 40])
    def test_a_tree_is_its_paths(self, make: Make, program: Program, nodes: int) -> None:
        dice = random.Random(nodes)
        parents = [-1, *(dice.randrange(-1, node) for node in range(1, nodes))]
        tokens, before = some_tokens(nodes, 1), some_tokens(9, 2)
        executor = make(program, CAPACITY)
        chain(executor, before)
        tree = executor.forward(tokens, parents, range(nodes)).copy()
        hidden = executor.hidden().copy()
        assert executor.length == 9
        for node in range(nodes):
            path = path_to(parents, node)
            alone = chain(executor, [tokens[step] for step in path], keep=False)
            assert np.abs(tree[node] - alone[-1]).max() < self.far
            assert np.abs(hidden[node] - executor.hidden()[-1]).max() < self.far

    def test_a_branch_is_kept(self, make: Make, program: Program) -> None:
        parents = [-1, 0, 0, -1, 2, 4, 3, 4]
        tokens, before = some_tokens(8, 3), some_tokens(11, 4)
        for path in ([0, 2, 4, 7], [3, 6], [0], []):
            executor = make(program, CAPACITY)
            chain(executor, before)
            executor.forward(tokens, parents, [7])
            executor.commit(path)
            assert executor.length == 11 + len(path)
            fresh = make(program, CAPACITY)
            chain(fresh, before + [tokens[node] for node in path])
            after = some_tokens(5, 5)
            assert np.abs(chain(executor, after) - chain(fresh, after)).max() < self.far

    def test_what_was_not_committed_is_forgotten(self, make: Make, program: Program) -> None:
        executor, fresh = make(program, CAPACITY), make(program, CAPACITY)
        for one in (executor, fresh):
            chain(one, some_tokens(6))
        chain(executor, some_tokens(9, 1), keep=False)
        assert np.abs(chain(executor, some_tokens(3, 2)) - chain(fresh, some_tokens(3, 2))).max() < self.far
        assert executor.length == 9

    def test_rewind(self, make: Make, program: Program) -> None:
        tokens = some_tokens(30)
        executor = make(program, CAPACITY)
        chain(executor, tokens)
        for length in (17, 5, 0):
            executor.rewind(length)
            assert executor.length == length
            fresh = make(program, CAPACITY)
            if length:
                chain(fresh, tokens[:length])
            other = some_tokens(8, length)
            assert np.abs(chain(executor, other) - chain(fresh, other)).max() < self.far
        with pytest.raises(ValueError, match=r"\d"):
            executor.rewind(9)
        with pytest.raises(ValueError, match=r"-1"):
            executor.rewind(-1)

    def test_rewinding_drops_what_was_not_committed(self, make: Make, program: Program) -> None:
        executor = make(program, CAPACITY)
        chain(executor, some_tokens(4))
        chain(executor, some_tokens(4), keep=False)
        executor.rewind(4)
        with pytest.raises(ValueError, match=r"\w"):
            executor.commit([0])

    def test_abort(self, make: Make, program: Program) -> None:
        executor, fresh = make(program, CAPACITY), make(program, CAPACITY)
        for one in (executor, fresh):
            chain(one, some_tokens(6))
        executor.abort(True)
        with pytest.raises(InterruptedError):
            executor.forward([1, 2], [-1, 0], [1])
        assert executor.length == 6
        executor.abort(False)
        assert np.abs(chain(executor, some_tokens(3)) - chain(fresh, some_tokens(3))).max() < self.far

    def test_the_cache_can_be_filled_and_no_further(self, make: Make, program: Program) -> None:
        executor = make(program, CAPACITY)
        chain(executor, some_tokens(60))
        with pytest.raises(ValueError, match=r"\d"):
            executor.forward([1] * 5, range(-1, 4), [4])
        assert executor.length == 60
        assert np.isfinite(chain(executor, [1] * 4)).all()
        assert executor.length == 64
        with pytest.raises(ValueError, match=r"\d"):
            executor.forward([1], [-1], [0])

    @pytest.mark.parametrize(
        ("tokens", "parents", "wanted"),
        [
            ([VOCABULARY], [-1], [0]),
            ([-1], [-1], [0]),
            ([1, 2], [-1, 1], [0]),
            ([1, 2], [-1, -2], [0]),
            ([1, 2], [-1], [0]),
            ([1, 2], [-1, 0], [2]),
            ([1, 2], [-1, 0], [-1]),
        ],
    )
    def test_nonsense_is_refused(
        self, make: Make, program: Program, tokens: list[int], parents: list[int], wanted: list[int]
    ) -> None:
        executor = make(program, CAPACITY)
        chain(executor, some_tokens(6))
        with pytest.raises(ValueError, match=r"\w"):
            executor.forward(tokens, parents, wanted)
        assert executor.length == 6
        assert np.isfinite(chain(executor, some_tokens(2))).all()

    def test_only_paths_are_committed(self, make: Make, program: Program) -> None:
        executor = make(program, CAPACITY)
        executor.forward([1, 2, 3], [-1, 0, 0], [2])
        for path in ([1], [0, 1, 2], [3], [0, 0]):
            with pytest.raises(ValueError, match=r"\w"):
                executor.commit(path)
        executor.commit([0, 2])
        assert executor.length == 2
        with pytest.raises(ValueError, match=r"\w"):
            executor.commit([0])

    def test_the_cache_is_counted(self, make: Make, program: Program) -> None:
        assert make(program, 2 * CAPACITY).kv_bytes >= 1.5 * make(program, CAPACITY).kv_bytes > 0
