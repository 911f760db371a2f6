"""Which llama.cpp to build, and for which processor."""

from __future__ import annotations

import hashlib
import platform
import sys

LLAMA_VERSION = "0.3.36"

#: The only place where the engine's build is decided.
CMAKE_FLAGS = (
    "-DGGML_NATIVE=ON",  # this machine's own instructions (AVX2, AVX-512, ...): several times faster than the baseline
    # llama.cpp's own threads. OpenMP splits work in equal parts and spins at a barrier: when another process wants a
    # core, every thread waits for the slowest, and decoding fell from 10 to 2 tok/s on two shared cores.
    "-DGGML_OPENMP=OFF",
    "-DLLAVA_BUILD=OFF",  # no images yet
    "-DLLAMA_BUILD_MTMD=OFF",  # the same, under its newer name
    "-DLLAMA_OPENSSL=OFF",  # the engine opens no connection, and needs no OpenSSL headers to build
)


def llama_key() -> str:
    """Names a build: a wheel made for another version, other flags or another processor is not used.

    The Python version is not part of it: the wheel holds no Python extension and runs on all of them.
    """
    parts = [LLAMA_VERSION, *sorted(CMAKE_FLAGS), sys.platform, platform.machine(), processor()]
    return f"{LLAMA_VERSION}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


def processor() -> str:
    """The processor's name and features: two machines with the same answer can share a native build."""
    if sys.platform == "darwin":
        import subprocess

        names = ["machdep.cpu.brand_string", "hw.optional.arm.FEAT_I8MM", "hw.optional.avx2_0", "hw.optional.avx512f"]
        found = subprocess.run(["/usr/sbin/sysctl", *names], capture_output=True, text=True, check=False).stdout.strip()
    else:
        found = from_cpuinfo() if sys.platform == "linux" else ""
    return found or platform.processor()


def from_cpuinfo(path: str = "/proc/cpuinfo") -> str:
    """The first processor's block only (all of them are 100 kB on a large server); "" if there is none."""
    wanted = {"model name", "flags", "Features", "CPU implementer", "CPU part", "isa"}
    found: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 - read on every start
            for line in lines:
                name, _, value = line.partition(":")
                if not value.strip() and found:
                    break
                if name.strip() in wanted:
                    found.append(" ".join(sorted(value.split())))
    except OSError:
        return ""
    return "|".join(found)
