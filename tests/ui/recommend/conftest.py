from __future__ import annotations

from tests.ui.pages import fake, window

__all__ = ["fake", "window"]
