"""A pool of compute threads that lives as long as a model's context.

Without one, llama.cpp makes and joins its threads for every pass: 3 to 4 % of a token of the smallest model on two idle
cores, and half of the speed when another program wants one of them (24 to 38 tok/s against 40 to 60, SmolLM2-135M).
llama-cpp-python binds neither `ggml_threadpool_new` nor `llama_attach_threadpool`, so they are declared here, after
ggml/include/ggml.h of the pinned release.

The calls must come from the copy of ggml that computes. A wheel holds `libggml-cpu.so` and `libggml-cpu.so.0` as two
files; libllama links to the second, and who opens the first gets another library beside it. Its threads take part in
the passes but know nothing of the first one's buffers: they read repacked weights (Q4_0, Q4_K and others) as if they
were in file order, and the logits are NaN. Hence ggml's own registry is asked, as llama.cpp's programs do.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from backend.engine.llama_library import library

_MAX_THREADS = 512  # GGML_MAX_N_THREADS
_CPU = 0  # GGML_BACKEND_DEVICE_TYPE_CPU
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


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """One C function of the ggml that llama.cpp is linked to.

    Raises:
        AttributeError: this build does not offer it.
    """
    lib = library()
    found = lib._lib  # on most systems a symbol of a linked library is found through the one that links to it
    # on Windows it is not, but there each library is one file, and loaded already
    if sys.platform == "win32" and not name.startswith("llama_"):
        file = "ggml" if name == "ggml_backend_dev_by_type" else "ggml-base"
        found = ctypes.CDLL(str(Path(lib.__file__).parent / "lib" / f"{file}.dll"))
    function = found[name]  # an object of our own, unlike the attribute
    function.restype, function.argtypes = result, arguments
    return function


@lru_cache(maxsize=1)
def _calls() -> tuple[Any, Any, Any, Any, Any] | None:
    """(params_init, pool_new, pool_free, attach, detach); None where this build has no such calls."""
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    try:
        init = _function("ggml_threadpool_params_init", None, ctypes.POINTER(_Params), ctypes.c_int)
        device = _function("ggml_backend_dev_by_type", pointer, ctypes.c_int)(_CPU)
        registry = _function("ggml_backend_dev_backend_reg", pointer, pointer)(device) if device else None
        address = _function("ggml_backend_reg_get_proc_address", pointer, pointer, text)
        attach = _function("llama_attach_threadpool", None, pointer, pointer, pointer)
        detach = _function("llama_detach_threadpool", None, pointer)
    except (OSError, AttributeError):
        return None
    new = address(registry, b"ggml_threadpool_new") if registry else None
    free = address(registry, b"ggml_threadpool_free") if registry else None
    if not new or not free:
        return None
    pool_new = ctypes.CFUNCTYPE(pointer, ctypes.POINTER(_Params))(new)
    pool_free = ctypes.CFUNCTYPE(None, pointer)(free)
    return init, pool_new, pool_free, attach, detach


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
