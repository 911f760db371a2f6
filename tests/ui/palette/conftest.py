from __future__ import annotations

from tests.ui.chats import fake, window

__all__ = ["fake", "window"]
