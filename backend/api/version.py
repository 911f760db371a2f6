"""The version of this program, read once from the installed metadata."""

from __future__ import annotations

import functools
from importlib import metadata

__all__ = ["version"]


@functools.cache
def version() -> str:
    """As in "0.1.0"; "0.0.0" when run from a tree that was never installed."""
    try:
        return metadata.version("nutshell")
    except metadata.PackageNotFoundError:
        return "0.0.0"
