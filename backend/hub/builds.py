"""Packs and Hugging Face folders in the list of models: what is read of them, and how it is said."""

from __future__ import annotations

import re

from backend.api.schemas import ModelEntry
from backend.architectures import ARCHITECTURES
from backend.formats.describe import Description, describe
from backend.formats.gguf_checks import NotForChatError
from backend.hub.stores import Candidate

__all__ = ["build_entry", "scheme_words"]

_DENSE = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_AQLM = re.compile(r"aqlm-(\d+x\d+)(?:g(\d+))?", re.ASCII)
_BITS = re.compile(r"(spqr|q)-?(\d)", re.ASCII)


def build_entry(candidate: Candidate, identity: str) -> ModelEntry:
    """The entry of a pack or a folder, from its headers.

    Raises:
        InvalidModelFileError, UnsupportedModelError: with the reason in sentences.
        NotForChatError: an architecture that is not known here; most folders of that kind are no chat models at all.
    """
    found = describe(candidate.path)
    if found.architecture not in ARCHITECTURES:
        raise NotForChatError(
            "This model cannot be used here.",
            why=f"Its architecture is {found.architecture[:40]!r}; known are {', '.join(ARCHITECTURES)}.",
            remedy="Look for a GGUF file of the same model.",
        )
    return ModelEntry(
        id=identity,
        name=candidate.name or found.name,
        path=str(candidate.path),
        source=candidate.source,
        bytes=found.bytes,
        architecture=found.architecture,
        parameters=found.parameters,
        quantization=scheme_words(found),
        context_length=found.context_length,
        layers=found.layers,
    )


def scheme_words(found: Description) -> str:
    """How a build stores its weights: "AQLM 2x8, 2.5 bits per weight, data-free", "slider from 2.3 to 5.1 bits per
    weight"; plain numbers by their type alone.
    """
    if found.scheme in _DENSE:
        return _DENSE[found.scheme]
    parts = [_scheme_name(found.scheme)]
    if found.bits is not None:
        parts = [f"slider from {found.bits[0]:.1f} to {found.bits[1]:.1f} bits per weight"]
    elif found.parameters and found.bytes:
        parts.append(f"{8 * found.bytes / found.parameters:.1f} bits per weight")
    if found.data_free:
        parts.append("data-free")
    return ", ".join(part for part in parts if part)


def _scheme_name(scheme: str) -> str:
    """AQLM 2x8 for "aqlm-2x8", SpQR 3-bit for "spqr-3", Q4 for "q4"."""
    aqlm = _AQLM.fullmatch(scheme)
    if aqlm is not None:
        return f"AQLM {aqlm[1]}" + (f", groups of {aqlm[2]}" if aqlm[2] else "")
    bits = _BITS.fullmatch(scheme)
    if bits is not None:
        return f"SpQR {bits[2]}-bit" if bits[1] == "spqr" else f"Q{bits[2]}"
    return scheme
