"""What can go wrong in a set-up, in words."""

from __future__ import annotations

import re
from pathlib import Path


class SetupError(Exception):
    """A set-up that cannot go on: what happened, and what to do about it.

    Attributes:
        what, remedy: one plain sentence each. log: the file with the raw output, if there is one.
    """

    def __init__(self, what: str, remedy: str, log: Path | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.log = log

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


class CommandError(Exception):
    """A program that was started ended badly."""

    def __init__(self, code: int, output: str, log: Path) -> None:
        super().__init__(f"exit code {code}")
        self.code = code
        self.output = output
        self.log = log


AGAIN = "run the same command again; what is already there is kept."

#: (what to look for in the output, what happened, what to do), the first match wins
_CAUSES = [
    (
        r"No space left on device|ENOSPC|Errno 28|not enough space on the disk|Disk quota exceeded",
        "The disk is full.",
        f"Free about 2 GB and {AGAIN}",
    ),
    (
        r"No CMAKE_C(XX)?_COMPILER|CMAKE_C(XX)?_COMPILER not set|CMAKE_C(XX)?_COMPILER.*is not (able|a full)",
        "There is no working C++ compiler on this computer.",
        "",  # filled by `explain`: it depends on the system
    ),
    (
        r"virtual memory exhausted|cannot allocate memory|Killed signal terminated program|MemoryError",
        "The computer ran out of memory.",
        f"Close other programs and {AGAIN}",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index could not be trusted: its certificate does not check out.",
        f"Correct the clock or the proxy's certificate and {AGAIN}",
    ),
    (
        r"name resolution|getaddrinfo failed|nodename nor servname|NewConnectionError|ConnectTimeout|ReadTimeout"
        r"|Max retries exceeded|Network is unreachable|Connection refused|ConnectionResetError|ProxyError"
        r"|Read timed out|Could not resolve|Failed to fetch|Temporary failure resolving",
        "The package index cannot be reached.",
        f"Check the network connection and {AGAIN}",
    ),
    (
        r"(?i)do not match the hashes",
        "A downloaded file is not the one that was expected.",
        f"The network may have altered it: {AGAIN[0].upper()}{AGAIN[1:]}",
    ),
    (
        r"No matching distribution found",
        "A package is not offered for this computer or Python version.",
        "Python 3.11 to 3.13 on 64-bit Linux, macOS or Windows is known to work.",
    ),
    (
        r"Permission denied|Errno 13|WinError 5|Read-only file system|Errno 30",
        "A file could not be written.",
        "Check that this folder and the cache folder belong to you and can be written.",
    ),
]


def explain(error: CommandError, doing: str, compiler_remedy: str = "") -> SetupError:
    """The sentence for a failed command; `doing` finishes "... stopped while <doing>"."""
    for pattern, what, remedy in _CAUSES:
        if re.search(pattern, error.output):
            return SetupError(what, remedy or compiler_remedy or f"Install a C++ compiler and {AGAIN}", error.log)
    lines = [line.strip() for line in error.output.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"\w(Error|Exception): ", line)]
    said = (named or lines or ["no reason was given"])[-1][:300].rstrip(".")
    return SetupError(
        f"The set-up stopped while {doing} (exit code {error.code}): {said}.",
        f"Correct this and {AGAIN}",
        error.log,
    )


def explain_os(error: OSError) -> SetupError:
    """The sentence for a file that could not be made or read."""
    for pattern, what, remedy in _CAUSES:
        if re.search(pattern, str(error)):
            return SetupError(what, remedy)
    return SetupError(f"A file could not be used: {error}.", f"Correct this and {AGAIN}")
