import gc

import pytest
import torch

from backend.quantize.cholesky import Latest, lower_factor, reordered, turn_over


@pytest.mark.parametrize("n", [1, 7, 255, 256, 257, 700])
def test_it_is_the_factor_and_nothing_lies_above_it(n: int) -> None:
    mixing = torch.randn(n, 2 * n + 3, generator=torch.Generator().manual_seed(n))
    matrix = mixing @ mixing.T / n + 0.1 * torch.eye(n)
    factor = torch.tril(matrix) + torch.triu(torch.full((n, n), float("nan")), 1)  # the upper half is not read
    assert lower_factor(factor)
    assert not torch.triu(factor, 1).any()
    torch.testing.assert_close(factor, torch.linalg.cholesky(matrix.double()).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [3, 300, 511])
def test_a_matrix_that_is_not_positive_definite_is_said_to_be(bad: int) -> None:
    matrix = torch.eye(512)
    matrix[bad, bad] = -1.0
    assert not lower_factor(matrix)


def test_what_was_made_of_a_tensor_is_made_again_when_it_changes_or_goes() -> None:
    made: list[int] = []
    latest: Latest[int] = Latest()

    def get(tensor: torch.Tensor, more: int) -> int:
        def make() -> int:
            made.append(1)
            return len(made)

        return latest.get(tensor, more, make)

    tensor = torch.ones(3)
    assert [get(tensor, 1), get(tensor, 1), get(tensor, 2), get(tensor, 2)] == [1, 1, 2, 2]
    tensor.zero_()
    assert get(tensor, 2) == 3
    assert get(tensor.clone(), 2) == 4
    assert get(tensor, 2) == 5


def test_it_is_let_go_with_its_tensor() -> None:
    latest: Latest[torch.Tensor] = Latest()
    tensor = torch.ones(3)
    of_it = torch.ones(4)
    latest.get(tensor, 0, lambda: of_it)
    assert latest._made is of_it
    del tensor
    gc.collect()
    assert latest._made is None


@pytest.mark.parametrize("n", [1, 8, 511, 512, 513, 1100, 1536])
def test_another_order_and_the_other_diagonal(n: int) -> None:
    dice = torch.Generator().manual_seed(n)
    matrix, order = torch.randn(n, n, generator=dice), torch.randperm(n, generator=dice)
    assert torch.equal(reordered(matrix, order), matrix[order][:, order])
    turned = matrix.clone()
    turn_over(turned)
    assert torch.equal(turned, matrix.flip(0, 1).T)
