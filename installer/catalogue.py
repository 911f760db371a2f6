"""What the catalogue says of the built-in model. Read at every start, so it imports next to nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from installer import locations


class BuiltinModel(NamedTuple):
    """The built-in model's file. `size` is bytes; `package` is the Python wheel that holds it."""

    file: str
    size: int
    sha256: str
    package: str
    version: str

    @classmethod
    def read(cls, catalogue: Path | None = None) -> BuiltinModel:
        """The first (and only) built-in model of the catalogue."""
        entry = json.loads((catalogue or locations.CATALOGUE).read_bytes())["models"][0]
        source = entry["source"]
        return cls(entry["file"], entry["bytes"], entry["sha256"], source["package"], source["version"])

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return locations.cache_dir() / "models" / self.file

    @property
    def present(self) -> bool:
        """Whether a file of the right size is there; its hash was checked before it got its name."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False
