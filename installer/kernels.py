"""Builds our own native kernels beside their sources (`kernels/cpu/_native...`), and only when those have changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from installer import locations
from installer.llama import compile_progress
from installer.processes import Runner
from installer.wheels import Wheels, read_lock


def build(runner: Runner, wheels: Wheels) -> None:
    """Compiles what has changed. The compiler's folder and the tools are kept, so that the next time takes seconds.

    Raises:
        CommandError: a download, CMake or the compiler failed.
    """
    pins = read_lock("build")
    # CMake's folder holds absolute paths of the clone and of the tools
    clone, pinned = (
        hashlib.sha256(text.encode()).hexdigest()[:12] for text in (str(locations.ROOT), " ".join(map(str, pins)))
    )
    work = locations.cache_dir() / "build" / f"kernels-{clone}" / pinned
    tools = work / "tools"
    if not tools.is_dir():  # once: made anew, nanobind's headers would have everything compiled again
        wheels.fetch(pins)
        shutil.rmtree(work.parent, ignore_errors=True)
        work.mkdir(parents=True)
        part = work / "tools.part"
        wheels.install(pins, "--target", str(part))
        part.replace(tools)
    env = {"PYTHONPATH": str(tools), "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    cmake: list[str | Path] = [locations.VENV_PYTHON, "-m", "cmake"]
    options = [f"-DPython_EXECUTABLE={locations.VENV_PYTHON}", "-DCMAKE_BUILD_TYPE=Release"]
    if sys.platform != "win32":  # there, CMake finds Visual Studio by itself
        options += ["-G", "Ninja"]
    objects = work / f"objects-{sys.implementation.cache_tag}"
    runner.run([*cmake, "-S", locations.ROOT / "kernels" / "cpu", "-B", objects, *options], env=env)
    runner.run([*cmake, "--build", objects, "--config", "Release"], env=env, watch=compile_progress)
