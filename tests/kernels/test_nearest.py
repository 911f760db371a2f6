import numpy as np
import pytest

from kernels import cpu
from kernels.reference.nearest import nearest_codes as reference

LEVELS = ["scalar", "avx2", "avx512", "neon"]


def _level(name: str) -> str:
    if name not in cpu.levels():
        pytest.skip(f"no {name} here")
    return name


def _problem(n: int, group: int, entries: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n + group + entries + count)
    books = random.standard_normal((count, group, entries)) * 0.4 ** np.arange(count)[:, None, None]
    return random.standard_normal((n, group)).astype(np.float32), books.astype(np.float32)


def _squares(x: np.ndarray, books: np.ndarray, codes: np.ndarray) -> np.ndarray:
    total = sum(books[k].T[codes[:, k]].astype(np.float64) for k in range(len(books)))
    return np.square(x - total).sum(1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("group", "entries", "count"), [(8, 256, 2), (8, 256, 4), (8, 16, 1), (16, 256, 3), (16, 48, 8)]
)
def test_greedy_codes_are_the_reference_s(level: str, group: int, entries: int, count: int) -> None:
    x, books = _problem(517, group, entries, count)
    codes, errors = cpu.nearest_codes(x, books, beam=1, level=_level(level))
    expected, _ = reference(x, books, beam=1)
    # a tie within the rounding of 19 bits may go either way, and then all later codes differ
    assert (codes == expected).all(1).mean() > 0.99
    np.testing.assert_allclose(errors, _squares(x, books, codes), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("beam", [2, 4, 8])
def test_a_beam_is_as_good_as_the_reference_s(level: str, beam: int) -> None:
    x, books = _problem(600, 8, 256, 3)
    codes, errors = cpu.nearest_codes(x, books, beam=beam, level=_level(level))
    _, expected = reference(x, books, beam=beam)
    np.testing.assert_allclose(errors, _squares(x, books, codes), rtol=1e-4, atol=1e-5)
    assert errors.mean() < expected.mean() * 1.02  # of candidates in one lane only the best is kept
    assert errors.mean() < reference(x, books, beam=1)[1].mean() * 0.97


@pytest.mark.parametrize("level", LEVELS)
def test_a_vector_that_is_a_sum_of_codewords_is_found(level: str) -> None:
    random = np.random.default_rng(1)
    books = (random.standard_normal((2, 8, 256)) * np.array([1.0, 0.01])[:, None, None]).astype(np.float32)
    wanted = random.integers(0, 256, (300, 2)).astype(np.uint8)
    x = books[0].T[wanted[:, 0]] + books[1].T[wanted[:, 1]]
    codes, errors = cpu.nearest_codes(x, books, beam=4, level=_level(level))
    np.testing.assert_array_equal(codes, wanted)
    assert errors.max() < 1e-5


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, books = _problem(3001, 8, 256, 2)
    one, two = (cpu.nearest_codes(x, books, beam=4, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_nothing_to_do() -> None:
    _, books = _problem(1, 8, 256, 2)
    codes, errors = cpu.nearest_codes(np.zeros((0, 8), np.float32), books)
    assert codes.shape == (0, 2)
    assert errors.shape == (0,)


@pytest.mark.parametrize("level", LEVELS)
def test_memory_is_read_at_a_plausible_speed(level: str) -> None:
    buffer = np.ones(8 << 20, np.uint8)
    seconds = min(cpu.stream_read(buffer, level=_level(level)) for _ in range(5))
    assert 1e8 < len(buffer) / seconds < 1e12
