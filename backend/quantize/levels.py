"""What the names of levels mean; no torch here, the engine process asks too."""

from __future__ import annotations

import re

from backend.api.errors import InvalidRequestError
from backend.quantize.options import LEVELS
from backend.quantize.recipes import Recipe, recipe_named

__all__ = ["level_for", "level_recipe"]

_AQLM = re.compile(r"aqlm-(\d+)x(\d+)", re.ASCII)
#: inputs that a group holds
_GROUPS = {"aqlm": 8, "spqr": 16}


def level_recipe(level: str) -> Recipe:
    """What a level means in numbers, for sizes.

    Raises:
        InvalidRequestError: there is no such level.
    """
    if level not in LEVELS:
        raise InvalidRequestError(f"There is no level {level!r} here.", remedy=f"Use one of {', '.join(LEVELS)}.")
    aqlm = _AQLM.fullmatch(level)
    if aqlm is not None:
        return Recipe(level, "aqlm", int(aqlm[1]), int(aqlm[1]) * int(aqlm[2]) / 8)
    return recipe_named(level)


def level_for(level: str, in_features: int) -> str:
    """The level that a linear of this width gets: q8 where the inputs do not fill whole groups."""
    return "q8" if in_features % _GROUPS.get(level_recipe(level).scheme, 1) else level
