from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
import types
from pathlib import Path

import llama_cpp
import psutil
import pytest

from backend.api.schemas import GpuReport
from backend.hardware import cpu_linux, cpu_macos, cpu_windows, gpus, probe
from backend.hardware.memory import cgroup_memory, memory_report

X86 = """processor\t: 0
model name\t: Intel(R) Core(TM)  i7-1260P
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni
{}
processor\t: 1
model name\t: Intel(R) Core(TM)  i7-1260P
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni

processor\t: 2
model name\t: Intel(R) Core(TM)  i7-1260P
physical id\t: 0
core id\t\t: 4
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni
""".format("")
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes asimdhp cpuid asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: d04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_x86_from_proc(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    cpu = cpu_linux.read_cpu(tmp_path)
    assert (cpu.name, cpu.cores) == ("Intel(R) Core(TM) i7-1260P", 2)
    assert cpu.features == ["SSE4.2", "AVX", "F16C", "FMA", "AVX2", "AVX-VNNI"]


def test_arm_from_proc() -> None:
    cpu = cpu_linux.parse_cpuinfo(ARM)
    assert (cpu.name, cpu.cores) == ("Raspberry Pi 5 Model B Rev 1.0", 0)
    assert cpu.features == ["NEON", "FP16", "DotProd", "I8MM"]
    nameless = "processor: 0\nFeatures: asimd sve2\nCPU implementer: 0x41\nCPU part: 0xd4f\n"
    assert cpu_linux.parse_cpuinfo(nameless).name == "Arm Neoverse V2"


@pytest.mark.parametrize("text", ["", "\n\n\n", "nonsense", ":::\n\0\n: :\n", "flags:\n"])
def test_odd_cpuinfo_is_no_error(text: str) -> None:
    assert cpu_linux.parse_cpuinfo(text).features == []


def test_no_proc_is_no_error(tmp_path: Path) -> None:
    assert cpu_linux.read_cpu(tmp_path) == cpu_linux.Cpu("", 0, [])


def test_macos_by_sysctl() -> None:
    arm = {
        "machdep.cpu.brand_string": b"Apple M3 Pro\0",
        "hw.physicalcpu": (11).to_bytes(4, "little"),
        "hw.optional.AdvSIMD": (1).to_bytes(4, "little"),
        "hw.optional.arm.FEAT_DotProd": (1).to_bytes(4, "little"),
        "hw.optional.arm.FEAT_SME": (0).to_bytes(4, "little"),
    }
    assert cpu_macos.read_cpu(arm.get) == cpu_macos.Cpu("Apple M3 Pro", 11, ["NEON", "DotProd"])
    intel = {
        "machdep.cpu.brand_string": b"Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz\0",
        "hw.physicalcpu": (8).to_bytes(4, "little"),
        "machdep.cpu.features": b"FPU SSE4.2 FMA AVX1.0 F16C\0",
        "machdep.cpu.leaf7_features": b"AVX2 BMI2\0",
    }
    assert cpu_macos.read_cpu(intel.get).features == ["SSE4.2", "AVX", "F16C", "FMA", "AVX2"]
    assert cpu_macos.read_cpu(lambda _: None) == cpu_macos.Cpu("", 0, [])


def test_macos_has_two_kinds_of_cores() -> None:
    levels = {"hw.perflevel0.physicalcpu": 6, "hw.perflevel1.physicalcpu": 5}
    known = {name: count.to_bytes(4, "little") for name, count in levels.items()}
    both = cpu_macos.read_cpu(known.get)
    assert (both.performance, both.efficiency) == (6, 5)
    del known["hw.perflevel1.physicalcpu"]
    alike = cpu_macos.read_cpu(known.get)
    assert (alike.performance, alike.efficiency) == (0, 0)


def test_windows_by_feature_numbers() -> None:
    cpu = cpu_windows.read_cpu(lambda number: number in (38, 39, 40), lambda: "AMD Ryzen 7", lambda: b"")
    assert cpu == cpu_windows.Cpu("AMD Ryzen 7", 0, ["SSE4.2", "AVX", "AVX2"])


def core_record(kind: int, *, relation: int = 0, size: int = 48) -> bytes:
    """PROCESSOR_RELATIONSHIP as Windows lays it out, of one group."""
    return struct.pack("<IIBB", relation, size, 1, kind) + bytes(size - 10)


@pytest.mark.parametrize(
    ("records", "kinds"),
    [
        (core_record(1) * 6 + core_record(0) * 8, (6, 8)),
        (core_record(2) * 2 + core_record(1) * 4 + core_record(0), (6, 1)),  # three kinds: the slowest, and the others
        (core_record(0) * 8, (0, 0)),
        (core_record(1) + core_record(0, relation=2) + core_record(0, size=80), (1, 1)),
        (b"", (0, 0)),
        (core_record(1) * 2 + core_record(0)[:7], (0, 0)),
        (core_record(1) + struct.pack("<IIBB", 0, 0, 0, 0), (0, 0)),  # of no size: not read for ever
    ],
)
def test_windows_tells_kinds_of_cores(records: bytes, kinds: tuple[int, int]) -> None:
    assert cpu_windows.core_classes(records) == kinds


def siblings(sys_: Path, lists: dict[int, str]) -> None:
    group(sys_ / "system/cpu", {"online": f"0-{max(lists)}\n"})
    for number, text in lists.items():
        group(sys_ / f"system/cpu/cpu{number}/topology", {"thread_siblings_list": text + "\n"})


def test_intels_hybrids_by_their_counters(tmp_path: Path) -> None:
    """Two cores of two threads, and four of one."""
    siblings(tmp_path, {0: "0-1", 1: "0-1", 2: "2,3", 3: "2,3", 4: "4", 5: "5", 6: "6", 7: "7"})
    group(tmp_path / "cpu_core", {"cpus": "0-3\n"})
    group(tmp_path / "cpu_atom", {"cpus": "4-7\n"})
    assert cpu_linux.core_kinds(tmp_path) == (2, 4)
    group(tmp_path / "cpu_lowpower", {"cpus": "7,8"})
    assert cpu_linux.core_kinds(tmp_path) == (2, 5)


def test_arm_cores_by_their_capacity(tmp_path: Path) -> None:
    siblings(tmp_path, {number: str(number) for number in range(8)})
    for number in range(8):
        size = 250 if number < 4 else 760 if number < 7 else 1024
        group(tmp_path / f"system/cpu/cpu{number}", {"cpu_capacity": f"{size}\n"})
    assert cpu_linux.core_kinds(tmp_path) == (4, 4)
    for number in range(8):
        group(tmp_path / f"system/cpu/cpu{number}", {"cpu_capacity": "1024\n"})
    assert cpu_linux.core_kinds(tmp_path) == (0, 0)


@pytest.mark.parametrize("text", ["", "nonsense", "0-", "-3", "5-2", "0-99999999999999", "\0,,;"])
def test_odd_lists_of_processors_are_no_error(tmp_path: Path, text: str) -> None:
    group(tmp_path / "cpu_core", {"cpus": text})
    group(tmp_path / "cpu_atom", {"cpus": "4"})
    group(tmp_path / "system/cpu", {"online": text})
    fast, slow = cpu_linux.core_kinds(tmp_path)
    assert (fast > 0) == (slow > 0)
    assert fast < 5000


def group(folder: Path, values: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(value)


def test_cgroup_version_2_takes_the_tightest_of_the_path(tmp_path: Path) -> None:
    group(tmp_path / "proc/self", {"cgroup": "0::/user/app\n"})
    root = tmp_path / "cg"
    group(root, {"memory.stat": "anon 5\n"})
    group(
        root / "user",
        {"memory.max": "4000\n", "memory.current": "3000", "memory.stat": "inactive_file 300\nactive_file 200\nx\n"},
    )
    group(root / "user/app", {"memory.max": "max\n", "memory.current": "1"})
    assert list(cgroup_memory(tmp_path / "proc", root)) == [(4000, 2500)]
    report = memory_report(tmp_path / "proc", root, "linux")
    assert (report.total, report.available) == (4000, 1500)


def test_cgroup_version_1_and_containers_that_see_themselves_as_root(tmp_path: Path) -> None:
    group(tmp_path / "proc/self", {"cgroup": "5:cpu:/docker/1\n4:memory:/docker/1\n"})
    limits = {"memory.limit_in_bytes": "5000", "memory.usage_in_bytes": "9000", "memory.stat": "total_active_file 1"}
    group(tmp_path / "cg/memory", limits)
    group(tmp_path / "cg/memory/docker", {"memory.limit_in_bytes": "9223372036854771712"})
    assert list(cgroup_memory(tmp_path / "proc", tmp_path / "cg")) == [(5000, 8999)]
    assert memory_report(tmp_path / "proc", tmp_path / "cg", "linux").available == 0


def test_without_cgroups_the_machine_counts(tmp_path: Path) -> None:
    report = memory_report(tmp_path, tmp_path, "linux")
    assert report.total == psutil.virtual_memory().total
    assert 0 < report.available <= report.total
    group(tmp_path / "self", {"cgroup": "0::/../../etc\n\x00\nno colon\n"})
    assert memory_report(tmp_path, tmp_path, "linux").total == report.total


class FakeNvml(types.ModuleType):
    """The part of nvidia-ml-py that is used."""

    class NVMLError(Exception):
        pass

    def __init__(self, names: list[object], broken: int = -1, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.__spec__ = types.SimpleNamespace(name="pynvml")  # type: ignore[assignment]
        self.names, self.broken, self.driver, self.open = names, broken, driver, 0
        self.linked = True
        self.computing: list[tuple[int, int | None]] = []
        self.drawing: list[tuple[int, int | None]] | None = []

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == self.broken:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(total=(handle + 1) * 1000, free=400)

    def nvmlDeviceGetName(self, handle: int) -> object:
        return self.names[handle]

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: int) -> int:
        if not self.linked:
            raise self.NVMLError("Not Supported")
        return 4

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: int) -> int:
        return 8

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.computing]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[types.SimpleNamespace]:
        if self.drawing is None:
            raise self.NVMLError("Insufficient Permissions")
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.drawing]


@pytest.mark.parametrize(
    ("fake", "names"),
    [
        (FakeNvml(["NVIDIA A", b"NVIDIA B"]), ["NVIDIA A", "NVIDIA B"]),
        (FakeNvml(["NVIDIA A", "NVIDIA B"], broken=1), ["NVIDIA A"]),
        (FakeNvml([]), []),
        (FakeNvml(["NVIDIA A"], driver=False), []),
    ],
)
def test_nvidia_cards(monkeypatch: pytest.MonkeyPatch, fake: FakeNvml, names: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    found = gpus.nvidia_devices()
    assert [gpu.name for gpu in found] == names
    assert [gpu.vram_total for gpu in found] == [1000, 2000][: len(names)]
    assert fake.open == 0


def test_a_card_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(["NVIDIA A"]))
    monkeypatch.setattr(gpus, "_engine_library", lambda: None)
    assert [gpu.backend for gpu in gpus.gpu_reports()] == [""]
    for backend, name in (("CUDA", "other words"), ("Vulkan", "NVIDIA A")):
        engine = [GpuReport(name=name, backend=backend, vram_total=1, vram_free=1)]
        monkeypatch.setattr(gpus, "engine_devices", lambda _, engine=engine: engine)
        found = gpus.gpu_reports()
        assert found == engine
        # of the same card the driver tells how it is connected
        assert (found[0].link, found[0].link_rate) == (("PCIe 4.0 x8", 8 * 1.969e9) if name == "NVIDIA A" else ("", 0))


def test_two_cards_of_one_name_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(["NVIDIA A", "NVIDIA A"]))
    engine = [GpuReport(name="NVIDIA A", backend="Vulkan", vram_total=1, vram_free=1) for _ in range(2)]
    monkeypatch.setattr(gpus, "engine_devices", lambda _: engine)
    assert [gpu.link for gpu in gpus.gpu_reports()] == ["PCIe 4.0 x8"] * 2


def test_who_else_holds_video_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(["NVIDIA A"])
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    gone, me, parent = 2**22 + 1, os.getpid(), os.getppid()
    fake.computing = [(me, 500), (gone, 900), (parent, 300)]
    fake.drawing = [(parent, None), (1, 40)]
    users = gpus.nvidia_devices()[0].users
    assert [one.bytes for one in users] == [300, 40]
    assert users[0].name == psutil.Process(parent).name()
    fake.drawing = None  # what the driver does not tell hides nothing else
    assert [one.bytes for one in gpus.nvidia_devices()[0].users] == [300]


def test_a_card_without_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(["NVIDIA A"])
    fake.linked = False
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert (gpus.nvidia_devices()[0].link, gpus.nvidia_devices()[0].link_rate) == ("", 0.0)


class FakeTorch(types.ModuleType):
    """PyTorch with one card, for ROCm say, whose memory may be out of reach."""

    def __init__(self, *, well: bool = True) -> None:
        super().__init__("torch")

        def memory(_: int) -> tuple[int, int]:
            if not well:
                raise RuntimeError("HIP error: out of memory")
            return 3, 8

        self.cuda = types.SimpleNamespace(
            is_available=lambda: True, device_count=lambda: 1, mem_get_info=memory,
            get_device_name=lambda _: "AMD Radeon 7900",
        )  # fmt: skip


def test_cards_of_a_loaded_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "engine_devices", lambda _: [])
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())
    assert gpus.gpu_reports() == [GpuReport(name="AMD Radeon 7900", backend="", vram_total=8, vram_free=3)]
    known = [GpuReport(name="AMD Radeon 7900", backend="Vulkan", vram_total=8, vram_free=3)]
    monkeypatch.setattr(gpus, "engine_devices", lambda _: known)
    assert gpus.gpu_reports() == known
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(well=False))
    assert gpus.torch_devices() == []
    monkeypatch.delitem(sys.modules, "torch")
    assert gpus.torch_devices() == []
    assert "torch" not in sys.modules, "it is not loaded for this"


class FakeGgml:
    """llama.cpp's device functions, with a processor and one card."""

    def __init__(self) -> None:
        prototype = ctypes.CFUNCTYPE

        def memory(device: int, free: object, total: object) -> None:
            free[0], total[0] = 3, 8  # type: ignore[index]

        size = ctypes.POINTER(ctypes.c_size_t)
        self.ggml_backend_dev_count = prototype(ctypes.c_size_t)(lambda: 2)
        self.ggml_backend_dev_get = prototype(ctypes.c_void_p, ctypes.c_size_t)(lambda index: index + 100)
        self.ggml_backend_dev_type = prototype(ctypes.c_int, ctypes.c_void_p)(lambda device: device - 100)
        self.ggml_backend_dev_memory = prototype(None, ctypes.c_void_p, size, size)(memory)
        self.ggml_backend_dev_backend_reg = prototype(ctypes.c_void_p, ctypes.c_void_p)(lambda device: 7)
        self.ggml_backend_dev_description = lambda device: b"Apple M3 Pro"
        self.ggml_backend_reg_name = lambda registry: b"MTL"
        for name in ("ggml_backend_dev_description", "ggml_backend_reg_name"):
            setattr(self, name, _Plain(getattr(self, name)))


class _Plain:
    """A callable that takes restype and argtypes as a ctypes function does."""

    def __init__(self, function: object) -> None:
        self.function = function

    def __call__(self, *arguments: object) -> object:
        return self.function(*arguments)  # type: ignore[operator]


def test_the_engines_device_list() -> None:
    found = gpus.engine_devices(FakeGgml())  # type: ignore[arg-type]
    assert found == [GpuReport(name="Apple M3 Pro", backend="Metal", vram_total=8, vram_free=3)]
    assert gpus.engine_devices(None) == []
    assert gpus.engine_devices(types.SimpleNamespace()) == []  # type: ignore[arg-type]


def test_the_real_library_answers() -> None:
    assert llama_cpp.llama_cpp is sys.modules["llama_cpp.llama_cpp"]
    library = gpus._engine_library()
    assert library is not None
    devices = library.ggml_backend_dev_count()
    assert devices >= 1  # the processor itself
    assert len(gpus.engine_devices(library)) < devices


def test_disk_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    report = probe.disk_report(tmp_path / "a" / "b" / "c")
    assert report.path == str(tmp_path / "a" / "b" / "c")
    assert 0 <= report.free <= report.total
    assert report.total == probe.disk_report(tmp_path).total > 0


def test_the_report_of_this_machine_comes_in_200_ms(tmp_path: Path) -> None:
    start = time.process_time()  # other programs run beside the tests
    report = probe.probe(tmp_path)
    assert time.process_time() - start < 0.2
    assert report.cpu.name
    assert 1 <= report.cpu.cores <= report.cpu.threads
    assert report.memory.total >= report.memory.available > 0
    assert report.engine_rss > 1 << 20
    assert report.os
    assert report.model is None
