"""Where Nutshell keeps its files.

In this order: the folders named by NUTSHELL_DATA_DIR and NUTSHELL_CACHE_DIR; a folder `portable-data` beside the
program; the system's folders for the user's data.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Paths", "paths"]

APP = "nutshell"
PORTABLE = "portable-data"


# A named tuple: importing dataclasses costs 10 ms, and the window reads this before it shows itself.
class Paths(NamedTuple):
    """The folders and files of one user. None of them is created here.

    Attributes:
        data: what must not be lost. cache: what can be fetched or made again.
        logs: log files. database: the conversations. settings: the settings file. models: the built-in model.
        builds: models that were compressed here, an hour of work each. learned: what loads took on this machine.
        measured: how fast its memory and its disks are.
    """

    data: Path
    cache: Path
    logs: Path
    database: Path
    settings: Path
    models: Path
    builds: Path
    learned: Path
    measured: Path


def program_folder() -> Path:
    """The folder that holds the program: of the executable in a package, else of the source tree."""
    if getattr(sys, "frozen", False):
        return Path(sys.executable).resolve().parent
    return Path(__file__).resolve().parents[2]


def _layout(data: Path, cache: Path, logs: Path) -> Paths:
    return Paths(
        data=data,
        cache=cache,
        logs=logs,
        database=data / "nutshell.db",
        settings=data / "settings.json",
        models=cache / "models",
        builds=data / "builds",
        learned=data / "learned.json",
        measured=cache / "measured.json",
    )


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser().absolute() if value else None


def paths() -> Paths:
    """The places as they are now; reads the environment at every call, creates nothing."""
    data, cache = _named("NUTSHELL_DATA_DIR"), _named("NUTSHELL_CACHE_DIR")
    if data is not None and cache is not None:
        return _layout(data, cache, data / "logs")
    portable = program_folder() / PORTABLE
    if portable.is_dir():
        data_default, cache_default, logs = portable, portable / "cache", portable / "logs"
    else:
        import platformdirs  # 10 ms that the two cases above need not pay

        # appauthor False: on Windows AppData\Local\nutshell and not nutshell\nutshell
        folders = platformdirs.PlatformDirs(APP, appauthor=False)
        data_default, cache_default, logs = folders.user_data_path, folders.user_cache_path, folders.user_log_path
    return _layout(data or data_default, cache or cache_default, logs if data is None else data / "logs")
