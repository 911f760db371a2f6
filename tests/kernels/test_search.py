import numpy as np
import pytest

from kernels import cpu
from kernels.reference.search import Found, decoded, search_block

LEVELS = ["scalar", "avx2", "avx512", "neon"]
SHAPES = [(45, 8, 5, 1, 256), (70, 8, 3, 2, 256), (33, 8, 4, 4, 64), (40, 16, 3, 2, 256), (9, 16, 2, 8, 16)]


def _level(name: str) -> str:
    if name not in cpu.levels():
        pytest.skip(f"no {name} here")
    return name


def _problem(rows: int, group: int, groups: int, count: int, entries: int = 256) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows + group + groups + count)
    width = group * groups
    mixed = random.standard_normal((width, 4 * width)) + 0.5 * random.standard_normal(4 * width)
    upper = np.linalg.cholesky((mixed @ mixed.T / (4 * width))[::-1, ::-1])[::-1, ::-1]
    books = random.standard_normal((count, group, entries)) * 0.4 ** np.arange(count)[:, None, None]
    forward = np.stack([upper[j : j + group, j : j + group] for j in range(0, width, group)])
    made = {
        "wanted": random.standard_normal((rows, width)),
        "fed": 0.1 * random.standard_normal((rows, width)),
        "forward": forward,
        "later": upper,
        "books": books,
    }
    return {name: np.ascontiguousarray(numbers, np.float32) for name, numbers in made.items()}


def test_what_is_left_and_the_rest_are_those_of_the_codes() -> None:
    given = _problem(20, 8, 5, 2)
    found = search_block(**given, beam=4)
    sums = np.concatenate([decoded(given["books"], found.codes[:, j]) for j in range(5)], axis=1)
    np.testing.assert_allclose(found.left, given["wanted"] - sums, atol=1e-6)
    np.testing.assert_allclose(found.rest, given["fed"] + found.left @ given["later"], atol=1e-5)


def test_feedback_lowers_the_error() -> None:
    given = _problem(50, 8, 6, 1)
    fed = search_block(**given)
    none = search_block(**{**given, "later": np.zeros_like(given["later"])})
    assert np.square(fed.rest).sum() < 0.97 * np.square(given["fed"] + none.left @ given["later"]).sum()


def test_codes_that_nothing_beats_are_held() -> None:
    given = _problem(30, 8, 1, 2)
    best = search_block(**given, beam=8)
    np.testing.assert_array_equal(search_block(**given, beam=1, held=best.codes).codes, best.codes)


def _fits(given: dict[str, np.ndarray], found: Found, tolerance: float = 1e-5) -> None:
    """What is left and the rest are exactly those of the codes."""
    groups = len(given["forward"])
    sums = np.concatenate([decoded(given["books"], found.codes[:, j]) for j in range(groups)], axis=1)
    np.testing.assert_allclose(found.left, given["wanted"] - sums, atol=tolerance)
    np.testing.assert_allclose(found.rest, given["fed"] + found.left @ given["later"], atol=tolerance * 10)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_level_finds_codes_as_good_as_the_reference_s(level: str, shape: tuple[int, int, int, int, int]) -> None:
    given = _problem(*shape)
    found = cpu.search_block(**given, level=_level(level))
    _fits(given, found)
    # of 16 entries each lane has one, and a beam of 8 is then one of 2 for each of them
    margin = 1.04 if shape[4] > 16 else 1.15
    assert np.square(found.rest).sum() < margin * np.square(search_block(**given).rest).sum()


@pytest.mark.parametrize("level", LEVELS)
def test_one_codebook_is_searched_exactly(level: str) -> None:
    given = _problem(100, 8, 4, 1)
    same = cpu.search_block(**given, level=_level(level)).codes == search_block(**given).codes
    assert same[:, 0].mean() > 0.98  # a tie within the rounding to 12 bits may go either way
    assert same.mean() > 0.95  # and then what is fed differs


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("beam", [1, 3, 4])
def test_a_wider_beam_is_better(level: str, beam: int) -> None:
    given = _problem(200, 8, 3, 3)
    narrow, wide = (cpu.search_block(**given, beam=width, level=_level(level)) for width in (beam, 8))
    _fits(given, narrow)
    assert np.square(wide.rest).sum() < 0.995 * np.square(narrow.rest).sum()


@pytest.mark.parametrize("level", LEVELS)
def test_groups_are_seen_through_back_and_held_codes_stay(level: str) -> None:
    given = _problem(64, 8, 4, 2)
    back = np.linalg.inv(given["forward"]).transpose(0, 2, 1)
    expected = search_block(**given, back=back)
    found = cpu.search_block(**given, back=back, level=_level(level))
    assert np.square(found.rest).sum() < 1.04 * np.square(expected.rest).sum()
    single = {**given, "later": np.zeros_like(given["later"])}
    best = search_block(**single)
    held = cpu.search_block(**single, held=best.codes, beam=1, level=_level(level))
    assert np.square(held.rest).sum() <= np.square(best.rest).sum() * (1 + 1e-5)
    assert (held.codes == best.codes).mean() > 0.99


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [0.0, 1e-6, 1e6])
def test_targets_of_any_size_are_searched(level: str, size: float) -> None:
    given = _problem(50, 8, 3, 2)
    far = {**given, "wanted": given["wanted"] * np.float32(size), "fed": given["fed"] * np.float32(size)}
    found = cpu.search_block(**far, level=_level(level))
    _fits(far, found, 1e-5 * max(1.0, size))
    if size:
        scaled = {**far, "books": given["books"] * np.float32(size)}
        again = cpu.search_block(**scaled, level=_level(level))
        assert (again.codes == cpu.search_block(**given, level=_level(level)).codes).mean() > 0.97
    else:
        assert np.isfinite(found.rest).all()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    given = _problem(301, 8, 5, 3)
    one, two, five = (cpu.search_block(**given, threads=threads) for threads in (1, 2, 5))
    for a, b, c in zip(one, two, five, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_no_rows_and_shapes_that_do_not_fit() -> None:
    given = _problem(2, 8, 3, 2)
    none = {**given, "wanted": given["wanted"][:0], "fed": given["fed"][:0]}
    assert cpu.search_block(**none).codes.shape == (0, 3, 2)
    for name in ("fed", "later", "forward", "books"):
        with pytest.raises(ValueError, match="groups of"):
            cpu.search_block(**{**given, name: given[name][..., :-1]})
    with pytest.raises(ValueError, match="a beam of 9"):
        cpu.search_block(**given, beam=9)
