"""Writes a pack (pack.md) buffer by buffer; the file takes its name when it is whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backend.formats.checkpoint import Floats
from backend.formats.hf_aqlm import aqlm_name
from backend.formats.pack import ALIGNMENT, FILE_NAME, FORMAT, PLAIN_VERSION, VERSION
from backend.formats.pack_layout import check_buffers, check_parameters
from backend.formats.pack_slider import PackSlider
from backend.formats.safetensors_writer import TensorWriter, replacing
from kernels.packed import PackedLinear

__all__ = ["scheme_name", "write_pack"]

#: bytes of header for one buffer: a name of 60, type, shape and offsets of 70
_ENTRY = 144


def write_pack(
    path: Path,
    config: Mapping[str, Any],
    modules: Iterable[tuple[str, PackedLinear]],
    arrays: Iterable[tuple[str, Floats]],
    tokenizer: Mapping[str, bytes],
    metadata: Mapping[str, Any],
    *,
    slider: PackSlider | None = None,
) -> None:
    """Writes a model; of the linears only the one at hand is in memory.

    Args:
        path: replaced if it exists. Its name should end in .nutshell.
        config: Hugging Face's keys.
        modules: name and weights, the embedding and head among them; taken one after another.
        arrays: norms and the like.
        tokenizer: files by name ("tokenizer.json").
        metadata: shown to the person: name, source, data_free ... `architecture`, `scheme`, `parameters` and
            `bits_per_weight` are added where missing.
        slider: of `modules` that are called `pack_slider.key_of`; then they must give the last three themselves.

    Raises:
        ModelError: the file cannot be written; nothing is left behind.
        ValueError: a name of a file that no tokenizer has; a name twice.
    """
    layers = config.get("num_hidden_layers")
    levels = max(map(len, slider.ladders.values())) if slider else 1
    room = 4096 + 2 * len(json.dumps(config)) + _ENTRY * 40 * levels * (layers if isinstance(layers, int) else 32)
    linears: dict[str, list[Any]] = {}
    sizes: Counter[str] = Counter()
    weights = 0
    with replacing(path) as file:
        writer = TensorWriter(file, room=room, alignment=ALIGNMENT)
        for module, packed in modules:
            _check(module, packed)
            linears[module] = [packed.scheme, packed.out_features, packed.in_features, dict(packed.parameters)]
            for name, numbers in packed.buffers.items():
                writer.add(f"linear/{module}/{name}", numbers)
            sizes[scheme_name(packed)] += packed.nbytes
            weights += packed.out_features * packed.in_features
        for name, values in arrays:
            writer.add(f"array/{name}", np.asarray(values, np.float32))
        for name, data in tokenizer.items():
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"not the name of a tokenizer's file: {name}")
            writer.add(f"file/{name}", np.frombuffer(data, np.uint8))
        about = {
            "name": path.stem,
            "architecture": config.get("model_type", ""),
            "scheme": sizes.most_common(1)[0][0] if sizes else "",
            "parameters": weights,
            "bits_per_weight": round(8 * sizes.total() / weights, 3) if weights else 0,
            **metadata,
        }
        texts = {"config": config, "about": about, "linears": linears}
        if slider:
            texts["slider"] = slider.as_json()
        writer.finish(
            {"format": FORMAT, "version": str(VERSION if slider else PLAIN_VERSION)}
            | {key: json.dumps(value, separators=(",", ":"), allow_nan=False) for key, value in texts.items()}
        )


def scheme_name(packed: PackedLinear) -> str:
    """As people write it: "aqlm-2x8", "spqr-3", "q4"."""
    parameters = packed.parameters
    if packed.scheme == "aqlm":
        return aqlm_name(*(parameters[key] for key in ("num_codebooks", "nbits_per_codebook", "in_group_size")))
    return f"spqr-{parameters['bits']}" if packed.scheme == "spqr" else packed.scheme


def _check(module: str, packed: PackedLinear) -> None:
    """What is written must be what the reader accepts."""
    check_parameters(module, packed.scheme, packed.out_features, packed.in_features, dict(packed.parameters))
    found = {name: (numbers.dtype.newbyteorder("<").str, numbers.size) for name, numbers in packed.buffers.items()}
    check_buffers(module, packed, found)
