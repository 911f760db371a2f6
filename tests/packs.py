"""Small builds for tests: rounded to nearest, or with random codes; no compression method stands behind them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backend.engine.tokenizing import gguf_tokenizer_files
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.hf_aqlm_writer import write_hf_aqlm
from backend.formats.pack_slider import Anchor, PackSlider, key_of
from backend.formats.pack_writer import write_pack
from kernels.packed import PackedLinear
from kernels.reference import dequantize

GROUP = 64


def write_rounded_pack(source: Path, path: Path, scheme: str, *, name: str = "Rounded") -> Path:
    """A GGUF file or a folder as a pack whose linears are all `scheme` (q8, q4, f16, f32)."""
    checkpoint = open_checkpoint(source, dense_scheme="f32")
    try:
        write_pack(
            path,
            checkpoint.config,
            _modules(checkpoint, scheme),
            [(array, checkpoint.array(array)) for array in checkpoint.arrays()],
            gguf_tokenizer_files(source) if checkpoint.kind == "gguf" else checkpoint.tokenizer_files(),
            {"name": name, "source": source.name, "data_free": True},
        )
    finally:
        checkpoint.close()
    return path


def write_slider_pack(source: Path, path: Path, schemes: tuple[str, ...] = ("q4", "q8", "f16")) -> Path:
    """The same with all of the schemes (smallest first) and a slider, whose order is that of the model."""
    checkpoint = open_checkpoint(source, dense_scheme="f32")
    try:
        found = {scheme: dict(_modules(checkpoint, scheme)) for scheme in schemes}
        names = list(checkpoint.linears())
        order = tuple(range(len(names))) * (len(schemes) - 1)
        errors = tuple(0.01 / 10**number for number in range(len(schemes)))
        slider = PackSlider(
            ladders=dict.fromkeys(names, schemes),
            sizes={name: tuple(found[scheme][name].nbytes for scheme in schemes) for name in names},
            errors=dict.fromkeys(names, errors),
            sensitivities=(1.0,) * len(names),
            order=order,
            kl=tuple(0.5 / (1 + number) for number in range(len(order) + 1)),
            anchors=(Anchor(0, 0.5, 12.0), Anchor(len(order), 0.01, 8.0)),
            perplexity=7.9,
            mixtures={},
            default=len(names),
        )
        write_pack(
            path,
            checkpoint.config,
            [(key_of(name, scheme), found[scheme][name]) for name in names for scheme in schemes],
            [(array, checkpoint.array(array)) for array in checkpoint.arrays()],
            gguf_tokenizer_files(source) if checkpoint.kind == "gguf" else checkpoint.tokenizer_files(),
            {"name": "Slider", "source": source.name, "scheme": "slider", "data_free": True},
            slider=slider,
        )
    finally:
        checkpoint.close()
    return path


def _modules(checkpoint: Checkpoint, scheme: str) -> Iterator[tuple[str, PackedLinear]]:
    for module in checkpoint.linears():
        dense = checkpoint.linear(module)
        weight, bias = dequantize(dense), dense.buffers.get("bias")
        if scheme in ("q4", "q8"):
            yield module, importlib.import_module(f"kernels.packing.{scheme}").quantize(weight, GROUP, bias=bias)
        else:
            yield module, importlib.import_module("kernels.packing.dense").pack(weight, scheme, bias=bias)


def write_aqlm_folder(source: Path, folder: Path) -> Path:
    """A Hugging Face folder of a model's shape and vocabulary, with random AQLM codes (1x8, groups of 8)."""
    checkpoint = open_checkpoint(source, dense_scheme="f32")
    try:
        write_hf_aqlm(
            folder,
            checkpoint.config,
            _random_modules(checkpoint),
            [(array, checkpoint.array(array)) for array in checkpoint.arrays()],
            gguf_tokenizer_files(source),
        )
    finally:
        checkpoint.close()
    return folder


def _random_modules(checkpoint: Checkpoint) -> Iterator[tuple[str, PackedLinear]]:
    aqlm, random = importlib.import_module("kernels.packing.aqlm"), np.random.default_rng(3)
    for module in checkpoint.linears():
        packed = checkpoint.linear(module)
        if module in ("model.embed_tokens", "lm_head"):
            yield module, packed
            continue
        codes = random.integers(0, 256, (packed.out_features, packed.in_features // 8, 1), dtype=np.uint8)
        books = random.standard_normal((1, 256, 8), dtype=np.float32) / packed.in_features**0.5
        yield module, aqlm.pack(codes, books.astype(np.float16), np.ones(packed.out_features, np.float32))
