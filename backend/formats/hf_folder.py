"""Hugging Face folders: what all of them have in common, and which class reads which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.checkpoint import Floats
from backend.formats.gguf_cursor import damaged
from backend.formats.json_text import read_bytes, read_object
from backend.formats.numbers import check_finite
from backend.formats.packing import pack_dense
from backend.formats.safetensors import Shards, index_files, to_float32
from kernels.packed import PackedLinear

__all__ = ["TOKENIZER_FILES", "HfFolder", "open_folder", "quantization", "read_config", "weight_files"]

MAX_CONFIG = 4 << 20
#: Name -> most bytes read; the largest known tokenizer.json (Gemma 3) has 33 MB.
TOKENIZER_FILES = {
    "tokenizer.json": 128 << 20,
    "tokenizer_config.json": 64 << 20,
    "special_tokens_map.json": 1 << 20,
    "chat_template.jinja": 4 << 20,
    "generation_config.json": 1 << 20,
}
_DTYPE_SCHEMES = {"F32": "f32", "F64": "f32", "F16": "f16", "BF16": "bf16"}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, with the names of early AQLM repositories mapped to today's.

    Raises:
        InvalidModelFileError: missing or damaged.
    """
    config = read_object(folder / "config.json", MAX_CONFIG)
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type.endswith("_aqlm"):  # February 2024, with code of their own
        config["model_type"] = model_type.removesuffix("_aqlm")
        config.pop("auto_map", None)
        if isinstance(config.get("aqlm"), dict):
            config.setdefault("quantization_config", {"quant_method": "aqlm", **config.pop("aqlm")})
    return config


def quantization(config: Mapping[str, Any]) -> dict[str, Any]:
    """The quantization_config, or {}.

    Raises:
        InvalidModelFileError: it is not a set of names and values.
    """
    found = config.get("quantization_config")
    if found is None:
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("quant_method", ""), str):
        raise damaged("Its settings do not say properly how it was made smaller.", repr(found)[:200])
    return found


def weight_files(folder: Path) -> list[Path]:
    """The folder's .safetensors files: by the index, or model.safetensors, or the only one.

    Raises:
        InvalidModelFileError: none, or one is missing. UnsupportedModelError: pickled weights only.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return index_files(index)
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    try:
        names = [path for path in folder.iterdir() if path.suffix == ".safetensors" and path.is_file()]
        pickled = any(path.suffix in (".bin", ".pt", ".pth") for path in folder.iterdir())
    except OSError:
        names, pickled = [], False
    if len(names) == 1:
        return names
    if pickled and not names:
        raise UnsupportedModelError(
            "This model is in a format that cannot be opened here.",
            why="Its weights are a PyTorch checkpoint; such files can run any program when they are opened, so they "
            "are never read.",
            remedy="Look for the same model with .safetensors files.",
        )
    raise InvalidModelFileError(
        "A part of this model is missing.",
        why="There is no file model.safetensors, and no list of several such files, beside its settings.",
        remedy="Download the missing files into the same folder.",
    )


def open_folder(folder: Path, *, dense_scheme: str | None = None, data: bool = True) -> HfFolder:
    """The right class for a folder; see `open_checkpoint`, and `HfFolder` for `data`."""
    config = read_config(folder)
    method = quantization(config).get("quant_method", "")
    if method == "":
        from backend.formats.hf_dense import HfDense

        return HfDense(folder, config, dense_scheme=dense_scheme, data=data)
    if method == "aqlm":
        from backend.formats.hf_aqlm import HfAqlm

        return HfAqlm(folder, config, dense_scheme=dense_scheme, data=data)
    if method == "spqr":
        from backend.formats.hf_spqr import HfSpqr

        return HfSpqr(folder, config, dense_scheme=dense_scheme, data=data)
    raise UnsupportedModelError(
        "This model is in a format that cannot be opened here.",
        why=f"It was made smaller with a method called {method[:40]!r}; AQLM and SpQR are known.",
        remedy="Choose another build of this model.",
    )


class HfFolder:
    """What dense, AQLM and SpQR folders share: the files, plain weights, arrays, tokenizer files.

    A class for a method says which modules are packed by it (`_packed`) and reads them (`_packed_linear`).
    """

    kind = "hf"

    def __init__(
        self, folder: Path, config: Mapping[str, Any], *, dense_scheme: str | None = None, data: bool = True
    ) -> None:
        """Opens the files of weights.

        Args:
            folder: holds config.json and the files of weights.
            config: what `read_config` made of it.
            dense_scheme: see `open_checkpoint`.
            data: False: for a look at the headers; nothing is mapped, and no numbers can be had.

        Raises:
            InvalidModelFileError, UnsupportedModelError: as the reader of safetensors files.
        """
        self.path = folder
        self.config = config
        self._scheme = dense_scheme
        self._shards = Shards(weight_files(folder), data=data)
        # A model saved without its head has names without "model.".
        plain = "model.embed_tokens.weight" not in self._shards and "embed_tokens.weight" in self._shards
        self._names = {
            f"model.{name}" if plain and not name.startswith("lm_head.") else name: name for name in self._shards
        }
        self._packed = self._packed_modules()
        self._dense = tuple(
            name.removesuffix(".weight")
            for name, stored in self._names.items()
            if name.endswith(".weight") and len(self._shards.info(stored).shape) == 2
        )

    def _packed_modules(self) -> dict[str, str]:
        """Module -> the name of its first tensor, for modules that a method packed."""
        return {}

    def _packed_linear(self, module: str) -> PackedLinear:
        raise NotImplementedError

    def packed_shape(self, module: str) -> tuple[str, int, int]:
        """(scheme as people write it, out, in) of a packed module, from the headers."""
        raise NotImplementedError

    def shape(self, module: str) -> tuple[str, int, int]:
        """(scheme as people write it, out, in) of any linear, from the headers."""
        if module in self._packed:
            return self.packed_shape(module)
        info = self._shards.info(self._names[f"{module}.weight"])
        if len(info.shape) != 2:
            raise damaged("A block of weights has an impossible shape.", f"{module}: {info.shape}")
        return _DTYPE_SCHEMES.get(info.dtype, info.dtype.lower()), info.shape[0], info.shape[1]

    @property
    def size(self) -> int:
        """Bytes of the files of weights."""
        return self._shards.size

    def has(self, name: str) -> bool:
        """See Checkpoint."""
        return name in self._names or name in self._modules() or name.removesuffix(".weight") in self._packed

    def _modules(self) -> dict[str, None]:
        return dict.fromkeys((*self._packed, *self._dense))

    def linears(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(self._modules())

    def arrays(self) -> tuple[str, ...]:
        """See Checkpoint."""
        modules = self._modules()
        return tuple(
            name
            for name, stored in self._names.items()
            if name.rpartition(".")[0] not in modules and self._shards.info(stored).dtype in _DTYPE_SCHEMES
        )

    def _info_dtype(self, name: str) -> str:
        return self._shards.info(self._names.get(name, name)).dtype

    def _stored(self, name: str) -> npt.NDArray[Any]:
        return self._shards.array(self._names.get(name, name))

    def array(self, name: str) -> Floats:
        """See Checkpoint."""
        numbers = to_float32(self._stored(name), self._info_dtype(name))
        check_finite(numbers, "numbers", name)
        return np.array(numbers, np.float32)  # a copy: aligned, and free of the file

    def _bias(self, module: str, out_features: int) -> Floats | None:
        name = f"{module}.bias"
        if name not in self._names:
            return None
        bias = self.array(name)
        if bias.shape != (out_features,):
            raise damaged("A bias has another length than its block of weights.", f"{name}: {bias.shape}")
        return bias

    def linear(self, module: str) -> PackedLinear:
        """See Checkpoint."""
        if module in self._packed:
            return self._packed_linear(module)
        name = f"{module}.weight"
        dtype = self._info_dtype(name)
        stored = self._stored(name)
        if stored.ndim != 2 or not stored.size:
            raise damaged("A block of weights has an impossible shape.", f"{name}: {stored.shape}")
        weight = stored if dtype == "F16" else to_float32(stored, dtype)
        return pack_dense(weight, self._scheme or _DTYPE_SCHEMES[dtype], self._bias(module, weight.shape[0]), module)

    def tokenizer_files(self) -> dict[str, bytes]:
        """See Checkpoint."""
        return {
            name: read_bytes(self.path / name, limit)
            for name, limit in TOKENIZER_FILES.items()
            if (self.path / name).is_file()
        }

    def close(self) -> None:
        """See Checkpoint."""
        self._shards.close()
