"""Whether a model of the hub would run here, in words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from backend.api.hub_schemas import Fit
from ui.viewmodels.words import size

__all__ = ["fit_words"]


def fit_words(one: Fit) -> str:
    """As in: Fits · 4.1 GB of memory · about 12 tokens a second."""
    if one.verdict == "does not fit":
        return _tr("Does not fit. {0}").format(one.remedy)
    speed = _tr("about {0} tokens a second").format(f"{one.tokens:.1f}" if one.tokens < 10 else f"{one.tokens:.0f}")
    memory = _tr("{0} of memory").format(size(one.ram))
    if one.verdict == "fits if":
        return " · ".join((_tr("Fits if you do this: {0}").format(one.remedy), memory, speed))
    return " · ".join((_tr("Fits"), memory, speed))


def _tr(text: str) -> str:
    return QCoreApplication.translate("fit_words", text)
