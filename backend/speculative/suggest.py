"""Which of the installed models could draft for the loaded one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from backend.api.errors import NutshellError
from backend.api.schemas import ModelEntry
from backend.api.speculation_schemas import DraftSuggestion
from backend.engine.model import Model, Tokenizer
from backend.engine.tokenizing import HfTokenizer, gguf_tokenizer_files
from backend.formats.checkpoint import open_checkpoint
from backend.speculative.vocabulary import mismatch

__all__ = ["guessers", "suggestions"]

#: A draft model that reads more than this share of the weights' bytes for a token gains nothing, wherever they lie.
_SMALL = 0.5
_MOST = 12


def suggestions(model: Model, entry: ModelEntry, installed: Sequence[ModelEntry]) -> list[DraftSuggestion]:
    """The models that are at most half as large, those that fit first, then with the reason why not.

    Their vocabularies are read from the files and compared token by token; that takes up to 2 s each. The loaded
    model's tokenizer is read beside the thread that owns it, which changes nothing in it.

    Args:
        model: the loaded one.
        entry: its file.
        installed: what there is.
    """
    found = [
        DraftSuggestion(
            path=one.path, name=one.name, bytes=one.bytes, reason=_reason(model.tokenizer, model.info.n_vocab, one)
        )
        for one in _smaller(entry, installed)
    ]
    return sorted(found, key=lambda one: (bool(one.reason), one.bytes))


def guessers(entry: ModelEntry, installed: Sequence[ModelEntry]) -> list[Path]:
    """The files of those that fit a model that need not be loaded, the smallest first; as slow as `suggestions`."""
    try:
        tokenizer, rows = _vocabulary(Path(entry.path))
    except (NutshellError, OSError, ValueError, KeyError, TypeError):
        return []
    found = [one for one in _smaller(entry, installed) if not _reason(tokenizer, rows, one)]
    return [Path(one.path) for one in sorted(found, key=lambda one: one.bytes)]


def _smaller(entry: ModelEntry, installed: Sequence[ModelEntry]) -> list[ModelEntry]:
    small = (one for one in installed if one.error is None and one.path != entry.path)
    return [one for one in small if one.bytes <= _SMALL * entry.bytes][:_MOST]


def _reason(target: Tokenizer, ours: int, entry: ModelEntry) -> str:
    try:
        tokenizer, rows = _vocabulary(Path(entry.path))
    except NutshellError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError):
        return "Its vocabulary cannot be read."
    return mismatch(target, ours, tokenizer, rows)


def _vocabulary(path: Path) -> tuple[Tokenizer, int]:
    """A file's tokenizer, and how many rows its model has."""
    with contextlib.closing(open_checkpoint(path)) as checkpoint:
        config = checkpoint.config
        files = gguf_tokenizer_files(path) if checkpoint.kind == "gguf" else dict(checkpoint.tokenizer_files())
        tokenizer = HfTokenizer(files, config)
    return tokenizer, int(config.get("vocab_size", 0))
