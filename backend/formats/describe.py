"""What a list of models shows of a file or folder, from its headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.formats.gguf import read_header
from backend.formats.hf_folder import open_folder
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_writer import scheme_name
from backend.formats.sniff import Kind, recognise, unrecognised

__all__ = ["Description", "describe"]


@dataclass(frozen=True, slots=True)
class Description:
    """A model as a list shows it.

    Attributes:
        kind: "gguf", "hf" or "pack".
        name: in one line, at most 200 characters.
        architecture: model_type of a config.json, general.architecture of a GGUF; may be "".
        parameters: weights, a tied head not counted.
        bytes: of all files of weights.
        scheme: of most weights' bytes or numbers: "aqlm-2x8", "spqr-3", "q4", "f16", "Q4_K_M" ...
        context_length, layers: 0 where unknown.
        data_free: made without calibration text (packs that say so).
        bits: per weight of all linears, at both ends of a slider; None without one.
    """

    kind: Kind
    name: str
    architecture: str
    parameters: int
    bytes: int
    scheme: str
    context_length: int
    layers: int
    data_free: bool = False
    bits: tuple[float, float] | None = None


def describe(path: Path) -> Description:
    """Reads headers only: milliseconds, whatever the size.

    Raises:
        InvalidModelFileError, UnsupportedModelError: with the reason in sentences.
    """
    path = Path(path)
    kind = recognise(path)
    if kind == "gguf":
        header = read_header(path, chat=False)
        return Description(
            kind,
            header.name,
            header.architecture,
            header.parameters,
            header.total_bytes,
            header.quantization,
            header.context_length,
            header.layers,
        )
    if kind == "hf":
        return _folder(path if path.is_dir() else path.parent)
    if kind == "pack":
        return _pack(path)
    raise unrecognised(path)


def _folder(path: Path) -> Description:
    folder = open_folder(path, data=False)
    shapes = [folder.shape(module) for module in folder.linears()]
    return Description(
        "hf",
        _line(folder.config.get("_name_or_path")).rpartition("/")[2] or _line(path.absolute().name),
        _line(folder.config.get("model_type")),
        sum(out * columns for _, out, columns in shapes),
        folder.size,
        _most((scheme, out * columns) for scheme, out, columns in shapes),
        _count(folder.config.get("max_position_embeddings")),
        _count(folder.config.get("num_hidden_layers")),
    )


def _pack(path: Path) -> Description:
    pack = PackCheckpoint(path, data=False)
    shapes = [pack.shape(module) for module in pack.linears()]
    weights = sum(shape.out_features * shape.in_features for shape in shapes)
    slider = pack.slider
    return Description(
        "pack",
        _line(pack.metadata.get("name")) or _line(path.stem),
        _line(pack.config.get("model_type")),
        weights,
        pack.size,
        _line(pack.metadata.get("scheme"))
        or _most((scheme_name(shape), shape.out_features * shape.in_features) for shape in shapes),
        _count(pack.config.get("max_position_embeddings")),
        _count(pack.config.get("num_hidden_layers")),
        pack.metadata.get("data_free") is True,
        None if slider is None else (8 * slider.bytes[0] / weights, 8 * slider.bytes[-1] / weights),
    )


def _line(value: Any) -> str:
    """A text from a file in one line without control characters."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value[:400]).split())[:200]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def _most(sizes: Iterable[tuple[str, int]]) -> str:
    sums: Counter[str] = Counter()
    for name, size in sizes:
        sums[name] += size
    return sums.most_common(1)[0][0] if sums else ""
