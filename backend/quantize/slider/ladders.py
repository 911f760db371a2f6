"""What a store holds of each linear: the levels that a slider chooses from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.formats.pack_writer import scheme_name
from backend.quantize.graph import Graph
from backend.quantize.levels import level_for
from backend.quantize.prepare import Prepared
from backend.quantize.run_blocks import level_of
from backend.quantize.slider.upgrades import Choice
from backend.quantize.store import Store, Stored

__all__ = ["TABLES", "Ladders", "table_level"]

#: what a slider chooses from for embedding and head
TABLES = ("q4", "q8")


def table_level(scheme: str) -> str:
    """The name of a table's level in the store."""
    return f"table-{scheme}"


@dataclass(frozen=True)
class Ladders:
    """The levels of every linear and table, in the order of the build.

    Attributes:
        store: where they are.
        places: module -> name of the level -> its name in the store.
        choices: module -> levels from the smallest to the largest.
    """

    store: Store
    places: Mapping[str, Mapping[str, str]]
    choices: Mapping[str, Sequence[Choice]]

    @classmethod
    def of(cls, prepared: Prepared, graph: Graph, store: Store) -> Ladders:
        """Looks into a full store. A linear that is kept at more bits has fewer levels than others."""
        places: dict[str, dict[str, str]] = {}
        choices: dict[str, list[Choice]] = {}
        tables = {job.module: job.recipe.name for job in prepared.tables}
        for job in prepared.jobs:
            found: dict[str, Choice] = {}
            names: dict[str, str] = {}
            if job.module in tables:
                wanted = [table_level(scheme) for scheme in dict.fromkeys((tables[job.module], *TABLES))]
            else:
                wanted = [level_for(level, graph.shapes[job.module][1]) for level in prepared.options.levels]
            for level in wanted:
                stored = level_of(store, job.module, level)
                assert stored is not None, (job.module, level)
                name = scheme_name(stored.packed)
                error = stored.error if math.isfinite(stored.error) else 0.0
                found[name] = Choice(name, stored.packed.nbytes, max(error, 0.0))
                names[name] = level if store.has(job.module, level) else name
            places[job.module] = names
            choices[job.module] = sorted(found.values(), key=lambda one: one.bytes)
        return cls(store, places, choices)

    def get(self, module: str, level: str) -> Stored:
        """A linear at a level."""
        found = level_of(self.store, module, self.places[module][level])
        assert found is not None, (module, level)
        return found
