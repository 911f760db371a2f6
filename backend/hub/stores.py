"""Where other programs keep their models. Everything is read in place; nothing is copied, moved or written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.api.schemas import ModelSource
from backend.formats.gguf_split import split_name
from backend.formats.sniff import is_partial, recognise
from backend.hub.walk import walk

__all__ = ["Candidate", "from_folder", "hf_roots", "huggingface", "llama_cpp", "lm_studio", "ollama", "stores"]

_MAX_JSON = 1 << 20
#: of files that hold a whole model: GGUF, and our own packs (backend.formats.pack.SUFFIX)
_ENDINGS = (".gguf", ".nutshell")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_MODEL_LAYER = "application/vnd.ollama.image.model"
_REPOSITORY = re.compile(r"models--(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is probably a model. `name` is "" where the store has none and the file's own is shown."""

    path: Path
    source: ModelSource
    name: str = ""


def stores(env: Mapping[str, str], home: Path, platform: str = sys.platform) -> Iterator[Candidate]:
    """All that other programs have on this machine."""
    for root in _unique(hf_roots(env, home)):
        yield from huggingface(root)
    for root in _unique(_lm_studio_roots(home)):
        yield from lm_studio(root)
    for root in _unique(_ollama_roots(env, home, platform)):
        yield from ollama(root)
    for root in _unique(_llama_cpp_roots(env, home, platform)):
        yield from llama_cpp(root)


def huggingface(root: Path) -> Iterator[Candidate]:
    """The Hugging Face cache: models--ORG--NAME/snapshots/REVISION/**/*.gguf, links into blobs; and revisions that
    are a model themselves (config.json and .safetensors), of a repository one.

    The revision that `refs/main` names comes first, so that of a file in several revisions the current path is taken.
    """
    for repository in _folders(root):
        match = _REPOSITORY.fullmatch(repository.name)
        if match is None:
            continue
        current = _first_line(repository / "refs" / "main")
        snapshots = sorted(_folders(repository / "snapshots"), key=lambda folder: (folder.name != current, folder.name))
        whole = next((snapshot for snapshot in snapshots if recognise(snapshot) == "hf"), None)
        if whole is not None:
            yield Candidate(whole, "huggingface", match["name"].replace("--", "/"))
        for snapshot in snapshots:
            for path in walk(snapshot, 4):
                if _is_model(path):
                    yield Candidate(path, "huggingface", match["name"].replace("--", "/"))


def lm_studio(root: Path) -> Iterator[Candidate]:
    """LM Studio: PUBLISHER/REPOSITORY/FILE.gguf, and whatever else lies there."""
    for path in walk(root, 5):
        if _is_model(path):
            above = path.relative_to(root).parts[:-1]
            yield Candidate(path, "lmstudio", "/".join(above[:2]))


def ollama(root: Path) -> Iterator[Candidate]:
    """Ollama: manifests/REGISTRY/NAMESPACE/MODEL/TAG, a JSON whose model layer names blobs/sha256-HEX."""
    manifests = root / "manifests"
    for path in walk(manifests, 6):
        parts = path.relative_to(manifests).parts
        layers = _json(path).get("layers")
        if len(parts) < 3 or not isinstance(layers, list):
            continue
        for layer in layers:
            if not isinstance(layer, dict) or layer.get("mediaType") != _MODEL_LAYER:
                continue
            digest = _DIGEST.fullmatch(str(layer.get("digest")))  # strictly, for it becomes part of a path
            if digest is None:
                continue
            blob = root / "blobs" / f"sha256-{digest[1]}"
            if blob.is_file():  # otherwise its download is not finished
                yield Candidate(blob, "ollama", _ollama_name(parts))
                break


def llama_cpp(root: Path) -> Iterator[Candidate]:
    """llama.cpp's download cache: a flat folder."""
    return (Candidate(path, "llamacpp") for path in walk(root, 2) if _is_model(path))


def from_folder(root: Path) -> Iterator[Candidate]:
    """A folder of the user's: GGUF files, packs, and folders that are a model themselves.

    Files without an ending are looked into for the four letters GGUF.
    """
    for path in walk(root, 6):
        if path.name == "config.json" and recognise(path.parent) == "hf":
            yield Candidate(path.parent, "file")
        elif _is_model(path) or (not path.suffix and not is_partial(path.name) and _has_magic(path)):
            yield Candidate(path, "file")


def _is_model(path: Path) -> bool:
    """By its name: *.gguf or *.nutshell that is complete, and of a split model the first part (or the first one that is
    there).
    """
    if path.suffix.lower() not in _ENDINGS or is_partial(path.name) or path.name.startswith("._"):
        return False
    if path.with_name(path.name + ".aria2").exists():  # aria2 writes into the final name and keeps its notes beside it
        return False
    part = split_name(path.name)
    return part is None or not any(path.with_name(part.part(index)).is_file() for index in range(1, part.index))


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _ollama_name(parts: tuple[str, ...]) -> str:
    registry, *names, tag = parts
    if registry == "registry.ollama.ai":
        names = names[1:] if names[0] == "library" and len(names) > 1 else names
    else:
        names = [registry, *names]
    return f"{'/'.join(names)}:{tag}"


def hf_roots(env: Mapping[str, str], home: Path) -> list[Path]:
    """The Hugging Face cache: HF_HUB_CACHE, HF_HOME/hub, or the usual place."""
    if env.get("HF_HUB_CACHE"):
        return [_expand(env["HF_HUB_CACHE"], home)]
    if env.get("HF_HOME"):
        return [_expand(env["HF_HOME"], home) / "hub"]
    return [_cache(env, home) / "huggingface" / "hub"]


def _lm_studio_roots(home: Path) -> list[Path]:
    roots = []
    for base in (home / ".lmstudio", home / ".cache" / "lm-studio"):
        moved = _json(base / "settings.json").get("downloadsFolder")
        if isinstance(moved, str) and Path(moved).is_absolute():
            roots.append(Path(moved))
        roots.append(base / "models")
    return roots


def _ollama_roots(env: Mapping[str, str], home: Path, platform: str) -> list[Path]:
    roots = [_expand(env["OLLAMA_MODELS"], home)] if env.get("OLLAMA_MODELS") else []
    roots.append(home / ".ollama" / "models")
    if platform.startswith("linux"):
        roots.append(Path("/usr/share/ollama/.ollama/models"))  # the system service's
    return roots


def _llama_cpp_roots(env: Mapping[str, str], home: Path, platform: str) -> list[Path]:
    if env.get("LLAMA_CACHE"):
        return [_expand(env["LLAMA_CACHE"], home)]
    if platform == "darwin":
        return [home / "Library" / "Caches" / "llama.cpp"]
    if platform == "win32":
        local = env.get("LOCALAPPDATA")
        return [(Path(local) if local else home / "AppData" / "Local") / "llama.cpp"]
    return [_cache(env, home) / "llama.cpp"]


def _cache(env: Mapping[str, str], home: Path) -> Path:
    value = env.get("XDG_CACHE_HOME")
    return Path(value) if value and Path(value).is_absolute() else home / ".cache"


def _expand(value: str, home: Path) -> Path:
    return home / value[2:] if value.startswith(("~/", "~\\")) else Path(value)


def _unique(roots: list[Path]) -> list[Path]:
    return list(dict.fromkeys(roots))


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.is_dir())
    except OSError:
        return []


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(256).strip()
    except OSError:
        return ""


def _json(path: Path) -> dict[str, object]:
    """A JSON object of at most 1 MiB, or {} where there is none."""
    try:
        if path.stat().st_size > _MAX_JSON:
            return {}
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
