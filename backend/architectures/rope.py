"""Frequencies of rotary position embeddings, with the ways of stretching them to longer texts.

All follow the definitions that models were trained with, as transformers has them: `rope_parameters` (version 5) or
`rope_theta` and `rope_scaling` (before).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.architectures.config import ConfigReader, unsupported

_KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeFrequencies:
    """Attributes:
    inverse: (head_dim / 2,) float32, radians per position.
    attention_factor: of cos and sin (yarn; else 1).
    """

    inverse: npt.NDArray[np.float32]
    attention_factor: float = 1.0


def read_rope(reader: ConfigReader, head_dim: int, max_position_embeddings: int) -> RopeFrequencies:
    """Takes every key about rotation out of a config.

    Raises:
        UnsupportedModelError: a kind of scaling, or a key of it, that is not known, by name.
        InvalidModelFileError: a value that makes no sense.
    """
    if head_dim % 2:
        raise unsupported(f"Its setting head_dim is {head_dim}, and half a head cannot be rotated.")
    reader.refuse_unless("partial_rotary_factor", 1, 1.0)
    reader.refuse_unless("rope_interleaved", False)
    theta = reader.number("rope_theta", 10_000.0, above=1.0)
    scaling, section = reader.value("rope_scaling"), "rope_scaling"
    parameters = reader.value("rope_parameters")  # taken in any case
    if not scaling:
        scaling, section = parameters or {}, "rope_parameters"
    if not isinstance(scaling, Mapping):
        raise reader.bad(section, scaling)
    return _scaled(ConfigReader(scaling, f"{section}."), theta, head_dim, max_position_embeddings)


def _scaled(inner: ConfigReader, theta: float, head_dim: int, max_position_embeddings: int) -> RopeFrequencies:
    # "type" is the older name; where both are there, the newer one counts
    older = inner.value("type")
    kind = inner.one_of(
        "type" if inner.value("rope_type") is None and older is not None else "rope_type", "default", _KINDS
    )
    inner.refuse_unless("partial_rotary_factor", 1, 1.0)
    base = inner.number("rope_theta", theta, above=1.0)
    plain = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    attention_factor = 1.0
    if kind == "linear":
        plain = plain / inner.number("factor")
    elif kind == "llama3":
        original = inner.integer("original_max_position_embeddings", max_position_embeddings)
        plain = _llama3(inner, plain, original)
    elif kind == "yarn":
        original = inner.integer("original_max_position_embeddings", max_position_embeddings)
        factor = inner.number("factor", max_position_embeddings / original)
        plain = _yarn(inner, plain, base, factor, original)
        attention_factor = _yarn_attention(inner, factor)
    else:  # written into configs without scaling; it says nothing there
        inner.value("original_max_position_embeddings")
        inner.refuse_unless("factor", 1, 1.0)
    inner.finish()
    return RopeFrequencies(plain.astype(np.float32), attention_factor)


def _llama3(inner: ConfigReader, plain: npt.NDArray[np.float64], original: int) -> npt.NDArray[np.float64]:
    """Slow frequencies are divided by `factor`, fast ones kept, those between blended (Llama 3.1)."""
    factor, low, high = inner.number("factor"), inner.number("low_freq_factor"), inner.number("high_freq_factor")
    if high <= low:
        raise inner.bad("high_freq_factor", high)
    turns = original * plain / (2 * math.pi)  # in the length of the first training
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(plain * (kept + (1 - kept) / factor), np.float64)


def _yarn(
    inner: ConfigReader, plain: npt.NDArray[np.float64], base: float, factor: float, original: int
) -> npt.NDArray[np.float64]:
    """Pairs that turn more than beta_fast times are kept, fewer than beta_slow divided, a ramp between (YaRN, 3.2)."""
    half = len(plain)
    fast, slow = inner.number("beta_fast", 32.0), inner.number("beta_slow", 1.0)
    first, last = (half * math.log(original / (turns * 2 * math.pi)) / math.log(base) for turns in (fast, slow))
    if inner.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    if first == last:
        last += 0.001
    divided = np.clip((np.arange(half) - first) / (last - first), 0, 1)
    return np.asarray(plain * (1 - divided + divided / factor), np.float64)


def _yarn_attention(inner: ConfigReader, factor: float) -> float:
    def grown(times: float) -> float:
        return 0.1 * times * math.log(factor) + 1 if factor > 1 else 1.0

    mscale, all_dims = inner.value("mscale"), inner.value("mscale_all_dim")
    given = inner.value("attention_factor")
    if given is not None:
        return inner.number("attention_factor")
    if mscale and all_dims:
        return grown(inner.number("mscale")) / grown(inner.number("mscale_all_dim"))
    return grown(1)
