"""Products of float32: the same as torch's own, with gradients, for any strides."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from backend.quantize import products  # noqa: E402


def dice(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["onednn", "torch"])
def _operator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(products, "_ONEDNN", None)
    elif products._ONEDNN is None:
        pytest.skip("torch was built without oneDNN")


@pytest.mark.usefixtures("_operator")
@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (33, 65, 17), (5, 130, 300), (0, 4, 3), (4, 0, 3), (4, 5, 0)])
@pytest.mark.parametrize("strides", ["rows", "columns", "part"])
def test_product(n: int, m: int, k: int, strides: str) -> None:
    a, b = dice(n, k), dice(m, k, seed=1)
    given = {
        "rows": (a, b),
        "columns": (a.T.contiguous().T, b.T.contiguous().T),
        "part": (torch.cat([a, a], 1)[:, :k], torch.cat([b, b], 1)[:, k:]),
    }[strides]
    found = products.product(*given)
    assert found.shape == (n, m)
    assert torch.allclose(found, a @ b.T, rtol=1e-5, atol=1e-4)


def test_rows_that_lie_apart_are_not_given_to_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes them a thousand times as long."""
    given = []

    def operator(a: torch.Tensor, b: torch.Tensor, *_: object) -> torch.Tensor:
        given.append(b)
        return a @ b.T

    monkeypatch.setattr(products, "_ONEDNN", operator)
    a, wide = dice(3, 8), dice(5, 16)
    for b in (wide[:, :8], wide[:, ::2], dice(20, 10).T[:5, :8]):
        assert torch.allclose(products.product(a, b), a @ b.T)
    assert all(b.is_contiguous() for b in given)


@pytest.mark.usefixtures("_operator")
@pytest.mark.parametrize("biased", [False, True])
def test_linear_and_its_gradients(biased: bool) -> None:
    x, weight, bias = dice(2, 7, 19), dice(11, 19, seed=1), dice(11, seed=2)
    leaves = [x, weight, bias][: 2 + biased]
    outer = dice(2, 7, 11, seed=3)
    found = []
    for function in (products.linear, torch.nn.functional.linear):
        for leaf in leaves:
            leaf.requires_grad_().grad = None
        y = function(*leaves)
        (y * outer).sum().backward()
        found.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_other_types_are_left_to_torch() -> None:
    x, weight = dice(3, 5).double(), dice(4, 5).double()
    assert torch.equal(products.linear(x, weight), torch.nn.functional.linear(x, weight))
    assert torch.equal(products.product(x, weight), x @ weight.T)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, 1, 4999, 5000])
def test_one_number_that_is_none_is_found(wrong: float, at: int) -> None:
    a = dice(3, 1667)
    assert products.all_finite(a)
    assert products.all_finite(a[:0])
    a.view(-1)[at] = wrong
    assert not products.all_finite(a)
