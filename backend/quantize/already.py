"""A build that an earlier call of the same work has made: after a kill behind the last step there is nothing to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.api.errors import ModelError
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_writer import scheme_name
from backend.quantize.finish import Row
from backend.quantize.prepare import Prepared

__all__ = ["already_built", "run_sum"]


def run_sum(prepared: Prepared) -> str:
    """Of all that decides the bits; in the description of a build."""
    return hashlib.sha256(json.dumps(prepared.run(), sort_keys=True).encode()).hexdigest()[:32]


def already_built(prepared: Prepared, out: Path) -> tuple[tuple[Row, ...], Mapping[str, Any]] | None:
    """Linears and description of `out` where it is the build that `prepared` makes; errors and times are not known.

    None where there is no such file, or another one.
    """
    if not out.is_file():
        return None
    try:
        checkpoint = PackCheckpoint(out)
    except ModelError:
        return None
    try:
        about = checkpoint.metadata
        if about.get("run") != run_sum(prepared) or not isinstance(about.get("checked"), dict):
            return None
        kept = set(about.get("protected", ()))
        rows = []
        for module in checkpoint.linears():
            packed = checkpoint.linear(module)
            bits = 8 * packed.nbytes / (packed.out_features * packed.in_features)
            rows.append(
                Row(
                    module,
                    packed.out_features,
                    packed.in_features,
                    scheme_name(packed),
                    bits,
                    None,
                    module in kept,
                    0.0,
                )
            )
        return tuple(rows), about
    except ModelError:  # damaged: it is made again, or refused as any file that is in the way
        return None
    finally:
        checkpoint.close()
