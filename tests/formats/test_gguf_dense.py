from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats import gguf_config
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.gguf_dense import GgufCheckpoint, _dequantise
from backend.formats.gguf_header import TensorInfo
from backend.formats.gguf_names import to_hf
from backend.formats.gguf_tables import TENSOR_TYPES
from tests.formats.hostile import sentence
from tests.formats.mutate import mutations
from tests.formats.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.usefixtures("plain_packing")
QUANTISED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16", "F32"]
K_QUANTS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ2_XXS", "IQ3_S", "TQ1_0", "MXFP4"]


def _info(name: str, rows: int, width: int) -> TensorInfo:
    kind = gguf.GGMLQuantizationType[name]
    layout = TENSOR_TYPES[kind]
    elements = rows * width
    return TensorInfo("t", (width, rows), int(kind), 0, elements, elements // layout.block * layout.bytes)


@pytest.mark.parametrize("name", QUANTISED)
def test_types_that_can_be_written(name: str) -> None:
    numbers = np.random.default_rng(5).standard_normal((7, 256), np.float32)
    raw = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[name])
    found = _dequantise(np.ascontiguousarray(raw).view(np.uint8).reshape(-1), _info(name, 7, 256))
    assert found.shape == numbers.shape
    assert np.abs(found - numbers).max() < {"F32": 1e-9, "F16": 2e-3, "BF16": 2e-2, "Q8_0": 2e-2}.get(name, 0.4)


@pytest.mark.parametrize("name", K_QUANTS)
def test_types_that_can_only_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces and in one: the same numbers as the package gives, row by row."""
    monkeypatch.setattr("backend.formats.gguf_dense._CHUNK", 1024)
    info = _info(name, 9, 512)
    raw = np.random.default_rng(6).integers(0, 60, info.bytes).astype(np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw.reshape(9, -1), gguf.GGMLQuantizationType[name])
    assert np.array_equal(_dequantise(raw, info), expected, equal_nan=True)


@pytest.mark.parametrize("parts", [0, 5])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_same_numbers_as_transformers(tmp_path: Path, architecture: str, parts: int) -> None:
    """Names, row order of q and k, and settings, against the peer that reads such files too."""
    import torch
    from transformers import AutoModelForCausalLM

    whole = write_tiny_gguf(tmp_path / "tiny.gguf", architecture=architecture)
    peer = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file="tiny.gguf", dtype=torch.float32)
    path = whole
    if parts:
        write_tiny_gguf(tmp_path / "parts.gguf", architecture=architecture, split_max_tensors=parts)
        path = next(tmp_path.glob("parts-00001-of-*.gguf"))
    checkpoint: Checkpoint = open_checkpoint(path, dense_scheme="f32")
    state = {name: tensor.numpy() for name, tensor in peer.state_dict().items() if not name.endswith("_proj.bias")}
    for module in checkpoint.linears():
        packed = checkpoint.linear(module)
        assert packed.scheme == "f32"
        assert np.array_equal(packed.buffers["data"], state.pop(f"{module}.weight")), module
    for name in checkpoint.arrays():
        assert np.array_equal(checkpoint.array(name), state.pop(name)), name
    assert not state
    theirs = peer.config.to_dict()
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"):
        assert checkpoint.config[key] == theirs[key]
    for key in ("model_type", "vocab_size", "max_position_embeddings", "tie_word_embeddings"):
        assert checkpoint.config[key] == theirs[key]
    assert checkpoint.config["rms_norm_eps"] == pytest.approx(theirs["rms_norm_eps"])
    assert checkpoint.config["rope_theta"] == theirs["rope_parameters"]["rope_theta"]


def test_schemes(tiny_gguf: Path) -> None:
    assert open_checkpoint(tiny_gguf).linear("lm_head").scheme == "f16"
    assert open_checkpoint(tiny_gguf, dense_scheme="bf16").linear("lm_head").scheme == "bf16"
    assert open_checkpoint(tiny_gguf).tokenizer_files() == {}
    assert open_checkpoint(tiny_gguf).kind == "gguf"


def test_names() -> None:
    assert to_hf("blk.11.ffn_gate.weight") == "model.layers.11.mlp.gate_proj.weight"
    assert to_hf("blk.3.attn_k_norm.weight") == "model.layers.3.self_attn.k_norm.weight"
    assert to_hf("output.weight") == "lm_head.weight"
    for name in (
        "blk.01.attn_q.weight",
        "blk.1.output.weight",
        "attn_q.weight",
        "blk.1.attn_q.scale",
        "rope_freqs.weight",
    ):
        assert to_hf(name) is None


def _rope_factors(factor: float, original: int, theta: float = 500000.0, head_dim: int = 64) -> np.ndarray:
    """As in transformers' _compute_llama3_parameters: divisors of the frequencies."""
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        },
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    return (plain / scaled.numpy()).astype(np.float32)


@pytest.mark.parametrize(("factor", "original"), [(8.0, 8192), (32.0, 8192), (4.0, 16384)])
def test_llama3_scaling_comes_back_from_its_factors(factor: float, original: int) -> None:
    found = gguf_config.llama3_scaling(_rope_factors(factor, original), 500000.0, 64)
    assert found["rope_type"] == "llama3"
    assert found["factor"] == pytest.approx(factor, rel=1e-4)
    assert found["original_max_position_embeddings"] == original


def test_factors_that_are_not_llama3s() -> None:
    factors = np.linspace(1, 9, 32).astype(np.float32)
    found = gguf_config.llama3_scaling(factors, 500000.0, 64)
    assert found["rope_type"] == "longrope"
    assert found["long_factor"] == pytest.approx(factors.tolist())
    for wrong in (factors[:-1], factors - 2, factors * np.float32(np.nan)):
        with pytest.raises(InvalidModelFileError):
            gguf_config.llama3_scaling(wrong, 500000.0, 64)


def test_scaling_settings(tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 512,
    }
    path = write_tiny_gguf(tmp_path / "a.gguf", changes=changes)
    expected = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    assert GgufCheckpoint(path).config["rope_scaling"] == expected
    path = write_tiny_gguf(tmp_path / "b.gguf", changes=changes | {"llama.rope.scaling.type": "longrope"})
    with pytest.raises(UnsupportedModelError, match="longrope") as caught:
        open_checkpoint(path)
    sentence(caught.value)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"llama.expert_count": 8}, "experts"),
        ({"llama.attention.head_count": 0}, "makes no sense"),
        ({"llama.attention.head_count": 48}, "number of heads"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "makes no sense"),
        ({"llama.feed_forward_length": [128, 64]}, "differ"),
        ({"llama.rope.freq_base": -1.0}, "makes no sense"),
    ],
)
def test_refuses(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", changes=changes)
    with pytest.raises(ModelError) as caught:
        open_checkpoint(path).linear("model.layers.0.self_attn.q_proj")
    assert word in str(sentence(caught.value))


def test_refuses_other_architectures(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="mamba") as caught:
        open_checkpoint(write_tiny_gguf(tmp_path / "a.gguf", architecture="mamba"))
    sentence(caught.value)


def test_refuses_scales_that_are_no_numbers(tiny_gguf: Path, tmp_path: Path) -> None:
    checkpoint = GgufCheckpoint(tiny_gguf)
    raw, tensor = checkpoint._tensors["lm_head.weight"]
    damaged = raw.copy()
    damaged[-34:-32] = (0, 0x7E)  # the f16 scale of the last block of Q8_0
    checkpoint._tensors["lm_head.weight"] = (damaged, tensor)
    with pytest.raises(InvalidModelFileError, match="not numbers") as caught:
        checkpoint.linear("lm_head")
    sentence(caught.value)


def test_400_damaged_files(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "sound.gguf")
    path = tmp_path / "mutated.gguf"
    accepted = 0
    for number, data in enumerate(mutations(source, 400, 21)):
        path.write_bytes(data)
        try:
            checkpoint = open_checkpoint(path)
            for module in checkpoint.linears():
                checkpoint.linear(module)
            for name in checkpoint.arrays():
                checkpoint.array(name)
            accepted += 1
        except (InvalidModelFileError, UnsupportedModelError) as error:
            sentence(error)
        except Exception as error:
            raise AssertionError(f"mutation {number}") from error
    assert 10 < accepted < 300
