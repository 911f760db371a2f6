from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from backend.quantize.evaluation_scores import compare, expect, join
from backend.quantize.measure import mean_kl

Floats = npt.NDArray[np.float32]


def some_logits(rows: int, width: int, seed: int = 0) -> Floats:
    return 4 * np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def in_float64(logits: Floats) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("rows", "width"), [(1, 2), (7, 101), (33, 5003)])
def test_against_float64(rows: int, width: int) -> None:
    p, q = some_logits(rows, width), some_logits(rows, width) + some_logits(rows, width, 1) / 8
    targets = np.arange(rows, dtype=np.int32) % width
    expected = expect(p, targets, 2)
    found = compare(expected, q, targets, 2)
    a, b = in_float64(p), in_float64(q)
    at = np.arange(rows), targets
    assert expected.surprise == pytest.approx(-a[at], abs=1e-5)
    assert found.surprise == pytest.approx(-b[at], abs=1e-5)
    assert (expected.likeliest == p.argmax(axis=1)).all()
    assert (found.agrees == (p.argmax(axis=1) == q.argmax(axis=1))).all()
    rowwise = [mean_kl(p[row : row + 1], q[row : row + 1]) for row in range(rows)]
    assert found.kl == pytest.approx(rowwise, rel=0.01, abs=1e-4)
    assert found.kl.mean() == pytest.approx(np.mean(rowwise), rel=2e-3, abs=2e-5)  # errors of rows cancel


def test_nothing_is_lost_against_itself() -> None:
    logits = some_logits(40, 3001)
    targets = np.zeros(40, np.int32)
    found = compare(expect(logits, targets, 1), logits + 100, targets, 1)  # a constant changes nothing
    assert 0 <= found.kl.max() < 1e-5
    assert found.kl.mean() < 1e-6
    assert found.agrees.all()


def test_threads_change_no_bit() -> None:
    p, q, targets = some_logits(13, 700), some_logits(13, 700, 1), np.full(13, 5, np.int32)
    one, *others = (compare(expect(p, targets, threads), q, targets, threads) for threads in (1, 2, 5, 64))
    for other in others:
        assert (one.kl == other.kl).all()
        assert (one.surprise == other.surprise).all()


def test_tokens_that_are_out_of_the_question() -> None:
    logits, targets = some_logits(3, 50), np.zeros(3, np.int32)
    logits[:, 7] = -1e6  # float16 ends at -65504
    expected = expect(logits, targets, 1)
    assert np.isfinite(expected.log_probabilities).all()
    assert compare(expected, logits, targets, 1).kl.max() < 1e-5


def test_what_is_no_number_shows() -> None:
    logits, targets = some_logits(3, 50), np.zeros(3, np.int32)
    broken = logits.copy()
    broken[1, 20] = np.nan
    found = compare(expect(logits, targets, 1), broken, targets, 1)
    assert np.isnan(found.kl).tolist() == [False, True, False]


def test_shapes_must_fit() -> None:
    p, q, targets = some_logits(3, 50), some_logits(3, 51), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(expect(p, targets, 1), q, targets, 1)


def test_joining() -> None:
    p, targets = some_logits(9, 50), np.arange(9, dtype=np.int32)
    whole = expect(p, targets, 1)
    parts = join([expect(p[:4], targets[:4], 1), expect(p[4:], targets[4:], 1)])
    assert (whole.log_probabilities == parts.log_probabilities).all()
    assert (whole.surprise == parts.surprise).all()
    assert (whole.likeliest == parts.likeliest).all()
