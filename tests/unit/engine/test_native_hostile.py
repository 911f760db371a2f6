"""Packs with damage anywhere, header and weights: each is refused with a sentence, or computes finite numbers."""

from __future__ import annotations

import importlib
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import ModelError
from backend.engine.model import TokenTree
from backend.engine.native import NativeModel
from backend.engine.tokenizing import gguf_tokenizer_files
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack_writer import write_pack
from kernels.packed import PackedLinear
from kernels.reference import dequantize

pytestmark = pytest.mark.model
FILES = 120


def modules(checkpoint: Checkpoint, scheme: str) -> Iterator[tuple[str, PackedLinear]]:
    packer, random_ = importlib.import_module(f"kernels.packing.{scheme}"), np.random.default_rng(0)
    for module in checkpoint.linears():
        weight = dequantize(checkpoint.linear(module))
        out, width = weight.shape
        if "layers" not in module:
            yield module, importlib.import_module("kernels.packing.q4").quantize(weight, 64)
        elif scheme == "aqlm":
            codes = random_.integers(0, 200, (out, width // 8, 2))
            books = random_.standard_normal((2, 256, 8)).astype(np.float16)
            yield module, packer.pack(codes, books, np.ones(out, np.float32))
        elif scheme == "spqr":
            yield module, packer.quantize(weight, 3, 0.02)
        else:
            yield module, packer.quantize(weight, 64)


def damages(raw: bytes, seed: int) -> Iterator[bytes]:
    """Bytes of the weights, letters and digits of the header, and whole stretches that are no longer there."""
    header = 8 + int.from_bytes(raw[:8], "little")
    digits = [found.start() for found in re.finditer(rb"[0-9]", raw[:header])]
    dice = random.Random(seed)
    for number in range(FILES):
        data = bytearray(raw)
        if number % 4 == 0:
            for _ in range(dice.choice([1, 3, 40])):
                data[dice.randrange(header, len(data))] = dice.randrange(256)
        elif number % 4 == 1:
            data[dice.randrange(8, header)] = dice.randrange(32, 127)
        elif number % 4 == 2:
            for _ in range(dice.choice([1, 1, 2])):
                data[dice.choice(digits)] = dice.choice(b"0123456789")
        else:
            first = dice.randrange(header, len(data))
            last = min(first + dice.choice([2, 64, 4096]), len(data))
            data[first:last] = bytes([dice.choice([0, 255, 128, 127])]) * (last - first)
        yield bytes(data)


@pytest.mark.parametrize("scheme", ["aqlm", "spqr", "q8"])
def test_damage_is_refused_or_harmless(tiny_gguf: Path, tmp_path: Path, scheme: str) -> None:
    good = tmp_path / "good.nutshell"
    checkpoint = open_checkpoint(tiny_gguf, dense_scheme="f32")
    arrays = [(name, checkpoint.array(name)) for name in checkpoint.arrays()]
    files = gguf_tokenizer_files(tiny_gguf)
    write_pack(good, checkpoint.config, modules(checkpoint, scheme), arrays, files, {})
    checkpoint.close()
    outcomes: Counter[str] = Counter()
    for number, data in enumerate(damages(good.read_bytes(), seed=20261122)):
        path = tmp_path / f"{number}.nutshell"
        path.write_bytes(data)
        try:
            model = NativeModel(path, n_ctx=64, n_threads=1)
        except ModelError as error:
            outcomes["refused" if error.what.endswith(".") else "refused without a sentence"] += 1
        else:
            outcomes["opened"] += 1
            model.forward(TokenTree.chain([5, 6, 7]))
            model.commit([0, 1, 2])
            assert np.isfinite(model.forward(TokenTree.chain([8]))).all(), number
            model.close()
        path.unlink()
    assert outcomes.keys() <= {"refused", "opened"}
    assert outcomes["refused"] > FILES // 3
    assert outcomes["opened"] > FILES // 6, "the damage must reach behind the header"
