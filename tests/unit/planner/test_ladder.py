"""The way from fast to best: which builds are one model, which of them are on the way, and in which order."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.plan_schemas import LadderStop, ModelPlan
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry, ModelSlider, Sampling, SliderPoint
from backend.formats.pack import PackCheckpoint
from backend.hub.local import LocalModels
from backend.planner.ladder import base_name, ladder, on_the_way
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.quality import expected_loss
from backend.planner.speed import Rates
from backend.planner.subject import subject_of_file
from tests.formats.tiny_gguf import write_tiny_gguf
from tests.packs import write_rounded_pack, write_slider_pack

ROOMY = Machine(cores=2, memory_total=1 << 40, memory_free=1 << 40, rates=Rates(ram=10e9, fixed=0.0))


def _stop(tokens: float, loss: float, *, fits: bool = True, ram: int = 1) -> LadderStop:
    made = ModelPlan(name="m", verdict="fits" if fits else "does not fit", tokens=tokens, ram=ram)
    return LadderStop(
        load=LoadModel(), plan=made, scheme="q4", engine="native", bytes=1, loss=loss, measured=False, fits=fits
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf", "qwen2.5-coder-1.5b-instruct"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("Llama-3.1-8B-Instruct-UD-Q2_K_XL.gguf", "Llama-3.1-8B-Instruct-bf16.gguf"),
        ("gemma-2-9b-it.i1-IQ3_XXS.gguf", "gemma-2-9b-it-fp16.gguf"),
        ("Llama-2-7b-AQLM-2Bit-1x16-hf", "Llama-2-7b"),
    ],
)
def test_a_name_without_its_type(one: str, other: str) -> None:
    assert base_name(one) == base_name(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf", "Qwen2.5-1.5B-Instruct-Q4_K_M.gguf"),
        ("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf", "Qwen2.5-Coder-1.5B-Q4_K_M.gguf"),
        ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Qwen2.5-72B-Instruct-Q4_K_M.gguf"),
        ("q4.gguf", "q8.gguf"),  # nothing but a type is no name of a model
    ],
)
def test_other_models_have_other_names(one: str, other: str) -> None:
    assert base_name(one) != base_name(other)


@given(st.lists(st.tuples(st.floats(0.1, 500), st.floats(0, 2), st.booleans(), st.integers(1, 9)), max_size=30))
def test_what_is_slower_is_better(found: list[tuple[float, float, bool, int]]) -> None:
    stops = [_stop(tokens, loss, fits=fits, ram=ram) for tokens, loss, fits, ram in found]
    way = on_the_way(stops)
    good = [one for one in way if one.fits]
    assert way[: len(good)] == good, "those that do not fit stand at the end"
    assert all(a.plan.tokens >= b.plan.tokens and a.loss > b.loss for a, b in pairwise(good))
    fitting = [one for one in stops if one.fits]
    assert bool(good) == bool(fitting)
    for one in fitting:  # whatever was left out is neither faster nor better than something that stayed
        assert any(kept.plan.tokens >= one.plan.tokens and kept.loss <= one.loss for kept in good)
    best = min((one.loss for one in good), default=math.inf)
    assert all(one.loss < best for one in way[len(good) :])
    assert len(way) - len(good) <= 3


def test_what_is_loaded_stays_on_the_way() -> None:
    worse = _stop(10, 0.3)
    assert on_the_way([_stop(20, 0.1), worse]) != [worse]
    assert on_the_way([_stop(20, 0.1), worse], keep=worse)[-1] is worse
    beyond = _stop(10, 0.3, fits=False)
    assert on_the_way([_stop(20, 0.1), beyond], keep=beyond)[-1] is beyond


def test_fewer_bits_lose_more() -> None:
    bits = [1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 8.0, 16.0]
    losses = [expected_loss(one) for one in bits]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == 0.35
    assert losses[-1] == 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model as GGUF, with 8 and 4 bits and with a slider, and another model of the same sizes."""
    folder = tmp_path_factory.mktemp("builds")
    source = write_tiny_gguf(folder / "Tiny-1M-Chat-F32.gguf")
    for scheme in ("q8", "q4"):
        write_rounded_pack(source, folder / f"mine-{scheme}.nutshell", scheme, name=f"Mine {scheme}")
    write_slider_pack(source, folder / "mine-slider.nutshell")
    shutil.copyfile(source, folder / "Other-1M-Chat-F32.gguf")
    return folder


class TestFiles:
    def entries(self, folder: Path) -> dict[str, ModelEntry]:
        models = LocalModels(builtin=None, extra=[folder], env={}, home=folder / "nobody")
        return {Path(one.path).name: one for one in models.scan()}

    def loaded(self, entry: ModelEntry, slider: ModelSlider | None = None) -> LoadedModel:
        kv = "" if entry.path.endswith(".gguf") else "f16"
        return LoadedModel(
            entry=entry, n_ctx=512, n_threads=2, n_gpu_layers=0, n_vocab=283, weight_bytes=entry.bytes, kv_bytes=0,
            load_s=0.1, sampling=Sampling(), kv=kv, slider=slider,  # type: ignore[arg-type]
        )  # fmt: skip

    def names(self, stops: list[LadderStop]) -> list[str]:
        return [Path(one.load.path or "").name for one in stops]

    def test_builds_of_one_model_and_of_no_other(self, folder: Path) -> None:
        entries = self.entries(folder)
        found = ladder(self.loaded(entries["mine-q8.nutshell"]), entries.values(), ROOMY)
        names = self.names(found.stops)
        assert found.path == entries["mine-q8.nutshell"].path
        assert found.model == "Tiny-1M-Chat", "that of the file it was made from"
        assert names[found.own] == "mine-q8.nutshell"
        assert "mine-q4.nutshell" in names
        assert "Other-1M-Chat-F32.gguf" not in names
        assert names.index("mine-q4.nutshell") < found.own, "fewer bytes are faster"
        alone = ladder(self.loaded(entries["Other-1M-Chat-F32.gguf"]), entries.values(), ROOMY)
        assert (self.names(alone.stops), alone.own) == (["Other-1M-Chat-F32.gguf"], 0)

    def test_a_slider_has_a_stop_at_each_measured_place(self, folder: Path) -> None:
        entries = self.entries(folder)
        q4 = entries["mine-q4.nutshell"]
        found = ladder(self.loaded(q4), [q4, entries["mine-slider.nutshell"]], ROOMY)
        places = [one.load.position for one in found.stops if one.scheme == "slider"]
        assert places == [0.0, 1.0] or places == [1.0], "its first place has 0.5 nats and may be passed by another"
        last = found.stops[-1]
        assert (last.loss, last.measured, last.load.position) == (0.01, True, 1.0)
        pack = PackCheckpoint(Path(entries["mine-slider.nutshell"].path), data=False)
        assert pack.slider is not None
        weights = subject_of_file(pack.path).weights.total
        assert last.bytes == pytest.approx(weights + pack.slider.bytes[-1] - pack.slider.bytes[pack.steps], rel=1e-3)
        pack.close()

    def test_the_loaded_slider_stands_where_it_was_moved(self, folder: Path) -> None:
        entries = self.entries(folder)
        entry = entries["mine-slider.nutshell"]
        pack = PackCheckpoint(Path(entry.path), data=False)
        assert pack.slider is not None
        sizes = pack.slider.bytes
        pack.close()
        points = [
            SliderPoint(place=0.0, bytes=sizes[0], kl=0.5, tok_s=9, measured=True),
            SliderPoint(place=1.0, bytes=sizes[-1], kl=0.01, tok_s=5, measured=True),
        ]
        for position, loss in ((0.0, 0.5), (1.0, 0.01)):
            moved = self.loaded(entry, ModelSlider(position=position, default=0.0, points=points))
            found = ladder(moved, entries.values(), ROOMY)
            own = found.stops[found.own]
            assert (own.load.position, own.loss, own.measured) == (position, loss, True)
            assert [one.scheme for one in found.stops].count("slider") == 1

    def test_with_less_memory_settings_move_with_the_build(self, folder: Path) -> None:
        entries = self.entries(folder)
        q8 = entries["mine-q8.nutshell"]
        subject = subject_of_file(Path(q8.path))
        full, half = (plan(subject, ROOMY, Wishes(kv=kv)).memory.total for kv in ("f16", "q8"))  # type: ignore[arg-type]
        tight = replace(ROOMY, memory_free=round((full + half) / 2 * 1.05))
        found = ladder(self.loaded(entries["mine-q4.nutshell"]), entries.values(), tight)
        one = next(stop for stop in found.stops if stop.load.path == q8.path)
        assert one.fits
        assert one.plan.verdict == "fits if"
        assert one.load.kv == "q8"
        assert one.load.n_ctx == one.plan.context

    def test_a_draft_that_every_build_would_have_moves_along(self, folder: Path) -> None:
        entries = self.entries(folder)
        q4, q8 = entries["mine-q4.nutshell"], entries["mine-q8.nutshell"]
        usual = LoadModel(draft_model=q4.path, kv="q8", n_ctx=64)
        found = ladder(self.loaded(q8), entries.values(), ROOMY, usual=usual)
        assert all(one.plan.draft and one.load.draft_model == q4.path for one in found.stops)
        assert {one.load.kv for one in found.stops} == {"f16"}, "the rest is as the model is loaded"
        off = ladder(self.loaded(q8), entries.values(), ROOMY, usual=LoadModel(draft_model=q4.path, speculation="off"))
        assert not any(one.plan.draft for one in off.stops)
        whole = max(one.plan.ram for one in found.stops if one.fits)
        tight = ladder(self.loaded(q8), entries.values(), replace(ROOMY, memory_free=whole), usual=usual)
        last = tight.stops[[one.plan.ram for one in tight.stops].index(max(one.plan.ram for one in tight.stops))]
        assert (last.load.draft_model, last.plan.draft) == ("none", "")

    def test_what_does_not_fit_is_at_the_end_and_says_what_would(self, folder: Path) -> None:
        entries = self.entries(folder)
        small = replace(ROOMY, memory_free=1, memory_total=1)
        found = ladder(self.loaded(entries["mine-q4.nutshell"]), entries.values(), small)
        assert found.stops
        assert not any(one.fits for one in found.stops)
        assert all(one.plan.remedies for one in found.stops)

    def test_a_file_that_is_gone_hides_nothing(self, folder: Path, tmp_path: Path) -> None:
        entries = self.entries(folder)
        gone = replace_path(entries["mine-q4.nutshell"], tmp_path / "gone.nutshell")
        q8 = entries["mine-q8.nutshell"]
        assert self.names(ladder(self.loaded(q8), [gone, q8], ROOMY).stops) == ["mine-q8.nutshell"]
        nothing = ladder(self.loaded(gone), [q8], ROOMY)
        assert (nothing.stops, nothing.own) == ([], -1)


def replace_path(entry: ModelEntry, path: Path) -> ModelEntry:
    from msgspec import structs

    return structs.replace(entry, path=str(path))
