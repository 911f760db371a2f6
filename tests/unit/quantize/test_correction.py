from pathlib import Path
from typing import Any

import pytest
import torch

from backend.formats.checkpoint import open_checkpoint
from backend.quantize import compress, run_blocks
from backend.quantize.correction import change
from backend.quantize.graph import open_graph
from backend.quantize.hessian import HessianSum
from backend.quantize.states import States
from backend.quantize.store import Pieces
from backend.quantize.torch_blocks import is_added, load_block, run_block, run_group
from tests.formats.tiny_hf import CONFIG
from tests.unit.quantize import compressing
from tests.unit.quantize.compressing import QWEN, options, run, write_model


def _inputs(tokens: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) / width**0.5
    return torch.randn(tokens, width, generator=generator) @ mixing + 0.1 * torch.randn(
        tokens, width, generator=generator
    )


@pytest.mark.parametrize(("outs", "width"), [(3, 24), (40, 24), (7, 1100)])
def test_it_is_the_ridge_regression(outs: int, width: int) -> None:
    x = _inputs(3000, width, 1)
    missed = torch.randn(3000, outs, generator=torch.Generator().manual_seed(2))
    hessian, pull = x.T @ x / 3000, missed.T @ x / 3000
    damped = hessian.double() + 0.1 * hessian.diagonal().double().mean() * torch.eye(width, dtype=torch.float64)
    expected = torch.linalg.solve(damped, pull.double().T).T.float()
    torch.testing.assert_close(change(hessian, pull, 0.1), expected, rtol=1e-3, atol=1e-4)


def test_what_other_inputs_take_away_is_given_back() -> None:
    source = _inputs(4000, 48, 3)
    given = source + 0.3 * _inputs(4000, 48, 4)
    weight = torch.randn(20, 48, generator=torch.Generator().manual_seed(5))
    missed = (source - given) @ weight.T
    added = change(given.T @ given / 4000, missed.T @ given / 4000, 0.01)
    left = missed - given @ added.T
    assert float(left.square().sum()) < 0.7 * float(missed.square().sum())


def test_nothing_is_added_where_nothing_is_missed_or_nothing_known() -> None:
    assert not change(torch.eye(16), torch.zeros(4, 16), 0.1).any()
    assert not change(torch.zeros(16, 16), torch.zeros(4, 16), 0.1).any()
    assert not change(-torch.eye(16) + 3 * torch.ones(16, 16), torch.ones(4, 16), 0.1).any()


@pytest.mark.parametrize("parts", [[5000], [1, 2047, 2952], [3000, 2000]])
def test_pulls_are_summed_with_the_weights_of_the_hessian(parts: list[int]) -> None:
    x, missed = _inputs(5000, 40, 6), _inputs(5000, 9, 7)
    x[7] *= 600  # massive: weighs as much as all others
    x[4100] *= 6  # only long
    total = HessianSum(40, 9)
    for piece, lost in zip(x.split(parts), missed.split(parts), strict=True):
        total.add(piece, lost)
    norms = x.norm(dim=1)
    massive = norms > 10 * norms.median()
    assert massive.sum() == 1
    weight = torch.ones(5000)
    weight[massive] = norms[~massive].square().sum() / norms[massive].square().sum()
    torch.testing.assert_close(total.mean(), (x * weight[:, None]).T @ x / 5000, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(total.pull(), (missed * weight[:, None]).T @ x / 5000, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", [CONFIG, QWEN], ids=["llama", "qwen2"])
def test_a_group_reads_and_makes_what_it_does_in_its_block(config: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_model(tmp_path / "source", config))
    block = open_graph(checkpoint).blocks[0]
    weights = load_block(checkpoint, block)
    x = torch.randn(2, 5, weights.linears[block.linears[0]].shape[1], generator=torch.Generator().manual_seed(0))
    read: dict[tuple[str, ...], torch.Tensor] = {}
    y = run_block(block, weights, x, watch=read.__setitem__)
    for group in block.inputs:
        inputs, made = run_group(block, weights, x, group)
        torch.testing.assert_close(inputs, read[group])
        assert is_added(block, group) == (group[0].endswith(("o_proj", "down_proj")))
        if group[0].endswith("o_proj"):
            torch.testing.assert_close(made, x.reshape(10, -1) + inputs @ weights.linears[group[0]].T)
        elif not is_added(block, group):
            torch.testing.assert_close(made, inputs)
    torch.testing.assert_close(made.reshape(y.shape), y)
    with pytest.raises(ValueError, match="nowhere"):
        run_group(block, weights, x, ("nowhere",))


def test_blocks_end_nearer_to_the_source_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "read_texts", compressing.random_texts)
    source = write_model(tmp_path / "source")

    def missed(folder: Path) -> float:
        folder.mkdir()
        with pytest.raises(InterruptedError):
            run(source, folder / "out", options("aqlm-2x8"), lambda now: now.stage not in ("write", "measure"))
        work = folder / "out.nutshell.work"
        number = max(int(path.stem.partition("-")[2]) for path in work.glob("original-*.level"))
        ours, theirs = (
            torch.stack(list(States(Pieces(work / f"{kind}-{number}.level"), range(12, 14))))
            for kind in ("input", "original")
        )
        return float((ours - theirs).square().sum())

    corrected = missed(tmp_path / "with")
    monkeypatch.setattr(run_blocks, "change", lambda hessian, pull, damping: torch.zeros_like(pull))
    assert corrected < 0.95 * missed(tmp_path / "without")
