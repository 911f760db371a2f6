"""A model's weights, whatever it is stored as: one protocol, one class per source, and the function that chooses.

    hf_dense.py    Hugging Face folder, f32 / f16 / bf16        kind "hf"
    hf_aqlm.py     Hugging Face folder, AQLM                    kind "hf"
    hf_spqr.py     Hugging Face folder, SpQR                    kind "hf"
    gguf_dense.py  GGUF file, every type of it dequantised      kind "gguf"
    pack.py        our own file, in the kernels' layout         kind "pack"

Names are Hugging Face's everywhere: "model.layers.0.self_attn.q_proj" is a linear (its bias belongs to it),
"model.norm.weight" an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backend.formats.sniff import recognise, unrecognised
from kernels.packed import PackedLinear

__all__ = ["Checkpoint", "Floats", "open_checkpoint"]

Floats = npt.NDArray[np.float32]


class Checkpoint(Protocol):
    """Weights by name. Every method raises InvalidModelFileError or UnsupportedModelError, with sentences, where the
    file is damaged or holds what cannot be used; a name that is not there is an InvalidModelFileError.
    """

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def kind(self) -> str:
        """One of "hf", "gguf" and "pack"."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """Keys and values as in Hugging Face's config.json; untrusted."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a linear ("lm_head"), one of its parts ("lm_head.weight", "... .bias"), or an array."""
        ...

    def linears(self) -> tuple[str, ...]:
        """The modules that `linear` takes, the embedding among them."""
        ...

    def arrays(self) -> tuple[str, ...]:
        """The other numbers, that `array` takes: norms; biases of linears are not listed."""
        ...

    def array(self, name: str) -> Floats:
        """A norm, a bias, ... as float32, finite; any shape."""
        ...

    def linear(self, module: str) -> PackedLinear:
        """A linear (or the embedding table) with its bias; in a pack, views into the mapped file."""
        ...

    def tokenizer_files(self) -> Mapping[str, bytes]:
        """tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json: those there are."""
        ...

    def close(self) -> None:
        """Lets go of the files; arrays that are still held stay valid."""
        ...


def open_checkpoint(path: Path | str, *, dense_scheme: str | None = None, position: float | None = None) -> Checkpoint:
    """Opens a folder or a file; reads headers only.

    Args:
        path: a Hugging Face folder (or its config.json or one of its .safetensors files), a GGUF file, a pack.
        dense_scheme: "f32", "f16" or "bf16" for linears that are stored as plain numbers or come out of a GGUF. None:
            as stored, and f16 for the quantised types of a GGUF (whose numbers f16 rounds by up to 2^-11; "f32" is
            exact).
        position: of a pack's slider, 0 (fastest) to 1 (best); None: its default.

    Raises:
        InvalidModelFileError, UnsupportedModelError: with the reason in sentences.
        InvalidRequestError: a position of a model that has no slider, or outside of it.
        ValueError: another dense_scheme.
    """
    if dense_scheme not in (None, "f32", "f16", "bf16"):
        raise ValueError(f"dense_scheme {dense_scheme!r}")
    path = Path(path)
    kind = recognise(path)
    if position is not None and kind in ("gguf", "hf"):
        from backend.formats.pack import no_slider

        raise no_slider(path.name)
    if kind == "gguf":
        from backend.formats.gguf_dense import GgufCheckpoint

        return GgufCheckpoint(path, dense_scheme=dense_scheme)
    if kind == "hf":
        from backend.formats.hf_folder import open_folder

        return open_folder(path if path.is_dir() else path.parent, dense_scheme=dense_scheme)
    if kind == "pack":
        from backend.formats.pack import PackCheckpoint

        return PackCheckpoint(path, position=position)
    raise unrecognised(path)
