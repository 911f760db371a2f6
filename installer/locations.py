"""Where things are. The cache is the program's own cache folder, computed here without the packages it needs."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "installer" / "locks"
CATALOGUE = ROOT / "models_catalog" / "builtin.json"
#: our compiled kernels, built in place
NATIVE_KERNELS = ROOT / "kernels" / "cpu" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if sys.platform == "win32" else "bin")
VENV_PYTHON = SCRIPTS / ("python.exe" if sys.platform == "win32" else "python")


def cache_dir() -> Path:
    """The per-user cache folder; not created here."""
    return _folder("NUTSHELL_CACHE_DIR", "cache")


def data_dir() -> Path:
    """The per-user data folder (the conversations), which the installer never touches but names."""
    return _folder("NUTSHELL_DATA_DIR", "data")


def _folder(variable: str, kind: str) -> Path:
    if chosen := os.environ.get(variable, "").strip():
        return Path(chosen).expanduser().absolute()
    portable = ROOT / "portable-data"
    if portable.is_dir():
        return portable / "cache" if kind == "cache" else portable
    return _windows_folder(kind) if sys.platform == "win32" else _posix_folder(kind)


def _windows_folder(kind: str) -> Path:
    local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    return Path(local, "nutshell", "Cache") if kind == "cache" else Path(local, "nutshell")


def _posix_folder(kind: str) -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME" if kind == "cache" else "XDG_DATA_HOME", "")
    if Path(chosen).is_absolute():
        return Path(chosen) / "nutshell"
    usual = {"cache": ".cache", "data": ".local/share"}
    if sys.platform == "darwin":
        usual = {"cache": "Library/Caches", "data": "Library/Application Support"}
    return Path.home() / usual[kind] / "nutshell"
