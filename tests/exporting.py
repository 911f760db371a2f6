"""Whether a build and the folder that it was exported to say the same; as a program, for real ones.

python -m tests.exporting BUILD FOLDER [TEXT [TOKENS]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backend.architectures import build
from backend.formats.checkpoint import open_checkpoint
from kernels.cpu.executor import CpuExecutor

_ROWS = 64


def native_logits(path: Path, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(n, n_vocab) by our engine."""
    checkpoint = open_checkpoint(path)
    try:
        executor = CpuExecutor(build(checkpoint).program, capacity=len(tokens), max_rows=_ROWS, threads=1)
        rows = []
        for first in range(0, len(tokens), _ROWS):
            some = tokens[first : first + _ROWS].tolist()
            rows.append(executor.forward(some, range(-1, len(some) - 1), range(len(some))).astype(np.float64))
            executor.commit(range(len(some)))
        return np.concatenate(rows)
    finally:
        checkpoint.close()


def transformers_logits(folder: Path, tokens: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], set[str]]:
    """(n, n_vocab) by transformers in float32, and the names of the modules that are QuantizedLinear there."""
    import numba
    import torch
    from transformers import AutoModelForCausalLM

    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # the package's loop for 256 entries adds to shared sums without a lock
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        packed = {name for name, one in model.named_modules() if type(one).__name__ == "QuantizedLinear"}
        with torch.no_grad():
            found = [model(torch.from_numpy(tokens)[None]).logits[0].double().numpy()]
        return np.concatenate(found), packed
    finally:
        numba.set_num_threads(threads)


def divergence(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and largest KL(ours | theirs) in nats, and the share of rows with the same most probable token."""
    a, b = (x - x.max(axis=1, keepdims=True) for x in (ours, theirs))
    a, b = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (a, b))
    kl = (np.exp(a) * (a - b)).sum(axis=1)
    return float(kl.mean()), float(kl.max()), float((a.argmax(axis=1) == b.argmax(axis=1)).mean())


def _main(arguments: list[str]) -> None:
    from transformers import AutoTokenizer

    path, folder = Path(arguments[0]), Path(arguments[1])
    text = Path(arguments[2]).read_text() if len(arguments) > 2 else "The sea is blue because " * 40
    count = int(arguments[3]) if len(arguments) > 3 else 256
    tokens = np.array(AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:count], np.int64)
    theirs, packed = transformers_logits(folder, tokens)
    mean, most, top = divergence(native_logits(path, tokens), theirs)
    print(json.dumps({"tokens": len(tokens), "kl": mean, "kl_max": most, "top1": top, "quantized": len(packed)}))


if __name__ == "__main__":
    _main(sys.argv[1:])
