"""The one place that imports llama-cpp-python's low-level calls, and what has to be set up once per process.

`llama_cpp/__init__.py` imports its high-level `Llama` as well, and with it jinja2 and diskcache (which pickles); we use
neither, but the import itself cannot be avoided. It costs about 120 ms.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import deque
from functools import lru_cache
from typing import Any

_log = logging.getLogger("llama.cpp")

#: ggml_log_level -> logging level. 5 is GGML_LOG_LEVEL_CONT: the line before goes on.
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}


class _LogTail:
    """The last lines that llama.cpp printed, for the details of an error. One per process, any thread may append."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[tuple[int, str]] = deque(maxlen=200)

    def add(self, level: int, text: str) -> None:
        with self._lock:
            if level == 5 and self._lines:
                before, head = self._lines[-1]
                self._lines[-1] = (before, head + text)
            else:
                self._lines.append((level, text))

    def clear(self) -> None:
        with self._lock:
            self._lines.clear()

    def errors(self) -> str:
        """Warnings and errors since `clear`, a line each."""
        with self._lock:
            return "\n".join(text.strip() for level, text in self._lines if level in (3, 4) and text.strip())


log_tail = _LogTail()


@lru_cache(maxsize=1)
def library() -> Any:
    """The ctypes module `llama_cpp.llama_cpp`, initialised: logging redirected, backends loaded."""
    from llama_cpp import llama_cpp as lib

    @lib.llama_log_callback  # type: ignore[untyped-decorator,unused-ignore]
    def on_log(level: int, text: bytes, _user: object) -> None:
        line = text.decode("utf-8", "replace")
        log_tail.add(level, line)
        if level in _LEVELS and line.strip():
            asked_for = "ret = 2" in line  # a pass that was given up because the user pressed Stop is no error
            _log.log(_LEVELS[level] if level > 2 and not asked_for else logging.DEBUG, "%s", line.rstrip())

    lib.llama_log_set(on_log, ctypes.c_void_p(0))
    lib._nutshell_log_callback = on_log  # ctypes callbacks live as long as somebody holds them
    lib.llama_backend_init()
    return lib


class AbortFlag:
    """A flag that ggml polls between graph nodes without entering Python.

    The abort callback is called some hundred times per token, and a Python callback would take the GIL each time. But
    `bool callback(void *data)` is what C's `strlen` looks like to its caller: on a buffer that starts with a zero byte
    it returns 0, on b"\\x01\\x00" it returns 1.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        runtime = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        self.callback = ctypes.cast(runtime.strlen, library().ggml_abort_callback)
        self.data = ctypes.cast(self._buffer, ctypes.c_void_p)

    def set(self, flag: bool) -> None:
        """From any thread."""
        self._buffer[0] = b"\x01" if flag else b"\x00"


def build_description() -> str:
    """The version of llama-cpp-python and the CPU features that its llama.cpp was compiled with."""
    lib = library()
    from importlib.metadata import version

    info = lib.llama_print_system_info().decode()
    return f"llama-cpp-python {version('llama-cpp-python')}: {info.strip(' |')}"
