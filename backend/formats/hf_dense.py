"""Hugging Face folders with plain weights (f32, f16, bf16); everything is in `HfFolder`."""

from __future__ import annotations

from backend.formats.hf_folder import HfFolder

__all__ = ["HfDense"]


class HfDense(HfFolder):
    """A folder of config.json and .safetensors files whose linears are stored as they are computed with."""
