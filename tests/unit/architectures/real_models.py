"""Real models beside the tests, the text they read, and their logits by transformers in float32."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.engine.tokenizing.gguf_source import gguf_tokenizer_files
from backend.engine.tokenizing.huggingface import HfTokenizer
from backend.formats.checkpoint import Checkpoint, open_checkpoint


def found_model(name: str) -> Path:
    """A file of the folder of test models; skips where it is not there."""
    folder = Path(os.environ.get("NUTSHELL_TEST_MODELS", Path.home() / ".cache" / "nutshell-test-models"))
    if not (folder / name).is_file():
        pytest.skip(f"the model {name} is not in {folder}")
    return folder / name


def opened(path: Path) -> Checkpoint:
    """The weights of a GGUF file as exact float32."""
    return open_checkpoint(path, dense_scheme="f32")


def some_text(path: Path, checkpoint: Checkpoint, length: int) -> list[int]:
    """Tokens of a text that no quantizer was shown: a page of Python's own help."""
    from pydoc_data.topics import topics

    tokenizer = HfTokenizer(gguf_tokenizer_files(path), checkpoint.config)
    tokens = tokenizer.encode(topics["assignment"], special=False)
    assert len(tokens) >= length
    return tokens[:length]


def transformers_logits(path: Path, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """(len(tokens), n_vocab): transformers reads the same GGUF file with its own code."""
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing to compare with")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: nothing to compare with")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that transformers imports for the file
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = model(torch.tensor([list(tokens)]), use_cache=False).logits[0].numpy()
    return logits
