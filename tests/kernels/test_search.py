import numpy as np

from kernels.reference.search import decoded, search_block


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
