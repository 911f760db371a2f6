"""Polish of a finished file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")

from backend.api.errors import InvalidRequestError
from backend.formats.pack import PackCheckpoint
from backend.quantize.slider import polish as module
from backend.quantize.slider.evolve import Evolved, Rounds
from backend.quantize.slider.polish import polish

FEW = Rounds(generations=2, children=3, stages=((256, 1), (512, 1)))


@pytest.fixture
def path(slider_pack: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.nutshell"
    path.write_bytes(slider_pack.read_bytes())
    return path


def levels_at(path: Path, steps: int) -> dict[str, str]:
    slider = PackCheckpoint(path).slider
    assert slider is not None
    return slider.levels(steps)


def test_what_is_found_is_in_the_file(path: Path, tiny_gguf: Path) -> None:
    before = PackCheckpoint(path).slider
    assert before is not None
    steps = before.steps(0.3)
    found = polish(path, tiny_gguf, 0.3, rounds=FEW, threads=1)
    assert (found.steps, found.generations) == (steps, 2)
    assert found.bytes <= found.bytes_before == before.bytes[steps]
    assert found.kl <= found.kl_before
    after = PackCheckpoint(path).slider
    assert after is not None
    if found.changed:
        assert after.mixtures[steps].kl == pytest.approx(found.kl, rel=1e-3)
        assert after.size(after.ranks(steps)) == found.bytes
    else:
        assert not after.mixtures
    for other in (0, steps - 1, steps + 1, after.last):
        assert after.ranks(other) == before.ranks(other)


def test_a_search_that_is_stopped_keeps_its_best(path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slider = PackCheckpoint(path).slider
    assert slider is not None
    better = slider.levels(2)

    def found(choices: Any, start: Any, most: int, fitness: Any, **rest: Any) -> Evolved:
        rest["report"](Evolved(better, slider.bytes[2], 0.1, 0.4, 1))
        assert rest["stop"]()
        return Evolved(better, slider.bytes[2], 0.1, 0.4, 1)

    monkeypatch.setattr(module, "evolve", found)
    told: list[float] = []

    def tell(now: Any) -> bool:
        told.append(now.done)
        return now.done < 1

    result = polish(path, tiny_gguf, slider.place(3), rounds=FEW, threads=1, report=tell)
    assert (result.kl, result.kl_before, result.changed, result.generations) == (0.1, 0.4, 1, 1)
    assert levels_at(path, 3) == better
    assert levels_at(path, 4) == slider.levels(4)
    assert not list(path.parent.glob("*.part"))


def test_stopped_before_anything_was_looked_at_nothing_changes(path: Path, tiny_gguf: Path) -> None:
    whole = path.read_bytes()
    result = polish(path, tiny_gguf, None, rounds=FEW, threads=1, report=lambda _: False)
    assert result.changed == result.generations == 0
    assert path.read_bytes() == whole


def test_refusals(tiny_pack: Path, path: Path, tiny_gguf: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no slider"):
        polish(tiny_pack, tiny_gguf, None)
    with pytest.raises(InvalidRequestError, match="no position"):
        polish(path, tiny_gguf, 1.5)
