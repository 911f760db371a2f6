"""Text that a model reads while it is compressed (README.md says where it is from)."""

from backend.quantize.calibration.choose import Calibration, Source, calibration_tokens

__all__ = ["Calibration", "Source", "calibration_tokens"]
