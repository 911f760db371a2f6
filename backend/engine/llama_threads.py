"""A pool of compute threads that lives as long as a model's context.

Without one, llama.cpp makes and joins its threads for every pass: 3 to 4 % of a token of the smallest model on two idle
cores, and half of the speed when another program wants one of them (24 to 38 tok/s against 40 to 60, SmolLM2-135M).
llama-cpp-python binds neither `ggml_threadpool_new` nor `llama_attach_threadpool`, so they are declared here, after
ggml/include/ggml.h of the pinned release.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.engine.llama_library import library

_MAX_THREADS = 512  # GGML_MAX_N_THREADS
#: How long a worker spins for the next pass before it sleeps, 0 to 100. ggml's 50 burns a core for tenths of a second
#: after an answer; 10 covers the sampler chain between two tokens.
_POLL = 10


class _Params(ctypes.Structure):
    """struct ggml_threadpool_params."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * _MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


@lru_cache(maxsize=1)
def _calls() -> tuple[Any, Any, Any, Any, Any] | None:
    """(params_init, pool_new, pool_free, attach, detach); None where this build has no such library."""
    folder = Path(library().__file__).parent / "lib"

    def opened(name: str) -> ctypes.CDLL:
        for pattern in (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll"):
            if (folder / pattern).is_file():
                return ctypes.CDLL(str(folder / pattern))
        raise OSError(name)

    try:
        base, cpu, llama = opened("ggml-base"), opened("ggml-cpu"), opened("llama")
        init, new, free = base.ggml_threadpool_params_init, cpu.ggml_threadpool_new, cpu.ggml_threadpool_free
        attach, detach = llama.llama_attach_threadpool, llama.llama_detach_threadpool
    except (OSError, AttributeError):
        return None
    init.argtypes, init.restype = [ctypes.POINTER(_Params), ctypes.c_int], None
    new.argtypes, new.restype = [ctypes.POINTER(_Params)], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    attach.argtypes, attach.restype = [ctypes.c_void_p] * 3, None
    detach.argtypes, detach.restype = [ctypes.c_void_p], None
    return init, new, free, attach, detach


class ThreadPool:
    """Threads for one context; does nothing where the build offers no such call."""

    def __init__(self, context: Any, n_threads: int) -> None:
        self._context = context
        self._pool: int | None = None
        calls = _calls()
        if calls is None:
            return
        init, new, _, attach, _ = calls
        params = _Params()
        init(ctypes.byref(params), n_threads)
        params.poll = _POLL
        self._pool = new(ctypes.byref(params))
        attach(self._context, self._pool, None)  # no second pool: prefill uses the same threads

    @property
    def attached(self) -> bool:
        """Whether the context computes on this pool."""
        return self._pool is not None

    def close(self) -> None:
        """Ends the threads; the context must still be there."""
        calls = _calls()
        if calls is not None and self._pool is not None:
            _, _, free, _, detach = calls
            detach(self._context)
            free(self._pool)
        self._pool = None
