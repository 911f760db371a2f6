"""A compression with several levels, from end to end on models of a few kilobytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")

from backend.architectures import build
from backend.formats.checkpoint import open_checkpoint
from backend.formats.hf_export import export_build
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_slider import Anchor
from backend.quantize import compress as module
from backend.quantize import run_blocks
from backend.quantize.measure import kl
from backend.quantize.slider import sensitivity
from backend.quantize.slider.run import DEFAULT_KL, predictions
from backend.quantize.slider.upgrades import Choice, order
from kernels import reference
from kernels.cpu.executor import CpuExecutor
from tests.formats.tiny_hf import CONFIG
from tests.unit.quantize import compressing
from tests.unit.quantize.compressing import QWEN, options, run, write_model

LEVELS = ("aqlm-1x8", "aqlm-2x8", "spqr-4")


@pytest.fixture(autouse=True)
def _random_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_texts", compressing.random_texts)


@pytest.fixture(params=["llama", "qwen2"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_model(tmp_path / "source", CONFIG if request.param == "llama" else QWEN)


def executor(checkpoint: Any, capacity: int = 64) -> CpuExecutor:
    return CpuExecutor(build(checkpoint).program, capacity=capacity, threads=1)


def test_one_file_with_every_level_and_measured_positions(source: Path, tmp_path: Path) -> None:
    built = run(source, tmp_path / "out", options(*LEVELS))
    assert not (tmp_path / "out.nutshell.work").exists()
    pack, original = PackCheckpoint(built.path), open_checkpoint(source)
    slider = pack.slider
    assert slider is not None
    for name, ladder in slider.ladders.items():
        table = name.endswith(("embed_tokens", "lm_head"))
        assert set(ladder) <= ({"q4", "q8"} if table else set(LEVELS))
        assert slider.sizes[name] == tuple(sorted(set(slider.sizes[name])))
        assert all(less > more for less, more in pairwise(slider.errors[name]))
        weight = reference.dequantize(original.linear(name))
        away = [
            np.square(weight - reference.dequantize(pack.mixed(ranks).linear(name))).sum()
            for ranks in ([0] * len(slider.ladders), [len(ladder) - 1 for ladder in slider.ladders.values()])
        ]
        assert away[-1] < away[0] or len(ladder) == 1
    levels = {level for ladder in slider.ladders.values() for level in ladder}
    assert levels >= {"aqlm-1x8", "spqr-4", "q4", "q8"}
    assert [one.steps for one in slider.anchors][:1] == [0]
    assert slider.anchors[-1].steps == slider.last
    assert slider.default in {one.steps for one in slider.anchors}
    assert slider.kl[slider.default] <= DEFAULT_KL or slider.default == slider.last
    assert all(more <= less for less, more in pairwise(slider.kl))
    assert slider.anchors[-1].kl < slider.anchors[0].kl / 2
    for name in original.arrays():
        np.testing.assert_array_equal(pack.array(name), original.array(name))
    about = pack.metadata
    assert about["scheme"] == "slider"
    assert about["levels"] == list(LEVELS)
    assert "free" not in about
    assert about["bits_per_weight"] == built.all_bits
    again = run(source, tmp_path / "out", options(*LEVELS))
    assert "nothing had to be done" in again.notes[0]
    assert again.all_bits == built.all_bits
    assert about["checked"]["perplexity"] == built.perplexity


def test_anchors_are_what_the_file_gives(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    chosen = options(*LEVELS)
    pack = PackCheckpoint(run(source, tmp_path / "out", chosen).path)
    assert pack.slider is not None
    dice = np.random.default_rng(0)
    validation = dice.integers(0, CONFIG["vocab_size"], (14, 64), dtype=np.int32)[12:]
    original = open_checkpoint(source, dense_scheme="f32")
    theirs = CpuExecutor(build(original).program, capacity=64, threads=1, precise=True)
    for anchor in (pack.slider.anchors[0], pack.slider.anchors[-1]):
        ours = executor(pack.at(anchor.steps))
        measured = np.mean([kl(theirs, ours, text[:-1].tolist()) for text in validation])
        assert measured == pytest.approx(anchor.kl, rel=0.02)


def test_a_stopped_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_model(tmp_path / "source", QWEN)
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "stopped")]
    for place in places:
        place.parent.mkdir()
    chosen = options(*LEVELS)
    run(source, places[0], chosen)
    monkeypatch.setattr(sensitivity, "_KEEP_S", -1.0)  # every block's states are kept
    for stage, count in (("quantize", 9), ("sensitivity", 2), ("sensitivity", 4), ("measure", 2)):
        left = [count]

        def tell(now: Any, stage: str = stage, left: list[int] = left) -> bool:
            left[0] -= now.stage == stage
            return left[0] > 0

        with pytest.raises(InterruptedError):
            run(source, places[1], chosen, tell)
    told: list[Any] = []
    run(source, places[1], chosen, lambda now: told.append(now) or True)
    assert told[-1].seconds_left == 0, "what an earlier call has done is not waited for"
    assert places[0].read_bytes() == places[1].read_bytes()
    assert not places[1].with_name("out.nutshell.work").exists()


def test_a_protected_linear_has_fewer_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_blocks, "protected", lambda groups, group, ratio: "layers.1.mlp.down_proj" in group[0])
    pack = PackCheckpoint(run(write_model(tmp_path / "source"), tmp_path / "out", options(*LEVELS)).path)
    assert pack.slider is not None
    assert pack.slider.ladders["model.layers.1.mlp.down_proj"] == ("spqr-4",)
    assert len(pack.slider.ladders["model.layers.0.mlp.down_proj"]) > 1
    assert pack.metadata["protected"] == ["model.layers.1.mlp.down_proj"]


def test_sensitivities_say_what_one_linear_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two linears of like error, the one that the answers hang on has the larger one."""
    seen: dict[str, float] = {}
    real = sensitivity.sensitivities

    def watched(*values: Any, **named: Any) -> dict[str, float]:
        seen.update(real(*values, **named))
        return seen

    monkeypatch.setattr("backend.quantize.slider.run.sensitivities", watched)
    config = {**CONFIG, "num_hidden_layers": 2}
    source = write_model(tmp_path / "source", config)
    pack = PackCheckpoint(run(source, tmp_path / "out", options("aqlm-1x8", "spqr-4")).path)
    assert pack.slider is not None
    assert set(seen) == set(pack.slider.ladders)
    dense = open_checkpoint(source, dense_scheme="f32")
    tokens = np.random.default_rng(0).integers(0, CONFIG["vocab_size"], (14, 64), dtype=np.int32)[0].tolist()
    theirs = executor(dense)

    class Replaced:
        """The source with one linear of the build."""

        def __init__(self, name: str) -> None:
            self._name = name
            self.config = dense.config
            self.has, self.linears, self.arrays, self.array = dense.has, dense.linears, dense.arrays, dense.array

        def linear(self, module: str) -> Any:
            return pack.at(0).linear(module) if module == self._name else dense.linear(module)

    names = [name for name in seen if "layers" in name]
    measured = [kl(theirs, executor(Replaced(name)), tokens) for name in names]
    told = [seen[name] * pack.slider.errors[name][0] for name in names]
    assert np.corrcoef(np.log(measured), np.log(told))[0, 1] > 0.8


def test_a_position_is_exported(tmp_path: Path) -> None:
    wide = {**CONFIG, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 64}
    path = run(write_model(tmp_path / "source", wide), tmp_path / "out", options(*LEVELS)).path
    pack = PackCheckpoint(path)
    assert pack.slider is not None
    steps = next(
        steps for steps in range(pack.slider.last) if len(set(pack.slider.levels(steps).values()) & {*LEVELS}) > 1
    )
    made = export_build(path, tmp_path / "folder", "hf-aqlm", position=pack.slider.place(steps))
    view, folder = pack.at(steps), open_checkpoint(made.path)
    assert set(made.held) | set(made.plain) == set(view.linears())
    for name in made.held:
        ours, theirs = (reference.dequantize(one.linear(name)) for one in (view, folder))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


def test_predictions_never_rise_and_meet_what_was_measured() -> None:
    choices = {name: [Choice("a", 100, 0.4), Choice("b", 200, 0.1), Choice("c", 400, 0.01)] for name in ("x", "y", "z")}
    slider = order(choices, {"x": 3.0, "y": 1.0, "z": 0.2})
    anchors = [Anchor(0, 3.0, 9.0), Anchor(3, 0.9, 5.0), Anchor(slider.last, 0.02, 4.0)]
    found = predictions(slider, anchors)
    assert len(found) == slider.last + 1
    assert all(more <= less for less, more in pairwise(found))
    for anchor in anchors:
        assert found[anchor.steps] == pytest.approx(anchor.kl)
