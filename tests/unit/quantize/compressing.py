"""Small models and random text for tests of the compressor; as a program, one compression."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.quantize import compress as module
from backend.quantize.compress import Built, compress
from backend.quantize.options import Options, Progress
from backend.quantize.prepare import Prepared
from backend.quantize.states import Texts
from tests.formats.tiny_hf import CONFIG, shapes, write_folder

#: of tiny models: twelve texts, four batches
SMALL = {"tokens": 12 * 64, "sequence": 64, "threads": 1, "memory": 4 << 30}
QWEN: dict[str, Any] = {**CONFIG, "model_type": "qwen2", "num_hidden_layers": 3, "tie_word_embeddings": True}
QWEN.pop("head_dim")


def options(*levels: str, **changes: Any) -> Options:
    return Options(levels, **{**SMALL, **changes})


def model(config: dict[str, Any] = CONFIG, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Random weights with outlying inputs, such that a Hessian matters; biases where Qwen has them."""
    dice = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[Any]] = {}
    for name, shape in shapes({"head_dim": 16, **config}).items():
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        scale = 1 / 8 if len(shape) == 2 else 1.0
        found[name] = (dice.standard_normal(shape) * scale + (len(shape) == 1)).astype(np.float32)
        if config["model_type"] == "qwen2" and name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            found[name.removesuffix("weight") + "bias"] = dice.standard_normal(shape[0]).astype(np.float32)
    return found


def write_model(folder: Path, config: dict[str, Any] = CONFIG) -> Path:
    return write_folder(folder, model(config), config)


def random_texts(prepared: Prepared) -> tuple[Texts, dict[str, Any]]:
    """Stands in for `compress.read_texts`: a tiny model has no tokenizer worth the name."""
    length = prepared.options.sequence
    count = prepared.options.tokens // length
    dice = np.random.default_rng(prepared.options.seed)
    tokens = dice.integers(0, prepared.args.vocab_size, (count + 2, length), dtype=np.int32)
    return Texts(tokens[:count], tokens[count:]), {"sources": ["dice"], "seed": prepared.options.seed}


def run(source: Path, out: Path, chosen: Options, report: Any = None, **more: Any) -> Built:
    return compress(source, out, chosen, report or (lambda _: True), **more)


def _main(arguments: list[str]) -> None:
    """Compresses; says each step on stdout, so that whoever watches can kill it there."""
    source, out, changes = Path(arguments[0]), Path(arguments[1]), json.loads(arguments[2])
    module.read_texts = random_texts

    def tell(now: Progress) -> bool:
        print(now.stage, now.layer, now.module, now.error, flush=True)
        return True

    compress(source, out, options(*changes.pop("levels"), **changes), tell)
    print("end", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
