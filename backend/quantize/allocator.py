"""Memory that goes back to the system when it is let go of."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["return_large_blocks"]

_M_MMAP_THRESHOLD = -3
_THRESHOLD = 1 << 17


def return_large_blocks() -> None:
    """Makes glibc map blocks of 128 KB and more by themselves from now on, in the whole process.

    By itself it raises that limit to the largest block that was ever freed (up to 32 MB): arrays then come from a heap
    with holes. The peak of a compression grew with its text because of that, in some runs and not in others: 328 to
    539 MB for 262,144 tokens, and 304 in every run with a fixed limit. Other systems need nothing.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
    except (OSError, AttributeError):  # a C library without it
        return
