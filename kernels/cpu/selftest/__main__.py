"""Builds the self-test and runs it: `python -m kernels.cpu.selftest [--sanitize thread|address] [--target aarch64]`.

It exits with the test's status: 0 if every op of every level agrees. `--target aarch64` needs the Debian packages
g++-aarch64-linux-gnu and qemu-user; the sanitizers need GCC or Clang.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1]
BUILD = SOURCES.parents[1] / "build"


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m kernels.cpu.selftest", description=__doc__)
    parser.add_argument("--sanitize", choices=["thread", "address"], default="")
    parser.add_argument("--target", choices=["aarch64"], default="")
    wanted = parser.parse_args(arguments)
    folder = BUILD / "-".join(filter(None, ["selftest", wanted.sanitize, wanted.target]))
    options = ["-DNUTSHELL_MODULE=OFF", "-DNUTSHELL_SELFTEST=ON", f"-DNUTSHELL_SANITIZE={wanted.sanitize}"]
    runner = []
    needed = ["cmake"]
    if wanted.target:
        compiler, emulator = f"{wanted.target}-linux-gnu-g++", f"qemu-{wanted.target}"
        options += ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={wanted.target}"]
        options += [f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
        runner = [emulator]
        needed += [compiler, emulator]
    missing = [program for program in needed if not shutil.which(program)]
    if missing:
        print(f"Not found: {', '.join(missing)}.", file=sys.stderr)
        return 2
    subprocess.run(["cmake", "-S", SOURCES, "-B", folder, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder, "-j2"], check=True, stdout=subprocess.DEVNULL)
    return subprocess.run([*runner, folder / "kernels_selftest"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
