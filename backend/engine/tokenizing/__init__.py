"""Tokenizers of the native engine: `tokenizer.json` as Hugging Face writes it, and the vocabularies of GGUF files.

Both become one `tokenizers.Tokenizer` behind the `Tokenizer` protocol of `backend.engine.model`.
"""

from __future__ import annotations

from backend.engine.tokenizing.files import MOST_TOKENIZER_BYTES, TOKENIZER_FILES, folder_files
from backend.engine.tokenizing.gguf_source import gguf_tokenizer_files
from backend.engine.tokenizing.huggingface import HfTokenizer

__all__ = ["MOST_TOKENIZER_BYTES", "TOKENIZER_FILES", "HfTokenizer", "folder_files", "gguf_tokenizer_files"]
