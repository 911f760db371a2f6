"""Small packs for tests, made with round-to-nearest: what the engine needs and no compression method."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from backend.engine.tokenizing import gguf_tokenizer_files
from backend.formats.checkpoint import Checkpoint, open_checkpoint
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


def _modules(checkpoint: Checkpoint, scheme: str) -> Iterator[tuple[str, PackedLinear]]:
    for module in checkpoint.linears():
        dense = checkpoint.linear(module)
        weight, bias = dequantize(dense), dense.buffers.get("bias")
        if scheme in ("q4", "q8"):
            yield module, importlib.import_module(f"kernels.packing.{scheme}").quantize(weight, GROUP, bias=bias)
        else:
            yield module, importlib.import_module("kernels.packing.dense").pack(weight, scheme, bias=bias)
