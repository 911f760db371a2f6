"""How much is learned from how often; no torch here, plans need it too."""

from __future__ import annotations

__all__ = ["BLOCK_EPOCHS", "LESSONS", "WHOLE_CHECKED"]

#: over the calibration's texts, in block-wise tuning
BLOCK_EPOCHS = 4
#: texts of the last stage for one of the calibration's: other texts teach more than the same ones again
LESSONS = 3
#: texts that the last stage chooses by, at most
WHOLE_CHECKED = 4
