"""Pinned packages: read a lock, bring its wheels into the cache, install them without the network.

Wheels are fetched a few at a time and kept, so that a set-up that is killed, or a new clone, fetches nothing twice.
pip's own cache helps too but may be switched off.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from installer import locations
from installer.processes import Runner

#: fetched one by one: each is over 10 MB, the rest of the base together is 8 MB
_LARGE = {"pyside6-essentials", "numpy", "cmake", "ruff", "mypy", "transformers", "hypothesis"}


@dataclass(frozen=True)
class Pin:
    """One line of a lock: a package at a version, perhaps for one system only."""

    name: str
    version: str
    marker: str = ""

    @property
    def applies(self) -> bool:
        """Whether this computer needs it. Locks use one form of marker only (tests hold it)."""
        found = re.fullmatch(r'sys_platform (==|!=) "(\w+)"', self.marker)
        if not found:
            return True
        return (sys.platform == found[2]) == (found[1] == "==")

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(name: str, folder: Path | None = None) -> list[Pin]:
    """The pins of `locks/<name>.txt`."""
    pins = []
    for line in ((folder or locations.LOCKS) / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].split(" --hash=")[0].strip()
        if text:
            requirement, _, marker = text.partition(";")
            package, _, version = requirement.strip().partition("==")
            pins.append(Pin(package, version, marker.strip()))
    return pins


class Wheels:
    """The wheels kept for this Python, in the cache."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.folder = locations.cache_dir() / "wheels" / f"{sys.implementation.cache_tag}"

    def missing(self, pins: Iterable[Pin]) -> list[Pin]:
        """Pins whose wheels are not here yet."""
        here = set()
        for path in self.folder.glob("*.whl"):
            name, version, *_ = path.name.split("-")
            here.add((normal(name), version))
        return [pin for pin in pins if pin.applies and (normal(pin.name), pin.version) not in here]

    def fetch(self, pins: Iterable[Pin]) -> None:
        """Brings what is missing; each batch moves into the folder whole.

        Raises:
            CommandError: pip could not.
        """
        absent = self.missing(pins)
        large = [[pin] for pin in absent if normal(pin.name) in _LARGE]
        small = [pin for pin in absent if normal(pin.name) not in _LARGE]
        part = self.folder.with_name(self.folder.name + ".part")
        got = 0
        for batch in [*large, small]:
            if not batch:
                continue
            shutil.rmtree(part, ignore_errors=True)
            counter = _Counter(got, len(absent))
            self._runner.run(
                [*pip("wheel"), "--no-deps", "--prefer-binary", "--wheel-dir", part, *map(str, batch)],
                watch=counter.watch,
            )
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in part.glob("*.whl"):
                path.replace(self.folder / path.name)
            got += len(batch)
        shutil.rmtree(part, ignore_errors=True)

    def install(self, pins: Iterable[Pin], *options: str) -> None:
        """Installs from the folder alone, exactly these versions.

        Raises:
            CommandError: pip could not.
        """
        wanted = [str(pin) for pin in pins if pin.applies]
        self._runner.run(
            [*pip("install"), "--no-deps", "--no-index", "--find-links", self.folder, *options, *wanted],
            watch=installing(len(wanted)),
        )

    def prune(self, keep: Iterable[Pin]) -> None:
        """Removes wheels of versions that no lock names any more."""
        pinned = {(normal(pin.name), pin.version) for pin in keep}
        for path in self.folder.glob("*.whl"):
            name, version, *_ = path.name.split("-")
            if (normal(name), version) not in pinned:
                path.unlink()


class _Counter:
    """Turns pip's lines into "12 of 32, numpy (16.9 MB)"."""

    def __init__(self, before: int, total: int) -> None:
        self._got = before
        self._total = total

    def watch(self, line: str) -> str | None:
        """What to show for a line of pip's output."""
        if match := re.match(r"\s*(?:Collecting|Processing) (\S+)", line):
            self._got += 1
            name = re.split(r"==|-\d", match[1].replace("\\", "/").rsplit("/", 1)[-1])[0]
            return f"{min(self._got, self._total)} of {self._total}, {name}"
        if match := re.match(r"\s*Downloading (\S+?)-[^ ]* \(([\d.]+ [kMG]B)\)", line):
            return f"{min(self._got, self._total)} of {self._total}, {match[1].rsplit('/', 1)[-1]} ({match[2]})"
        return None


def installing(count: int) -> Callable[[str], str | None]:
    """A watcher for `pip install` of local files."""
    return lambda line: f"{count} packages" if line.startswith("Installing collected packages") else None


def pip(command: str) -> list[str]:
    """The start of a pip command in the virtual environment."""
    words = [str(locations.VENV_PYTHON), "-m", "pip", command]
    # three tries each: pip's default of five with growing pauses takes a minute to say that there is no network
    return [*words, "--retries", "2"] if command in {"wheel", "download", "install"} else words
