from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.hf_aqlm import unsigned_codes
from backend.formats.hf_aqlm_writer import signed_codes, write_hf_aqlm
from backend.formats.packing import packer
from kernels.packed import PackedLinear
from tests.formats import plain_packing
from tests.formats.hostile import hostile, sentence
from tests.formats.test_hf_dense import use_all
from tests.formats.tiny_hf import CONFIG, SQUARE, weights, write_folder

pytestmark = pytest.mark.usefixtures("plain_packing")
MODULE = "model.layers.0.self_attn.q_proj"


def quantised(shape: tuple[int, int], count: int, bits: int, group: int, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Random AQLM tensors of a linear as upstream stores them."""
    rng = np.random.default_rng(seed)
    out, columns = shape
    codes = rng.integers(0, 1 << bits, (out, columns // group, count))
    codes[0, 0] = (1 << bits) - 1
    return {
        "codes": np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes).astype(
            np.int8 if bits <= 8 else np.int16
        ),
        "codebooks": (rng.standard_normal((count, 1 << bits, 1, group)) / 8).astype(np.float16),
        "scales": (1 + rng.random((out, 1, 1, 1))).astype(np.float16),
    }


def decode(tensors: dict[str, npt.NDArray[Any]], bits: int) -> npt.NDArray[np.float32]:
    """The formula of hf_aqlm.md, one weight group after another."""
    codes, books, scales = (tensors[name] for name in ("codes", "codebooks", "scales"))
    rows = []
    for o in range(len(codes)):
        groups = [sum(books[k, int(c) % (1 << bits), 0].astype(np.float32) for k, c in enumerate(g)) for g in codes[o]]
        rows.append(np.concatenate(groups) * np.float32(scales[o, 0, 0, 0]))
    return np.stack(rows)


def folder_of(path: Path, tensors: dict[str, npt.NDArray[Any]], config: dict[str, Any] | None = None) -> Path:
    plain = weights(dtype=np.float16)
    plain.pop(MODULE + ".weight")
    settings = {"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 1, "nbits_per_codebook": 16}
    made = {**CONFIG, "quantization_config": settings} if config is None else config
    return write_folder(path, plain | {f"{MODULE}.{name}": array for name, array in tensors.items()}, made)


@pytest.mark.parametrize(
    ("count", "bits", "group"),
    [(1, 8, 8), (2, 8, 8), (3, 8, 8), (2, 8, 16), (1, 16, 8), (2, 12, 8), (1, 15, 16), (4, 5, 8)],
)
def test_shapes_decide(tmp_path: Path, count: int, bits: int, group: int) -> None:
    """The settings of the folder say 1x16, whatever the tensors are."""
    tensors = quantised((64, 64), count, bits, group)
    checkpoint = open_checkpoint(folder_of(tmp_path / "m", tensors))
    packed = checkpoint.linear(MODULE)
    assert packed.scheme == "aqlm"
    assert packed.parameters == {"num_codebooks": count, "nbits_per_codebook": bits, "in_group_size": group}
    assert (packed.out_features, packed.in_features) == (64, 64)
    assert np.allclose(plain_packing._dequantize(packed), decode(tensors, bits), rtol=1e-6)
    assert checkpoint.linear("lm_head").scheme == "f16"
    assert MODULE in checkpoint.linears()
    assert not any(name.startswith(MODULE) for name in checkpoint.arrays())
    assert checkpoint.has(MODULE)
    assert checkpoint.has(MODULE + ".weight")


@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_and_back(bits: int) -> None:
    codes = np.arange(1 << bits).reshape(-1, 1, 1)
    stored = signed_codes(codes, bits)
    assert stored.dtype == (np.int8 if bits <= 8 else np.int16)
    assert np.array_equal(unsigned_codes(stored, bits, ""), codes)
    wide = stored.astype(np.int32)
    assert np.array_equal(unsigned_codes(wide, bits, ""), codes)


def test_codes_that_upstreams_cpu_pass_turned_round(tmp_path: Path) -> None:
    tensors = quantised((64, 32), 2, 8, 8)
    turned = tensors | {"codes": np.ascontiguousarray(tensors["codes"].transpose(1, 0, 2))}
    packed = open_checkpoint(folder_of(tmp_path / "m", turned)).linear(MODULE)
    assert np.allclose(plain_packing._dequantize(packed), decode(tensors, 8), rtol=1e-6)


def test_early_repositories(tmp_path: Path) -> None:
    config = {**CONFIG, "model_type": "llama_aqlm", "auto_map": {"a": "b"}, "aqlm": {"nbits_per_codebook": 8}}
    checkpoint = open_checkpoint(folder_of(tmp_path / "m", quantised((64, 64), 2, 8, 8), config))
    assert checkpoint.config["model_type"] == "llama"
    assert "auto_map" not in checkpoint.config
    assert checkpoint.linear(MODULE).scheme == "aqlm"


def test_bfloat16_codebooks(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = quantised((64, 64), 2, 8, 8)
    folder = folder_of(tmp_path / "m", tensors)
    torches = {f"{MODULE}.{name}": torch.from_numpy(array) for name, array in tensors.items()}
    for name in ("codebooks", "scales"):
        torches[f"{MODULE}.{name}"] = torches[f"{MODULE}.{name}"].bfloat16()
    save_file(torches, folder / "model.safetensors")
    packed = open_checkpoint(folder).linear(MODULE)
    assert np.array_equal(packed.buffers["codebooks"], torches[MODULE + ".codebooks"].float().numpy()[:, :, 0])


def _changed(name: str, change: Any) -> dict[str, npt.NDArray[Any]]:
    tensors = quantised((64, 64), 2, 8, 8)
    return tensors | {name: change(tensors[name])}


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        (_changed("codes", lambda a: a[:63]), "contradict"),
        (_changed("codes", lambda a: a[:, :, :1]), "contradict"),
        (_changed("codes", lambda a: a[:, :0]), "contradict"),
        (_changed("codes", lambda a: a.reshape(-1)), "contradict"),
        (_changed("codebooks", lambda a: a[:, :200]), "contradict"),
        (_changed("codebooks", lambda a: a[:, :1]), "contradict"),
        (_changed("codebooks", lambda a: a[:0]), "contradict"),
        (_changed("codebooks", lambda a: a[:, :, 0]), "contradict"),
        (_changed("codebooks", lambda a: np.repeat(a, 2, axis=2)), "2 x 8"),
        (_changed("codebooks", lambda a: a[..., :4]), "1 x 4"),
        (_changed("scales", lambda a: a[:0]), "contradict"),
        (_changed("scales", lambda a: a.reshape(1, 64, 1, 1)), "contradict"),
        (_changed("codes", lambda a: a.astype(np.float32)), "whole numbers"),
        (_changed("codebooks", lambda a: a.astype(np.int16)), "I16"),
        (_changed("codebooks", lambda a: a * np.float16(np.nan)), "not numbers"),
        (_changed("scales", lambda a: a + np.float16(np.inf)), "not numbers"),
        (_changed("scales", lambda a: a * np.float32(1e6)), "too large"),
        (quantised((64, 64), 1, 12, 8) | {"codes": np.full((64, 8, 1), 4096, np.int16)}, "behind their tables"),
        (quantised((64, 64), 1, 12, 8) | {"codes": np.full((64, 8, 1), -2049, np.int16)}, "behind their tables"),
        (quantised((64, 64), 1, 12, 8) | {"codes": np.zeros((64, 8, 1), np.int8)}, "contradict"),
        ({"codes": quantised((64, 64), 1, 8, 8)["codes"]}, "lack"),
        (quantised((64, 64), 1, 8, 8) | {"bias": np.zeros(5, np.float16)}, "bias"),
    ],
)
def test_refuses(tmp_path: Path, tensors: dict[str, npt.NDArray[Any]], word: str) -> None:
    path = folder_of(tmp_path / "m", {name: np.ascontiguousarray(array) for name, array in tensors.items()})
    checkpoint = open_checkpoint(path)
    with pytest.raises(ModelError) as caught:
        checkpoint.linear(MODULE)
    assert isinstance(caught.value, InvalidModelFileError | UnsupportedModelError)
    assert word in str(sentence(caught.value)), caught.value.details


def test_500_damaged_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", quantised((64, 64), 2, 12, 8) | {"bias": np.ones(64, np.float16)})
    assert 5 < hostile(folder / "model.safetensors", 500, 31, lambda _: use_all(folder)) < 400


def _model(
    count: int, bits: int, group: int, config: dict[str, Any] = CONFIG
) -> tuple[list[tuple[str, PackedLinear]], dict[str, npt.NDArray[np.float32]]]:
    """A tiny llama whose blocks are AQLM: its linears, and its weights dequantised."""
    plain = weights(3, config=config)
    linears = []
    for number, (name, array) in enumerate(plain.items()):
        if array.ndim != 2:
            plain[name] = array.astype(np.float16).astype(np.float32)
            continue
        module = name.removesuffix(".weight")
        if ".layers." not in name:
            plain[name] = array.astype(np.float16).astype(np.float32)
            linears.append((module, packer("dense").pack(plain[name], "f32", bias=None)))
            continue
        # every second layer has another number of codebooks where `count` is 0
        tensors = quantised(array.shape, count or 1 + number % 2, bits, group, number)
        codes = unsigned_codes(tensors["codes"], bits, "")
        packed = packer("aqlm").pack(codes, tensors["codebooks"][:, :, 0], tensors["scales"].reshape(-1))
        linears.append((module, packed))
        plain[name] = decode(tensors, bits)
    return linears, plain


def _arrays(plain: dict[str, npt.NDArray[np.float32]]) -> list[tuple[str, npt.NDArray[np.float32]]]:
    return [(name, array) for name, array in plain.items() if array.ndim == 1]


@pytest.mark.parametrize(("count", "bits", "group"), [(2, 8, 8), (0, 8, 8), (1, 12, 16)])
def test_reads_what_it_writes(tmp_path: Path, count: int, bits: int, group: int) -> None:
    linears, plain = _model(count, bits, group)
    write_hf_aqlm(tmp_path / "m", CONFIG, linears, _arrays(plain), {"tokenizer.json": b"{}"}, shard_bytes=20_000)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 2
    checkpoint = open_checkpoint(tmp_path / "m")
    assert set(checkpoint.linears()) == {module for module, _ in linears}
    for module, packed in linears:
        found = checkpoint.linear(module)
        assert found.parameters == packed.parameters
        assert np.allclose(plain_packing._dequantize(found), plain[module + ".weight"], rtol=1e-6)
    for name, array in _arrays(plain):
        assert np.array_equal(checkpoint.array(name), array)
    assert checkpoint.tokenizer_files() == {"tokenizer.json": b"{}"}
    settings = checkpoint.config["quantization_config"]
    assert settings["nbits_per_codebook"] == bits
    assert settings["in_group_size"] == group
    assert {"lm_head", "lm_head.weight", "model.norm.weight"} <= set(settings["linear_weights_not_to_quantize"])


@pytest.mark.parametrize(("count", "bits"), [(1, 8), (2, 8), (1, 12)])
def test_transformers_computes_the_same(tmp_path: Path, count: int, bits: int) -> None:
    """The folder loads in transformers with the package `aqlm`; its logits are those of the dequantised weights."""
    pytest.importorskip("aqlm")
    pytest.importorskip("accelerate")
    numba = pytest.importorskip("numba")
    pytest.importorskip("scipy")  # numba multiplies matrices by it
    import torch
    from transformers import AutoModelForCausalLM

    linears, plain = _model(count, bits, 8, SQUARE)
    write_hf_aqlm(tmp_path / "aqlm", SQUARE, linears, _arrays(plain), {})
    write_folder(tmp_path / "plain", plain, SQUARE)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # its loop for 256 entries adds to shared sums without a lock
    try:
        tokens = torch.arange(1, 10)[None]
        with torch.no_grad():
            ours = AutoModelForCausalLM.from_pretrained(tmp_path / "aqlm", dtype=torch.float32)
            assert type(ours.model.layers[0].mlp.up_proj).__name__ == "QuantizedLinear"
            assert type(ours.lm_head).__name__ == "Linear"
            found = ours(tokens).logits
            expected = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype=torch.float32)(tokens).logits
    finally:
        numba.set_num_threads(threads)
    assert float(expected.abs().max()) > 0.3
    assert float((found - expected).abs().max()) < 1e-4


def test_a_head_of_its_own_is_not_tied(tmp_path: Path) -> None:
    linears, plain = _model(2, 8, 8)
    write_hf_aqlm(tmp_path / "a", {**CONFIG, "tie_word_embeddings": True}, linears, _arrays(plain), {})
    assert json.loads((tmp_path / "a" / "config.json").read_text())["tie_word_embeddings"] is False
    without = [linear for linear in linears if linear[0] != "lm_head"]
    write_hf_aqlm(tmp_path / "b", {**CONFIG, "tie_word_embeddings": True}, without, _arrays(plain), {})
    assert json.loads((tmp_path / "b" / "config.json").read_text())["tie_word_embeddings"] is True
