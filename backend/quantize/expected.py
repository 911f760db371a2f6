"""How much a level may be expected to cost, from what was measured before; for the choice before the work.

Growth of perplexity over the source's on held-out text, without tuning, as a range. Measured on our own builds, code /
prose: SmolLM2-135M at 2x8 +134 / +103 %, 3x8 +27 / +18 %, SpQR-3 +15 / +12 %, SpQR-4 +3 / +1 %. Before linears made
up for the errors of those before them, which left 65 and 45 % of the growth at 2x8 there: 2x8 on Qwen2.5-Coder-0.5B
+73 / +70 %; SpQR-3 on the same +4 / +6 %, on the 1.5B +5 / +7 %.
The rest: llama.cpp's types of like error per linear, and the tables of the AQLM and SpQR papers for 7B (2x8 +29 %, 3x8
+7 %, SpQR-3 +3.4 %, SpQR-4 +0.9 %). What a build really costs is measured when it is made.
"""

from __future__ import annotations

__all__ = ["TUNED", "expected_loss"]

#: parameters below which a row applies -> level -> (low, high)
_TABLE: tuple[tuple[float, dict[str, tuple[float, float]]], ...] = (
    (
        0.8e9,
        {
            "aqlm-1x8": (5.0, 50.0),
            "aqlm-2x8": (0.4, 1.4),
            "aqlm-3x8": (0.15, 0.35),
            "spqr-3": (0.04, 0.15),
            "aqlm-4x8": (0.04, 0.10),
            "spqr-4": (0.005, 0.03),
            "q8": (0.0, 0.003),
        },
    ),
    (
        3e9,
        {
            "aqlm-1x8": (2.0, 20.0),
            "aqlm-2x8": (0.25, 0.6),
            "aqlm-3x8": (0.07, 0.18),
            "spqr-3": (0.04, 0.08),
            "aqlm-4x8": (0.02, 0.06),
            "spqr-4": (0.005, 0.015),
            "q8": (0.0, 0.003),
        },
    ),
    (
        float("inf"),
        {
            "aqlm-1x8": (1.0, 10.0),
            "aqlm-2x8": (0.2, 0.4),
            "aqlm-3x8": (0.05, 0.1),
            "spqr-3": (0.025, 0.05),
            "aqlm-4x8": (0.015, 0.04),
            "spqr-4": (0.004, 0.012),
            "q8": (0.0, 0.002),
        },
    ),
)
#: what tuning leaves of the growth; papers report a half to two thirds for blocks, a third for PV at 2 bits
TUNED = {"none": 1.0, "block": 0.65, "p": 0.5, "pv": 0.4}


def expected_loss(level: str, parameters: int, tuning: str = "none") -> tuple[float, float] | None:
    """(low, high) growth of perplexity as a fraction, or None where nothing was measured.

    Args:
        level: one of `backend.quantize.options.LEVELS`.
        parameters: of the model.
        tuning: one of `backend.quantize.options.TUNINGS`; what it leaves is a guess from papers.
    """
    row = next(levels for below, levels in _TABLE if parameters < below)
    if level not in row:
        return None
    low, high = row[level]
    left = TUNED.get(tuning, 1.0)
    return low * left, high * left
