from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.architectures import build
from backend.formats.checkpoint import open_checkpoint
from backend.quantize.evaluation_importance import importance
from kernels.packed import PackedLinear
from kernels.reference.executor import ReferenceExecutor


class Watched(ReferenceExecutor):
    """Adds up the squares of what each linear is given."""

    def linear(self, packed: PackedLinear, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.squares = getattr(self, "squares", {})
        self.squares.setdefault(id(packed), []).append(np.square(x.astype(np.float64)).sum(axis=0))
        return super().linear(packed, x)


@pytest.mark.parametrize("threads", [1, 2])
def test_against_numpy(tiny_gguf: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(3, 280, (3, 21), dtype=np.int32)
    told: list[int] = []
    found = importance(tiny_gguf, tokens, threads=threads, told=told.append)
    assert told == [21, 21, 21]

    checkpoint = open_checkpoint(tiny_gguf)
    kept = {module: checkpoint.linear(module) for module in checkpoint.linears()}
    monkeypatch.setattr(checkpoint, "linear", kept.__getitem__)
    modules = {id(packed): module for module, packed in kept.items()}
    executor = Watched(build(checkpoint).program, 21, kv="f16")
    for row in tokens:
        executor.forward(row.tolist(), range(-1, 20), [])
        executor.commit(range(21))
        executor.rewind(0)
    checkpoint.close()
    wanted = {modules[key]: sum(parts) / 63 for key, parts in executor.squares.items()}
    wanted = {module: values for module, values in wanted.items() if module.startswith("model.layers.")}
    assert found.keys() == wanted.keys()
    assert len(found) == 2 * 7
    for module, values in wanted.items():
        assert found[module] == pytest.approx(values, rel=0.02, abs=1e-4 * float(values.max())), module
