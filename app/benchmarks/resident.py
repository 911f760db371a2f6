"""A model loaded in a process of its own, to see what memory it takes: `python -m app.benchmarks.resident FILE N_CTX`.

Prints one JSON object. The interpreter and its libraries are counted apart, because they are there without a model too.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import psutil

from app.benchmarks.passes import decode_seconds, fill, text_tokens
from app.models import default_model
from backend.api.schemas import LoadModel
from backend.engine.loading import load_model

__all__ = ["main", "stored_bytes"]

_CONTEXT = 512
_TOKENS = 8


def stored_bytes(path: Path) -> int:
    """Bytes of a model's file, or of the weights in its folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return path.stat().st_size


def main(path: str, n_ctx: int) -> None:
    """Loads, fills the context, decodes a little, and prints."""
    entry = default_model(path)
    for module in ("backend.engine.native", "kernels.cpu.executor", "tokenizers"):
        importlib.import_module(module)
    process = psutil.Process()
    before = process.memory_info().rss
    model, loaded = load_model(entry, LoadModel(n_ctx=n_ctx), lambda _: True)
    fill(model, text_tokens(model, _CONTEXT))
    decode_seconds(model, text_tokens(model, _TOKENS))
    figures = {
        "base_bytes": before,
        "rss_bytes": process.memory_info().rss,
        "file_bytes": stored_bytes(Path(entry.path)),
        "kv_bytes": loaded.kv_bytes,
        "load_s": loaded.load_s,
    }
    model.close()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
