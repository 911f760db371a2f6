"""Tensors under the names that checkpoints have for them, and their shapes."""

from __future__ import annotations

import numpy as np
import pytest

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.architectures import ARCHITECTURES, build
from kernels.program import Embed, Linears, Output, Program
from tests.unit.architectures.checkpoints import Tensors, random_tensors


def renamed(tensors: Tensors, old: str, new: str) -> Tensors:
    return Tensors(tensors.config, {name.replace(old, new, 1): value for name, value in tensors.state.items()})


def head_and_table(program: Program) -> tuple[object, object]:
    first, last = program.steps[0], program.steps[-1]
    assert isinstance(first, Embed)
    assert isinstance(last, Output)
    return last.head, first.table


@pytest.mark.parametrize("prefix", ["", "model.model."])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_prefixes(model_type: str, prefix: str) -> None:
    tensors = random_tensors(model_type)
    steps = build(tensors).program.steps
    other = build(renamed(tensors, "model.", prefix)).program.steps
    assert [type(step) for step in other] == [type(step) for step in steps]


@pytest.mark.parametrize("tied", [False, True])
def test_without_a_head_the_embedding_is_the_head(tied: bool) -> None:
    tensors = random_tensors("llama", tie_word_embeddings=tied)
    head, table = head_and_table(build(tensors).program)
    assert head is not table  # a head of its own counts, also where the config says that they are one
    del tensors.state["lm_head.weight"]
    head, table = head_and_table(build(tensors).program)
    assert head is table


def test_stored_frequencies_are_ignored() -> None:
    tensors = random_tensors("llama")
    tensors.state["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(5, np.float32)
    build(tensors)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.sinks", (4,)),
        ("model.layers.3.mlp.up_proj.weight", (75, 40)),
        ("model.layers.1.self_attn.q_norm.weight", (10,)),
    ],
)
def test_a_tensor_that_nothing_uses_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    tensors = random_tensors("llama")
    tensors.state[name] = np.ones(shape, np.float32)
    with pytest.raises(UnsupportedModelError) as caught:
        build(tensors)
    assert name.removesuffix(".weight") in caught.value.why


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_missing_tensor_is_named(model_type: str) -> None:
    whole = random_tensors(model_type)
    for name in whole.state:
        if name == "lm_head.weight":
            continue
        with pytest.raises(InvalidModelFileError) as caught:
            build(Tensors(whole.config, {other: value for other, value in whole.state.items() if other != name}))
        assert caught.value.why == f"The tensor {name} is missing."


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_wrong_shape_is_named(model_type: str) -> None:
    whole = random_tensors(model_type)
    for name, value in whole.state.items():
        if name.endswith(".bias"):  # a linear is made with its bias: whoever makes it checks
            continue
        bias = name.replace(".weight", ".bias")
        cut = {name: value[:-1]} | ({bias: whole.state[bias][:-1]} if bias in whole.state else {})
        with pytest.raises(InvalidModelFileError) as caught:
            build(Tensors(whole.config, whole.state | cut))
        assert f"The tensor {name} has the shape {value[:-1].shape}" in caught.value.why
        if value.ndim == 2:
            with pytest.raises(InvalidModelFileError):
                build(Tensors(whole.config, whole.state | {name: value[:, 1:]}))


def test_a_bias_that_the_config_does_not_announce() -> None:
    tensors = random_tensors("llama")
    name = "model.layers.1.mlp.up_proj"
    tensors.state[name + ".bias"] = np.zeros(75, np.float32)
    biases = [
        "bias" in weight.buffers
        for step in build(tensors).program.steps
        if isinstance(step, Linears)
        for weight in step.weights
    ]
    assert not any(biases)  # zeros change nothing
    tensors.state[name + ".bias"] = np.ones(75, np.float32)
    with pytest.raises(UnsupportedModelError) as caught:
        build(tensors)
    assert f"{name}.bias" in caught.value.why
