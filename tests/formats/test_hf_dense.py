from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from tests.formats.hostile import hostile, sentence
from tests.formats.tiny_hf import CONFIG, weights, write_folder

pytestmark = pytest.mark.usefixtures("plain_packing")


def use_all(path: Path) -> None:
    """Reads everything that a checkpoint has."""
    checkpoint = open_checkpoint(path)
    for module in checkpoint.linears():
        checkpoint.linear(module)
    for name in checkpoint.arrays():
        checkpoint.array(name)
    checkpoint.tokenizer_files()


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder(tmp_path: Path, shards: int) -> None:
    tensors = weights()
    checkpoint: Checkpoint = open_checkpoint(write_folder(tmp_path / "m", tensors, shards=shards))
    assert checkpoint.kind == "hf"
    assert checkpoint.config == CONFIG
    matrices = {name.removesuffix(".weight") for name, array in tensors.items() if array.ndim == 2}
    assert set(checkpoint.linears()) == matrices
    assert set(checkpoint.arrays()) == {name for name, array in tensors.items() if array.ndim == 1}
    for module in matrices:
        packed = checkpoint.linear(module)
        assert packed.scheme == "f32"
        assert np.array_equal(packed.buffers["data"], tensors[module + ".weight"])
    for name in checkpoint.arrays():
        assert np.array_equal(checkpoint.array(name), tensors[name])
    assert checkpoint.has("lm_head")
    assert checkpoint.has("model.norm.weight")
    assert checkpoint.has("lm_head.weight")
    assert not checkpoint.has("model.layers.0.self_attn.q_proj.bias")
    assert not checkpoint.has("model.layers.2.self_attn.q_proj")


def test_the_config_or_a_file_of_weights_opens_the_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", weights())
    for path in (folder / "config.json", folder / "model.safetensors", str(folder)):
        assert open_checkpoint(path).has("lm_head")


@pytest.mark.parametrize(
    ("dtype", "wanted", "scheme"), [(np.float16, None, "f16"), (np.float32, "f16", "f16"), (np.float16, "f32", "f32")]
)
def test_schemes(tmp_path: Path, dtype: type, wanted: str | None, scheme: str) -> None:
    folder = write_folder(tmp_path / "m", weights(dtype=dtype))
    assert open_checkpoint(folder, dense_scheme=wanted).linear("lm_head").scheme == scheme


def test_a_scheme_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="q4"):
        open_checkpoint(write_folder(tmp_path / "m", weights()), dense_scheme="q4")


def test_bfloat16(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.from_numpy(array).bfloat16() for name, array in weights().items()}
    folder = write_folder(tmp_path / "m", {})
    save_file(tensors, folder / "model.safetensors")
    packed = open_checkpoint(folder).linear("lm_head")
    assert packed.scheme == "bf16"
    assert np.array_equal(packed.buffers["data"], tensors["lm_head.weight"].float().numpy())


def test_what_f16_cannot_hold_stays_f32(tmp_path: Path) -> None:
    tensors = weights()
    tensors["lm_head.weight"][0, 0] = -70000
    assert open_checkpoint(write_folder(tmp_path / "m", tensors), dense_scheme="f16").linear("lm_head").scheme == "f32"


def test_biases(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    bias = np.arange(64, dtype=np.float16)
    checkpoint = open_checkpoint(write_folder(tmp_path / "m", weights() | {name: bias}))
    assert np.array_equal(checkpoint.linear(name.removesuffix(".bias")).buffers["bias"], bias)
    assert np.array_equal(checkpoint.array(name), bias)
    assert name not in checkpoint.arrays()
    assert checkpoint.has(name)


def test_names_without_their_beginning(tmp_path: Path) -> None:
    tensors = {name.removeprefix("model."): array for name, array in weights().items()}
    checkpoint = open_checkpoint(write_folder(tmp_path / "m", tensors))
    assert checkpoint.has("model.layers.1.mlp.down_proj")
    assert checkpoint.has("lm_head")
    assert np.array_equal(checkpoint.array("model.norm.weight"), tensors["norm.weight"])


def test_tokenizer_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", weights())
    (folder / "tokenizer.json").write_bytes(b"{}")
    (folder / "README.md").write_bytes(b"no")
    assert open_checkpoint(folder).tokenizer_files() == {"tokenizer.json": b"{}"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["lm_head.weight", "model.norm.weight"])
def test_refuses_what_is_no_number(tmp_path: Path, name: str, value: float) -> None:
    tensors = weights()
    tensors[name].flat[-1] = value
    with pytest.raises(InvalidModelFileError, match="not numbers") as caught:
        use_all(write_folder(tmp_path / "m", tensors))
    sentence(caught.value)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("", "incomplete"),
        ("[]", "names and values"),
        ('{"a": 1, "a": 2}', "read"),
        ('{"quantization_config": 3}', "made smaller"),
        ('{"quantization_config": {"quant_method": 3}}', "made smaller"),
        ('{"quantization_config": {"quant_method": "gptq"}}', "gptq"),
        ('{"quantization_config": {"quant_method": "spqr", "bits": 4}}', "SpQR"),
        (" " * (5 << 20), "larger"),
    ],
)
def test_refuses_a_damaged_config(tmp_path: Path, config: str, word: str) -> None:
    folder = write_folder(tmp_path / "m", weights())
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=word) as caught:
        open_checkpoint(folder)
    sentence(caught.value)


def test_refuses_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelFileError) as caught:
        open_checkpoint(tmp_path)
    sentence(caught.value)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InvalidModelFileError):
        open_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(UnsupportedModelError, match="never read") as refused:
        open_checkpoint(tmp_path)
    sentence(refused.value)


def test_refuses_a_missing_shard(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", weights(), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InvalidModelFileError, match="00002") as caught:
        open_checkpoint(folder)
    sentence(caught.value)


def test_refuses_names_that_are_not_there(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_folder(tmp_path / "m", weights()))
    for read, name in (
        (checkpoint.array, "nothing"),
        (checkpoint.linear, "nothing"),
        (checkpoint.linear, "model.norm"),
    ):
        with pytest.raises(InvalidModelFileError) as caught:
            read(name)
        sentence(caught.value)


def test_refuses_a_bias_of_another_length(tmp_path: Path) -> None:
    tensors = weights() | {"lm_head.bias": np.zeros(5, np.float32)}
    with pytest.raises(InvalidModelFileError, match="bias"):
        use_all(write_folder(tmp_path / "m", tensors))


def test_refuses_whole_numbers_as_weights(tmp_path: Path) -> None:
    tensors: dict[str, Any] = weights() | {"lm_head.weight": np.zeros((96, 64), np.int8)}
    with pytest.raises(UnsupportedModelError) as caught:
        use_all(write_folder(tmp_path / "m", tensors))
    sentence(caught.value)


def test_500_damaged_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", weights(dtype=np.float16))
    accepted = hostile(folder / "model.safetensors", 500, 11, lambda _: use_all(folder))
    assert 5 < accepted < 400


def test_500_damaged_configs(tmp_path: Path) -> None:
    """`hostile` knows nothing of JSON files: flipped bits and cut ends here."""
    import random

    folder = write_folder(tmp_path / "m", weights())
    data = (folder / "config.json").read_bytes()
    rng = random.Random(12)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (folder / "config.json").write_bytes(damaged[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            open_checkpoint(folder)
        except (InvalidModelFileError, UnsupportedModelError) as error:
            sentence(error)
