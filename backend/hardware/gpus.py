"""Accelerators: those that the loaded engine library can use, NVIDIA cards that the driver reports, and PyTorch's.

Nothing large is loaded for this: llama.cpp and PyTorch are asked only where they are in the process already. NVIDIA's
driver also says how a card is connected, and who holds its memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psutil

from backend.api.schemas import GpuReport, GpuUser

__all__ = ["engine_devices", "gpu_reports", "nvidia_devices", "torch_devices"]

_GPU, _INTEGRATED_GPU = 1, 2  # ggml_backend_dev_type; 0 is the processor, 3 an accelerator that works on main memory


#: bytes a second of a PCI Express lane in one direction, by generation (8b/10b coding up to the second)
_LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
#: programs that are named
_MOST_USERS = 8


def gpu_reports() -> list[GpuReport]:
    """Every accelerator once. A card that the engine cannot use has backend ""."""
    found = engine_devices(_engine_library())
    cuda = any(gpu.backend == "CUDA" for gpu in found)
    for card in nvidia_devices():
        same = next((gpu for gpu in found if gpu.name == card.name and not gpu.link and not gpu.users), None)
        if same is not None:  # through CUDA or Vulkan
            same.link, same.link_rate, same.users = card.link, card.link_rate, card.users
        elif not cuda:
            found.append(card)
    known = {gpu.name for gpu in found}
    return found + [gpu for gpu in torch_devices() if gpu.name not in known]


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
            link, rate = _link(nvml, handle)
            found.append(
                GpuReport(
                    name=text,
                    backend="",
                    vram_total=int(memory.total),
                    vram_free=int(memory.free),
                    link=link,
                    link_rate=rate,
                    users=_users(nvml, handle),
                )
            )
    except nvml.NVMLError:
        return found  # a card that fell off the bus does not hide the others
    finally:
        nvml.nvmlShutdown()
    return found


def torch_devices() -> list[GpuReport]:
    """Cards that a loaded PyTorch can use (CUDA, ROCm, XPU); [] where it is not in the process."""
    torch = sys.modules.get("torch")
    found: list[GpuReport] = []
    for kind in ("cuda", "xpu"):
        cards = getattr(torch, kind, None)
        # a driver that does not answer is PyTorch's RuntimeError; parts that a build lacks are its AttributeError
        with contextlib.suppress(RuntimeError, AttributeError):
            if cards is not None and cards.is_available():
                for index in range(cards.device_count()):
                    free, total = cards.mem_get_info(index)
                    name = str(cards.get_device_name(index))
                    found.append(GpuReport(name=name, backend="", vram_total=int(total), vram_free=int(free)))
    return found


def _link(nvml: ModuleType, handle: Any) -> tuple[str, float]:
    """Words and bytes a second; the generation that it can have, since an idle card saves power at the first."""
    try:
        generation = int(nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle))
        lanes = int(nvml.nvmlDeviceGetCurrPcieLinkWidth(handle))
    except nvml.NVMLError:  # a card that is soldered beside the memory
        return "", 0.0
    return f"PCIe {generation}.0 x{lanes}", _LANE.get(generation, 0.0) * lanes


def _users(nvml: ModuleType, handle: Any) -> list[GpuUser]:
    """Programs but this one that hold memory of a card, the largest first."""
    held: dict[int, int] = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        with contextlib.suppress(nvml.NVMLError):
            for one in ask(handle):  # None: Windows does not tell
                held[one.pid] = max(held.get(one.pid, 0), int(one.usedGpuMemory or 0))
    held.pop(os.getpid(), None)
    users = [GpuUser(name=name, bytes=size) for pid, size in held.items() for name in _named(pid)]
    return sorted(users, key=lambda one: (-one.bytes, one.name))[:_MOST_USERS]


def _named(pid: int) -> Iterator[str]:
    """The name of a process that still runs; of somebody else's that hides its name, its number."""
    try:
        yield psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return
    except psutil.Error:
        yield f"process {pid}"


def _engine_library() -> ctypes.CDLL | None:
    """The library that llama_cpp loaded, if it did. On Windows the functions are in ggml's own."""
    for module, attribute in (("llama_cpp._ggml", "libggml"), ("llama_cpp.llama_cpp", "_lib")):
        library = getattr(sys.modules.get(module), attribute, None)
        if isinstance(library, ctypes.CDLL):
            return library
    return None


def _decode(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace")
