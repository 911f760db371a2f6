"""What a plan is made for: a file on this machine, by its header, or a build of the catalogue, by arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from backend.api.errors import UnsupportedModelError
from backend.architectures import ARCHITECTURES
from backend.formats.gguf import read_header
from backend.formats.hf_folder import open_folder
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_slider import key_of
from backend.formats.pack_writer import scheme_name
from backend.formats.safetensors import TensorFile
from backend.formats.sniff import recognise, unrecognised
from backend.planner.architecture import Architecture, from_config, from_gguf
from backend.planner.arithmetic import of_token
from backend.planner.catalogue import Build, Entry
from backend.planner.memory import Engine
from backend.planner.weights import Weights, by_layer, gguf_weights, native_weights, of_header

__all__ = ["Subject", "at_lowest_level", "subject_of_build", "subject_of_file", "subjects_of"]


#: by entries of the catalogue, which never change: 2 ms each, and its page plans them all
_subjects: dict[str, list[Subject]] = {}


@dataclass(frozen=True, slots=True)
class Subject:
    """One build.

    Attributes:
        name: for people.
        engine: that would run it.
        scheme: of its weights.
        architecture, weights: sizes.
        context: tokens that it was trained for; 0 where unknown.
        repository: where it comes from; "" for a file on this machine.
        exact: the weights' bytes are read from a header.
        streams: the file whose layers can stay on the disk, to be read in every pass; None: they cannot.
    """

    name: str
    engine: Engine
    scheme: str
    architecture: Architecture
    weights: Weights
    context: int
    repository: str = ""
    exact: bool = False
    streams: Path | None = None

    def with_linears(self, more: int) -> Subject:
        """The same at another level, where all linears together have so many bytes more, or fewer."""
        share = 1 + more / max(sum(self.weights.layers), 1)
        layers = tuple(round(one * share) for one in self.weights.layers)
        # more codebooks or bits take longer about as much as they are larger
        multiplied = self.weights.multiplied * share
        return replace(self, weights=replace(self.weights, layers=layers, multiplied=multiplied))


def subject_of_file(path: Path) -> Subject:
    """Reads headers only.

    Raises:
        ModelError: damaged, or of a kind that the planner cannot compute.
    """
    kind = recognise(path)
    try:
        if kind == "gguf":
            return _gguf(path)
        if kind == "pack":
            return _pack(path)
        if kind == "hf":
            return _folder(path if path.is_dir() else path.parent)
    except ValueError as error:
        raise UnsupportedModelError(
            "What this model needs cannot be computed.",
            why="Its layers differ from one another, or one of its sizes is not given.",
            remedy="Load it with a small context and look at the memory it takes.",
            details=str(error),
        ) from error
    raise unrecognised(path)


def at_lowest_level(subject: Subject, path: Path) -> Subject | None:
    """A build with a slider, opened a second time at its lowest level to guess for itself; None: it has no slider."""
    if recognise(path) != "pack":
        return None
    pack = PackCheckpoint(path, data=False)
    try:
        if pack.slider is None:
            return None
        sizes = pack.slider.bytes
        return subject.with_linears(sizes[0] - sizes[pack.steps])
    finally:
        pack.close()


def _gguf(path: Path) -> Subject:
    header = read_header(path)
    prefix = f"{header.architecture}."
    setting = {key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)}
    sizes = {tensor.name: tensor for tensor in header.tensors}
    vocabulary = sizes["token_embd.weight"].shape[-1] if "token_embd.weight" in sizes else 1
    tied = "output.weight" not in sizes
    architecture = from_gguf(header.architecture, setting, vocabulary, tied=tied)
    weights = of_header(header, architecture)
    return Subject(
        header.name, "llama.cpp", header.quantization, architecture, weights, header.context_length, exact=True
    )


def _pack(path: Path) -> Subject:
    pack = PackCheckpoint(path, data=False)
    tied = "lm_head" not in pack.linears()  # settings that came out of a GGUF may say otherwise
    architecture = msgspec.structs.replace(from_config(pack.config), tied=tied)
    keys: set[str] | None = None
    if pack.slider is not None:
        levels = pack.slider.levels(pack.steps)
        keys = {key_of(module, level) for module, level in levels.items()}
    with_sizes = TensorFile.open(path, data=False).tensors

    def sizes() -> Iterator[tuple[str, int]]:
        for name, tensor in with_sizes.items():
            kind, _, rest = name.partition("/")
            module = rest.rpartition("/")[0]
            if kind == "array" or (kind == "linear" and ("@" not in module or keys is None or module in keys)):
                yield rest, tensor.bytes

    weights = by_layer(sizes(), architecture.layers, architecture.tied, architecture.vocab_size)
    shapes = (pack.shape(one) for one in pack.linears() if tied or one != "model.embed_tokens")
    linears = ((scheme_name(one), one.out_features * one.in_features, False) for one in shapes)
    weights = replace(weights, multiplied=of_token(linears))
    name, scheme = pack.metadata.get("name"), pack.metadata.get("scheme")
    return Subject(
        str(name or path.stem)[:200],
        "native",
        str(scheme or "")[:40],
        architecture,
        weights,
        int(pack.config.get("max_position_embeddings") or 0),
        exact=True,
        streams=path,
    )


def _folder(path: Path) -> Subject:
    """Of a checkpoint, which our engine turns into a pack: the sizes are those of the pack."""
    folder = open_folder(path, data=False)
    architecture = from_config(folder.config)
    schemes = [scheme for scheme, _, _ in (folder.shape(module) for module in folder.linears())]
    scheme = max(set(schemes), key=schemes.count) if schemes else "f16"
    table = "f32" if architecture.vocab_size < 1024 else "f16"
    weights = native_weights(architecture, re.sub(r"g\d+$", "", scheme), table=table)
    context = int(folder.config.get("max_position_embeddings") or 0)
    return Subject(path.absolute().name, "native", scheme, architecture, weights, context)


def subject_of_build(entry: Entry, build: Build) -> Subject | None:
    """A build of the catalogue; None where no engine here runs it."""
    architecture = entry.architecture
    if build.format == "gguf":
        weights = gguf_weights(architecture, build.scheme, head_apart=build.head_apart)
        name = f"{entry.name}, {build.scheme}"
        return Subject(name, "llama.cpp", build.scheme, architecture, weights, entry.context_length, build.repository)
    if architecture.model_type not in ARCHITECTURES:
        return None
    scheme = f"{build.format}-{build.scheme}"
    weights = native_weights(architecture, scheme, table="f16")
    name = f"{entry.name}, {build.format.upper()} {build.scheme}"
    return Subject(name, "native", scheme, architecture, weights, entry.context_length, build.repository)


def subjects_of(entry: Entry) -> list[Subject]:
    """All builds of an entry of the catalogue that an engine here runs, the largest first."""
    if entry.id not in _subjects:
        found = [subject for build in entry.builds if (subject := subject_of_build(entry, build)) is not None]
        _subjects[entry.id] = sorted(found, key=lambda one: -one.weights.total)
    return list(_subjects[entry.id])
