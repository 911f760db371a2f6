"""What of a repository makes one model: a GGUF file with its parts, a pack, or safetensors and what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from backend.formats.gguf_split import split_name
from backend.hub.remote import RemoteFile, Repository

__all__ = ["Choice", "choices", "choose"]

#: what a Hugging Face folder needs besides its weights; never code, never pickles
_BESIDE = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|model\.safetensors\.index\.json|merges\.txt|chat_template\.(jinja|json)|tokenizer\.model|LICEN[CS]E(\.\w+)?"
)
_COMPANION = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_QUANTIZATION = re.compile(r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|BF16|F16|F32|MXFP4\w*))(?:$|[-._])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """Files that are one model. `name` tells it from the others of its repository."""

    name: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)


def choices(repository: Repository) -> list[Choice]:
    """All models in a repository, the smallest first. [] where there is none that Nutshell could run."""
    found = [*_single_files(repository.files), *_folder(repository.files)]
    return sorted(found, key=lambda choice: (choice.bytes, choice.name))


def choose(repository: Repository, wanted: str) -> list[Choice]:
    """Those that `wanted` may mean: exactly this name or file, else all in whose name it is found."""
    every = choices(repository)
    exact = [one for one in every if wanted == one.name or any(wanted == file.path for file in one.files)]
    return exact or [one for one in every if wanted.casefold() in f"{one.name} {one.files[0].path}".casefold()]


def _single_files(files: Iterable[RemoteFile]) -> list[Choice]:
    parts: dict[str, list[RemoteFile]] = {}
    for file in files:
        name = file.path.rsplit("/", 1)[-1]
        if not name.lower().endswith((".gguf", ".nutshell")) or _COMPANION.search(name):
            continue
        split = split_name(name)
        key = file.path if split is None else file.path.removesuffix(name) + split.part(1)
        parts.setdefault(key, []).append(file)
    found = []
    for key, group in parts.items():
        name = key.rsplit("/", 1)[-1]
        split = split_name(name)
        if split is not None and len(group) != split.count:
            continue  # parts are missing on the hub
        stem = name.rsplit(".", 1)[0] if split is None else name.rsplit("-0", 1)[0]
        quantization = _QUANTIZATION.search(stem)
        label = quantization[1] if quantization is not None else stem
        found.append(Choice(label, tuple(sorted(group, key=lambda file: file.path))))
    labels = [choice.name for choice in found]
    return [
        choice if labels.count(choice.name) == 1 else Choice(choice.files[0].path, choice.files) for choice in found
    ]


def _folder(files: Iterable[RemoteFile]) -> list[Choice]:
    top = [file for file in files if "/" not in file.path]
    names = {file.path for file in top}
    weights = [file for file in top if file.path.endswith(".safetensors")]
    if "config.json" not in names or not weights:
        return []
    if "model.safetensors" in names:  # both forms of the same weights: one is enough
        weights = [file for file in weights if not re.fullmatch(r"model-\d+-of-\d+\.safetensors", file.path)]
    weights = [file for file in weights if not file.path.startswith(("adapter", "consolidated", "training"))]
    beside = [file for file in top if _BESIDE.fullmatch(file.path)]
    return [Choice("safetensors", tuple(sorted([*beside, *weights], key=lambda file: file.path)))] if weights else []
