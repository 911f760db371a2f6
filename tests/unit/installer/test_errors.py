"""Real output of pip, CMake and apt, and the sentence each becomes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from installer.errors import CommandError, explain, explain_os

NO_NETWORK = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip...>: Failed to
establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/anyio/
ERROR: Could not find a version that satisfies the requirement anyio==4.16.0 (from versions: none)
ERROR: No matching distribution found for anyio==4.16.0
"""
NO_COMPILER = """CMake Error at CMakeLists.txt:3 (project):
  No CMAKE_CXX_COMPILER could be found.
"""
TOO_NEW = """ERROR: Could not find a version that satisfies the requirement pyside6-essentials==6.11.3
ERROR: No matching distribution found for pyside6-essentials==6.11.3
"""
HASH = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
DISK = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
UNKNOWN = """Traceback (most recent call last):
ModuleNotFoundError: No module named 'something'.
error: metadata-generation-failed
hint: See above for details.
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (NO_NETWORK, "The package index cannot be reached. Check the network connection and"),
        (NO_COMPILER, "There is no working C++ compiler on this computer. Get one."),
        (TOO_NEW, "A package is not offered for this computer or Python version. Python 3.11 to 3.13"),
        (HASH, "A downloaded file is not the one that was expected. The network may have altered it"),
        (DISK, "The disk is full. Free about 2 GB and run the same command again"),
        (UNKNOWN, "stopped while testing (exit code 1): ModuleNotFoundError: No module named 'something'. Correct"),
        ("", "stopped while testing (exit code 1): no reason was given. Correct"),
    ],
    ids=["network", "compiler", "python", "hash", "disk", "unknown", "silent"],
)
def test_sentences(output: str, said: str) -> None:
    error = explain(CommandError(1, output, Path("some.log")), "testing", "Get one.")
    assert said in str(error)
    assert error.log == Path("some.log")
    assert "\n" not in str(error)
    assert "!" not in str(error)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full."),
        (errno.EACCES, "could not be written"),
        (errno.EROFS, "could not be written"),
    ],
)
def test_files_that_cannot_be_made(number: int, said: str) -> None:
    import os

    assert said in str(explain_os(OSError(number, os.strerror(number), "a-file")))
