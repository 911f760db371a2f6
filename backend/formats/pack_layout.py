"""What the buffers of a packed linear must be (kernels/cpu/layout.md), as arithmetic: no buffer is read for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats.gguf_cursor import damaged
from backend.formats.numbers import check_finite
from kernels.packed import SCHEMES, PackedLinear

__all__ = ["buffer_sizes", "check_buffers", "check_numbers", "check_parameters"]

#: scheme -> what its parameters may be
_PARAMETERS: dict[str, dict[str, tuple[int, ...]]] = {
    "f32": {},
    "f16": {},
    "bf16": {},
    "q8": {"group_size": (32, 64, 128)},
    "q4": {"group_size": (32, 64, 128)},
    "spqr": {"bits": (3, 4)},
    "aqlm": {
        "num_codebooks": tuple(range(1, 17)),
        "nbits_per_codebook": tuple(range(1, 17)),
        "in_group_size": (8, 16),
    },
}
_MAX_FEATURES = 1 << 24
_DENSE = {"f32": "<f4", "f16": "<u2", "bf16": "<u2"}


def check_parameters(module: str, scheme: object, out: object, columns: object, parameters: object) -> PackedLinear:
    """A linear without buffers.

    Raises:
        InvalidModelFileError: a scheme, a size or a parameter that does not exist.
    """
    sizes = [n for n in (out, columns) if isinstance(n, int) and not isinstance(n, bool) and 0 < n <= _MAX_FEATURES]
    if not isinstance(scheme, str) or scheme not in SCHEMES or len(sizes) != 2 or not isinstance(parameters, dict):
        raise damaged("A block of weights is described in a way that makes no sense.", f"{module}: {scheme!r}"[:200])
    allowed = _PARAMETERS[scheme]
    good = parameters.keys() == allowed.keys() and all(
        isinstance(value, int) and not isinstance(value, bool) and value in allowed[key]
        for key, value in parameters.items()
    )
    if not good:
        raise damaged(
            "A block of weights is described in a way that makes no sense.", f"{module}: {scheme} {parameters!r}"[:200]
        )
    if scheme == "aqlm" and sizes[1] % parameters["in_group_size"]:
        raise damaged("A block of weights is described in a way that makes no sense.", f"{module}: {sizes}")
    return PackedLinear(scheme, sizes[0], sizes[1], parameters)


def buffer_sizes(packed: PackedLinear) -> dict[str, tuple[str, int | None]]:
    """Buffer -> NumPy type and number of elements (None: any, decided by the outliers); all but `bias` and `perm`."""
    scheme, parameters = packed.scheme, packed.parameters
    panels, wide = -(-packed.out_features // 16), packed.in_padded
    tall = -(-packed.out_features // 64) * 64
    weights = panels * 16 * wide
    sizes: dict[str, tuple[str, int | None]] = {}
    if scheme in _DENSE:
        sizes["data"] = (_DENSE[scheme], weights)
    elif scheme == "q8":
        sizes["data"] = ("|i1", weights)
        sizes["scales"] = ("<f2", weights // parameters["group_size"])
    elif scheme == "q4":
        sizes["data"] = ("|u1", weights // 2)
        sizes["scales"] = ("<f2", weights // parameters["group_size"])
    elif scheme == "spqr":
        tiles = panels * (wide // 16)
        sizes["data"] = ("|u1", weights * parameters["bits"] // 8)
        sizes["levels"] = ("<u2", tiles * 6)
        sizes["scales"] = ("<f2", tiles * 4)
        sizes["outlier_steps"] = ("<i4", 2 * panels + 1)
        sizes["outlier_lanes"] = ("|u1", panels * 16)
        sizes["outliers"] = ("<u2", None)
    else:
        count, bits, group = (parameters[key] for key in ("num_codebooks", "nbits_per_codebook", "in_group_size"))
        sizes["data"] = ("|u1" if bits <= 8 else "<u2", tall * (wide // group) * count)
        sizes["codebooks"] = ("<f2", (count << bits) * group)
        sizes["scales"] = ("<f2", tall)
    if scheme in ("f16", "bf16", "q8", "q4", "spqr"):
        sizes["row_max"] = ("<f4", tall)
    return sizes


def check_buffers(module: str, packed: PackedLinear, buffers: Mapping[str, tuple[str, int]]) -> None:
    """Compares types and numbers of elements with the layout.

    Args:
        module: for the log.
        packed: checked by `check_parameters`.
        buffers: name -> NumPy type ("<f2") and elements, as found.

    Raises:
        InvalidModelFileError: one is missing, too many, or of another type or size.
    """
    expected = buffer_sizes(packed)
    if "bias" in buffers:
        expected["bias"] = ("<f4", packed.out_features)
    if "perm" in buffers:
        expected["perm"] = ("<u4", packed.in_features)
    wrong = sorted(expected.keys() ^ buffers.keys())
    wrong += [name for name in expected.keys() & buffers.keys() if not _same(buffers[name], expected[name])]
    if buffers.get("outliers", ("", 0))[1] % 32:
        wrong.append("outliers")
    if wrong:
        raise damaged(
            "The parts of a block of weights do not fit together.",
            f"{module}: {packed.scheme} {packed.out_features} x {packed.in_features}: {', '.join(wrong)}",
        )


def _same(found: tuple[str, int], expected: tuple[str, int | None]) -> bool:
    bits = {"<f2": "<u2"}  # halves may come as numbers or as their bits
    return bits.get(found[0], found[0]) == bits.get(expected[0], expected[0]) and expected[1] in (None, found[1])


def check_numbers(module: str, packed: PackedLinear) -> None:
    """Looks at the small buffers: what kernels multiply with must be finite, what they follow must lead inside.

    Codes are read only where their type has room for more than there are (AQLM of other than 8 and 16 bits).

    Raises:
        InvalidModelFileError: a number that is none, an outlier outside, an order of inputs that is none ...
    """
    buffers: Mapping[str, npt.NDArray[Any]] = packed.buffers
    for name in ("scales", "codebooks", "row_max", "bias"):
        if name in buffers:
            check_finite(buffers[name], "scales" if name != "bias" else "biases", f"{module}: {name}")
    if "perm" in buffers and not np.array_equal(np.sort(buffers["perm"]), np.arange(packed.in_features)):
        raise damaged("The order of its columns makes no sense.", module)
    if packed.scheme == "spqr":
        steps, laid = buffers["outlier_steps"], buffers["outliers"].reshape(-1, 2, 16)
        if steps[0] != 0 or steps[-1] != len(laid) or (steps[1:] < steps[:-1]).any():
            raise damaged("The list of its outliers contradicts itself.", module)
        if (len(laid) and int(laid[:, 0].max()) >= packed.in_features) or int(buffers["outlier_lanes"].max()) > 15:
            raise damaged("Some of its outliers lie outside their block of weights.", module)
        check_finite(laid[:, 1].view(np.float16), "scales", f"{module}: outliers")
    bits = packed.parameters.get("nbits_per_codebook", 8)
    if bits not in (8, 16) and int(buffers["data"].max()) >= 1 << bits:
        raise damaged("Some of its codes point behind their tables.", module)
