"""Builds llama-cpp-python once for this processor, and keeps the wheel.

The build takes some minutes, so every stage is kept: the source archive, the tools, the unpacked source, and the
compiler's folder, in which ninja goes on where it was stopped. Build tools (CMake, ninja) are pinned wheels, so that
an old CMake on the computer does not matter.

llama-cpp-python depends on diskcache, which stores pickles. Only llama-cpp-python's own `LlamaDiskCache` uses it; we
call the low-level functions and never that class.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from pathlib import Path

from installer import locations
from installer.cpu import CMAKE_FLAGS, LLAMA_VERSION, llama_key
from installer.processes import Runner
from installer.wheels import Wheels, pip, read_lock

_BUILD = (
    "import sys; from scikit_build_core.build import build_wheel; "
    "print(build_wheel(sys.argv[1], {'build-dir': sys.argv[2]}))"
)
_CHECK = "import llama_cpp; llama_cpp.llama_backend_init(); print(llama_cpp.llama_print_system_info().decode())"


def kept_wheel() -> Path | None:
    """The wheel for this processor, if it has been built."""
    return next(_store().glob("*.whl"), None)


def build(runner: Runner, wheels: Wheels) -> Path:
    """Makes the wheel, or goes on making it; returns where it is kept.

    Raises:
        CommandError: a download, CMake or the compiler failed.
    """
    if found := kept_wheel():
        return found
    work = locations.cache_dir() / "build" / f"llama-{llama_key()}"
    work.mkdir(parents=True, exist_ok=True)
    tools = _tools(runner, wheels, work)
    env = {
        "PYTHONPATH": str(tools),
        "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "CMAKE_ARGS": " ".join(CMAKE_FLAGS),
    }
    source = _source(runner, work, env)
    out = work / "wheel"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    runner.run(
        [locations.VENV_PYTHON, "-c", _BUILD, out, work / "objects"], cwd=source, env=env, watch=compile_progress
    )
    (made,) = out.glob("*.whl")
    _store().parent.mkdir(parents=True, exist_ok=True)
    out.replace(_store())
    shutil.rmtree(work, ignore_errors=True)
    return _store() / made.name


def install(runner: Runner, wheel: Path) -> None:
    """Installs the wheel and loads the library once; a wheel that does not load is thrown away.

    Raises:
        CommandError: it could not be installed, or the library does not load on this computer.
    """
    runner.run([*pip("install"), "--no-deps", "--no-index", "--force-reinstall", wheel])
    try:
        runner.run([locations.VENV_PYTHON, "-c", _CHECK])
    except Exception:
        shutil.rmtree(wheel.parent, ignore_errors=True)
        raise


def _store() -> Path:
    return locations.cache_dir() / "llama-cpp-python" / llama_key()


def _tools(runner: Runner, wheels: Wheels, work: Path) -> Path:
    tools = work / "tools"
    if not tools.is_dir():
        pins = read_lock("build")
        wheels.fetch(pins)
        part = work / "tools.part"
        shutil.rmtree(part, ignore_errors=True)
        wheels.install(pins, "--target", str(part))
        part.replace(tools)
    return tools


def _source(runner: Runner, work: Path, env: dict[str, str]) -> Path:
    """Fetches (checked against the hash in the lock) and unpacks the source archive."""
    source = work / "source"
    if source.is_dir():
        return source
    archives = work / "archive"
    if not archives.is_dir():
        part = work / "archive.part"
        shutil.rmtree(part, ignore_errors=True)
        options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        runner.run(
            [*pip("download"), *options, "--dest", str(part), "-r", str(locations.LOCKS / "llama.txt")],
            env=env,
            watch=lambda line: "fetching the source (77 MB)" if "Downloading" in line else None,
        )
        part.replace(archives)
    (archive,) = archives.glob(f"*{LLAMA_VERSION}.tar.gz")
    part = work / "source.part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4; before it, the hash alone vouches for the archive
            tar.extractall(part, filter="data")
        else:
            tar.extractall(part)
    (top,) = part.iterdir()
    top.replace(source)
    shutil.rmtree(part, ignore_errors=True)
    return source


def compile_progress(line: str) -> str | None:
    """Ninja's own counter: "[41/140] g++ ..."."""
    match = re.match(r"\s*\[(\d+)/(\d+)\]", line)
    return f"{match[1]}/{match[2]}" if match else None
