"""Whether there is a screen, asked before Qt is: without one Qt ends the process with an abort."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = ["why_no_window"]


def why_no_window(env: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str:
    """A sentence with a way out where a window cannot be shown, else ""."""
    if not platform.startswith("linux") or env.get("QT_QPA_PLATFORM"):
        return ""
    if env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"):
        return ""
    return (
        "Nutshell cannot open a window here, because no screen is connected to this terminal. "
        'Use it in the terminal instead: nutshell chat, or nutshell ask "Why is the sky blue?"'
    )
