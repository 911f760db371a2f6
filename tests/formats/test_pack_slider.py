"""Packs with a slider: positions are views of one file; what contradicts itself is a sentence."""

from __future__ import annotations

import copy
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.api.errors import InvalidModelFileError, InvalidRequestError, ModelError, UnsupportedModelError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.describe import describe
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_slider import PackSlider, key_of
from backend.hub.builds import scheme_words
from tests.formats.hostile import hostile, sentence
from tests.formats.test_hf_dense import use_all
from tests.formats.test_pack import change

EVIL = [0, 1, -1, 1 << 31, 10**400, -0.5, 1e300, "x", "", "a@b", None, [], {}, True, float("nan"), float("inf")]


@pytest.fixture
def path(slider_pack: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.nutshell"
    path.write_bytes(slider_pack.read_bytes())
    return path


def slider_of(checkpoint: PackCheckpoint) -> PackSlider:
    assert checkpoint.slider is not None
    return checkpoint.slider


def test_positions_are_nested_and_their_sizes_rise(slider_pack: Path) -> None:
    pack = PackCheckpoint(slider_pack)
    slider = slider_of(pack)
    assert pack.steps == slider.default
    before: dict[str, str] = {}
    for steps in range(slider.last + 1):
        view = pack.at(steps)
        levels = slider.levels(steps)
        assert view.steps == steps
        assert set(view.linears()) == set(levels) == set(pack.linears())
        for module, level in levels.items():
            assert view.shape(module).scheme == level
            assert view.linear(module).scheme == level
        assert slider.bytes[steps] == sum(view.linear(module).nbytes for module in view.linears())
        assert slider.bytes[steps] == slider.size(slider.ranks(steps))
        if before:
            changed = [module for module in levels if levels[module] != before[module]]
            assert len(changed) == 1
        before = levels
    assert all(more > less for less, more in pairwise(slider.bytes))


def test_what_is_the_same_in_two_positions_is_the_same_object(slider_pack: Path) -> None:
    pack = PackCheckpoint(slider_pack)
    one, other = pack.at(3), pack.at(4)
    shared = [module for module in one.linears() if one.linear(module) is other.linear(module)]
    assert len(shared) == len(one.linears()) - 1
    for module in one.linears():
        for name, buffer in one.linear(module).buffers.items():
            assert not buffer.flags.owndata, (module, name)


def test_places_of_the_handle(slider_pack: Path) -> None:
    slider = slider_of(PackCheckpoint(slider_pack))
    assert (slider.steps(0.0), slider.steps(1.0), slider.steps(None)) == (0, slider.last, slider.default)
    for steps in range(slider.last + 1):
        assert slider.steps(slider.place(steps)) == steps
    half = slider.steps(0.5)
    middle = (slider.bytes[0] + slider.bytes[-1]) / 2
    assert slider.bytes[half] <= middle + 1 < slider.bytes[half + 1]
    for position in (-0.001, 1.001, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match="no position"):
            slider.steps(position)
    for steps in (-1, slider.last + 1):
        with pytest.raises(ValueError, match="upgrades"):
            PackCheckpoint(slider_pack).at(steps)


def test_a_position_is_chosen_when_the_file_is_opened(slider_pack: Path, tiny_pack: Path, tiny_gguf: Path) -> None:
    assert open_checkpoint(slider_pack, position=0.0).linear("model.embed_tokens").scheme == "q4"
    assert open_checkpoint(slider_pack, position=1.0).linear("model.embed_tokens").scheme == "f16"
    with pytest.raises(InvalidRequestError, match="no position"):
        open_checkpoint(slider_pack, position=1.5)
    for other in (tiny_pack, tiny_gguf):
        with pytest.raises(InvalidRequestError, match="no slider"):
            open_checkpoint(other, position=0.5)


def test_a_mixture_stands_in_for_its_prefix(path: Path) -> None:
    slider = slider_of(PackCheckpoint(path))
    ranks = tuple(reversed(slider.ranks(5)))
    value = slider.as_json() | {"mixtures": [[5, list(ranks), 0.2, 0.1]]}
    change(path, lambda header: header["__metadata__"].__setitem__("slider", json.dumps(value)))
    pack = PackCheckpoint(path)
    assert slider_of(pack).ranks(5) == ranks
    assert slider_of(pack).ranks(6) == slider.ranks(6)
    view, schemes = pack.at(5), list(slider.ladders.values())
    assert [view.linear(module).scheme for module in slider.ladders] == [
        ladder[rank] for ladder, rank in zip(schemes, ranks, strict=True)
    ]
    free = pack.mixed([0] * len(ranks))
    assert {free.linear(module).scheme for module in free.linears()} == {"q4"}


def test_what_is_written_comes_back(path: Path) -> None:
    slider = slider_of(PackCheckpoint(path))
    change(path, lambda header: header["__metadata__"].__setitem__("slider", json.dumps(slider.as_json())))
    again = slider_of(PackCheckpoint(path))
    assert again.order == slider.order
    assert again.anchors == slider.anchors
    np.testing.assert_allclose(again.kl, slider.kl, rtol=1e-3)


def test_a_list_of_models_shows_it(slider_pack: Path) -> None:
    shown = describe(slider_pack)
    assert shown.scheme == "slider"
    pack = PackCheckpoint(slider_pack, data=False)
    shapes = [pack.shape(module) for module in pack.linears()]
    assert shown.parameters == sum(shape.out_features * shape.in_features for shape in shapes)
    assert shown.bits == tuple(8 * slider_of(pack).bytes[end] / shown.parameters for end in (0, -1))
    assert scheme_words(shown).startswith("slider from 4.8 to 16.6 ")  # small matrices are padded
    assert scheme_words(shown).endswith("bits per weight, data-free")


def test_an_older_program_says_that_it_is_newer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.formats.pack.VERSION", 3)
    with pytest.raises(UnsupportedModelError, match="newer version"):
        PackCheckpoint(path)


def _set(*place: Any, value: Any) -> Any:
    def edit(slider: dict[str, Any]) -> None:
        at: Any = slider
        for key in place[:-1]:
            at = at[list(at)[key]] if isinstance(at, dict) and isinstance(key, int) else at[key]
        if callable(value):
            value(at)
        else:
            at[place[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _set("order", 0, value=10_000),
        _set("order", 0, value=-1),
        _set("order", 0, value=1.0),
        _set("order", 0, value=True),
        _set("order", None, value=lambda order: order.pop()),
        _set("order", None, value=lambda order: order.append(0)),
        _set("modules", 0, 1, None, value=lambda rungs: rungs.pop()),
        _set("modules", 0, 1, None, value=lambda rungs: rungs.reverse()),
        _set("modules", 0, 1, 0, 0, value="q5"),
        _set("modules", 0, 1, value=[]),
        _set("modules", 0, 0, value=float("nan")),
        _set("modules", 0, 1, 0, 1, value=-1),
        _set("modules", None, value=lambda modules: modules.popitem()),
        _set("modules", "more", value=[1.0, [["q4", 0.1]]]),
        _set("modules", value=[]),
        _set("kl", 0, value=float("inf")),
        _set("kl", 3, value=9.0),
        _set("kl", None, value=lambda kl: kl.pop()),
        _set("anchors", 0, 0, value=1 << 20),
        _set("anchors", None, value=lambda anchors: anchors.reverse()),
        _set("anchors", 0, 1, value="0.1"),
        _set("mixtures", value=[[0, [0], 0.1, 0.1]]),
        _set("mixtures", value=[[10_000, [0] * 16, 0.1, 0.1]]),
        _set("mixtures", value=[[0, [9] * 16, 0.1, 0.1]]),
        _set("default", value=10_000),
        _set("default", value=None),
        _set("perplexity", value=10**400),
        lambda slider: slider.clear(),
    ],
)
def test_refuses(path: Path, edit: Any) -> None:
    value = json.loads(json.dumps(slider_of(PackCheckpoint(path)).as_json()))
    edit(value)
    change(path, lambda header: header["__metadata__"].__setitem__("slider", json.dumps(value)))
    with pytest.raises(InvalidModelFileError) as caught:
        PackCheckpoint(path)
    assert "slider" in str(sentence(caught.value)) or "read" in str(caught.value), caught.value


def test_refuses_levels_without_a_slider_and_of_other_shapes(path: Path) -> None:
    whole = path.read_bytes()
    change(path, lambda header: header["__metadata__"].pop("slider"))
    with pytest.raises(InvalidModelFileError, match="no slider"):
        PackCheckpoint(path)
    path.write_bytes(whole)

    def widen(header: dict[str, Any]) -> None:  # another linear's smallest level in the place of this one's
        texts = json.loads(header["__metadata__"]["linears"])
        one = key_of("model.layers.0.self_attn.q_proj", "q4")
        other = key_of("model.layers.0.mlp.up_proj", "q4")
        texts[one], texts[other] = texts[other], texts[one]
        header["__metadata__"]["linears"] = json.dumps(texts)
        for name in [name for name in header if name.startswith((f"linear/{one}/", f"linear/{other}/"))]:
            key = one if f"linear/{one}/" in name else other
            header["\n" + name.replace(key, other if key == one else one)] = header.pop(name)
        for name in [name for name in header if name.startswith("\n")]:
            header[name[1:]] = header.pop(name)

    change(path, widen)
    with pytest.raises(InvalidModelFileError, match="contradicts itself"):
        PackCheckpoint(path)


def test_500_sliders_that_say_something_else(path: Path) -> None:
    """Whatever a header says: a sentence, or positions that all lead to linears of their file."""
    dice, whole = random.Random(7), path.read_bytes()
    sound = slider_of(PackCheckpoint(path)).as_json()
    taken = 0
    for _ in range(500):
        value = copy.deepcopy(sound)
        at: Any = value
        while True:  # down to a leaf, or stop on the way
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = dice.choice(keys)
            if not isinstance(at[key], dict | list) or not at[key] or dice.random() < 0.2:
                break
            at = at[key]
        at[key] = copy.deepcopy(dice.choice(EVIL))
        path.write_bytes(whole)
        text = json.dumps(value)
        change(path, lambda header, text=text: header["__metadata__"].__setitem__("slider", text))  # type: ignore[misc]
        try:
            pack = PackCheckpoint(path, data=False)
        except ModelError as error:
            sentence(error)
            continue
        taken += 1
        slider = slider_of(pack)
        for steps in {0, slider.default, slider.last, *(one.steps for one in slider.anchors), *slider.mixtures}:
            assert len([pack.at(steps).shape(module) for module in pack.linears()]) == len(slider.ladders)
    assert 0 < taken < 400


def test_500_damaged_files(slider_pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.nutshell"
    path.write_bytes(slider_pack.read_bytes())
    assert 0 < hostile(path, 500, 52, use_all) < 450
