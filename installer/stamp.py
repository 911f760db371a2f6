"""What a finished set-up is made of, and the one file that says it is finished."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from installer import locations
from installer.catalogue import BuiltinModel
from installer.cpu import llama_key

#: goes up when the set-up itself changes in a way that its inputs do not show
_FORMAT = "1"

Keys = dict[str, str]


class Stamp:
    """Keys of finished steps, kept in the virtual environment. Every change is one atomic write.

    A step that writes into the environment is marked before it starts (`start`), so that one that was cut off can be
    told from one that never ran.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or locations.VENV / "nutshell-setup.json"
        self.done: Keys = {}
        self.started: list[str] = []
        try:
            content = json.loads(self._path.read_bytes())
            self.done = dict(content["done"])
            self.started = list(content["started"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def has(self, wanted: Keys) -> bool:
        """Whether all of these are finished."""
        return all(self.done.get(step) == key for step, key in wanted.items())

    def start(self, step: str) -> None:
        """Says that a step begins to change the environment."""
        self.done.pop(step, None)
        if step not in self.started:
            self.started.append(step)
        self._write()

    def cancel(self, step: str) -> None:
        """Takes `start` back: nothing was changed after all."""
        if step in self.started:
            self.started.remove(step)
            self._write()

    def finish(self, step: str, key: str) -> None:
        """Says that a step is finished."""
        self.done[step] = key
        if step in self.started:
            self.started.remove(step)
        self._write()

    def clear(self) -> None:
        """Forgets everything: the environment is made anew."""
        self.done, self.started = {}, []

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"done": self.done, "started": self.started}, indent=1), encoding="utf-8")
        part.replace(self._path)


def digest(*names: str) -> str:
    """A hash of files of the repository."""
    found = hashlib.sha256(_FORMAT.encode())
    for name in names:
        found.update((locations.ROOT / name).read_bytes())
    return found.hexdigest()[:16]


def wanted_keys(parts: Iterable[str] = ()) -> Keys:
    """What must be finished for chat and for these parts: a key for each step.

    Called at every start: reads small files and the processor's name, 3 ms.
    """
    wanted = {
        # a virtual environment cannot be moved, nor used by another Python
        "environment": f"{sys.implementation.cache_tag} {locations.ROOT}",
        "packages": digest("installer/locks/base.txt"),
        "llama": llama_key(),
        "program": digest("pyproject.toml"),
        "kernels": _kernels_key(),
        "model": digest("models_catalog/builtin.json"),
        "system": _FORMAT,
    }
    for part in parts:
        if part == "compression":
            wanted["torch"] = digest("installer/locks/torch.txt")
        wanted[part] = digest(f"installer/locks/{part}.txt")
    return wanted


def _kernels_key() -> str:
    """Names a build of our kernels: the sources, 60 small files, and the Python that it is made for."""
    folder = locations.ROOT / "kernels" / "cpu"
    patterns = ("*.cpp", "*.h", "levels/*.cpp", "levels/*.h", "ops/*.h", "simd/*.h", "CMakeLists.txt")
    names = sorted(
        path.relative_to(locations.ROOT).as_posix() for found in map(folder.glob, patterns) for path in found
    )
    return f"{sys.implementation.cache_tag} {digest(*names)}"


def is_ready(*, window: bool) -> bool:
    """Whether the program can start right away. Runs at every start."""
    wanted = wanted_keys()
    if not window:
        wanted.pop("system")
    there = locations.VENV_PYTHON.exists() and locations.NATIVE_KERNELS.exists()
    return there and Stamp().has(wanted) and BuiltinModel.read().present
