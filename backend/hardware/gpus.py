"""Accelerators: those that the loaded engine library can use, and NVIDIA cards that the driver reports.

Nothing is loaded for this: llama.cpp is asked only where it is in the process already (the engine process), and NVML
only where the package nvidia-ml-py is installed.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from types import ModuleType

from backend.api.schemas import GpuReport

__all__ = ["engine_devices", "gpu_reports", "nvidia_devices"]

_GPU, _INTEGRATED_GPU = 1, 2  # ggml_backend_dev_type; 0 is the processor, 3 an accelerator that works on main memory


def gpu_reports() -> list[GpuReport]:
    """Every accelerator once. An NVIDIA card that the engine cannot use has backend ""."""
    engine = engine_devices(_engine_library())
    driver = [] if any(gpu.backend == "CUDA" for gpu in engine) else nvidia_devices()
    known = {gpu.name for gpu in engine}  # the same card through Vulkan
    return engine + [gpu for gpu in driver if gpu.name not in known]


def engine_devices(library: ctypes.CDLL | None) -> list[GpuReport]:
    """The graphics devices of llama.cpp's device list, with their memory in bytes."""
    if library is None:
        return []
    try:
        count = library.ggml_backend_dev_count
        get = library.ggml_backend_dev_get
        kind = library.ggml_backend_dev_type
        description = library.ggml_backend_dev_description
        memory = library.ggml_backend_dev_memory
        registry = library.ggml_backend_dev_backend_reg
        registry_name = library.ggml_backend_reg_name
    except AttributeError:
        return []
    count.restype, count.argtypes = ctypes.c_size_t, []
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p]
    description.restype, description.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    memory.restype, memory.argtypes = None, [ctypes.c_void_p, size, size]
    registry.restype, registry.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    registry_name.restype, registry_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    found = []
    for index in range(count()):
        device = get(index)
        if kind(device) not in (_GPU, _INTEGRATED_GPU):
            continue
        free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
        memory(device, ctypes.byref(free), ctypes.byref(total))
        backend = _decode(registry_name(registry(device)))
        found.append(
            GpuReport(
                name=_decode(description(device)),
                backend={"MTL": "Metal"}.get(backend, backend),
                vram_total=total.value,
                vram_free=free.value,
            )
        )
    return found


def nvidia_devices() -> list[GpuReport]:
    """NVIDIA cards by NVML; [] where the package or the driver is not there, or the driver is unwell."""
    if importlib.util.find_spec("pynvml") is None:
        return []
    nvml: ModuleType = importlib.import_module("pynvml")
    found: list[GpuReport] = []
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = nvml.nvmlDeviceGetName(handle)
            text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
            found.append(GpuReport(name=text, backend="", vram_total=int(memory.total), vram_free=int(memory.free)))
    except nvml.NVMLError:
        return found  # a card that fell off the bus does not hide the others
    finally:
        nvml.nvmlShutdown()
    return found


def _engine_library() -> ctypes.CDLL | None:
    """The library that llama_cpp loaded, if it did. On Windows the functions are in ggml's own."""
    for module, attribute in (("llama_cpp._ggml", "libggml"), ("llama_cpp.llama_cpp", "_lib")):
        library = getattr(sys.modules.get(module), attribute, None)
        if isinstance(library, ctypes.CDLL):
            return library
    return None


def _decode(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace")
