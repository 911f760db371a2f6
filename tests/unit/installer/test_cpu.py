from __future__ import annotations

from pathlib import Path

import pytest

from installer import cpu

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU @ 2.80GHz
cpu MHz\t\t: {mhz}
flags\t\t: {flags}
bogomips\t: 5600.00

processor\t: 1
model name\t: Another
flags\t\t: none
"""


def read(tmp_path: Path, mhz: str = "2800.1", flags: str = "fpu avx2 fma") -> str:
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(mhz=mhz, flags=flags), encoding="utf-8")
    return cpu.from_cpuinfo(str(path))


def test_only_what_decides_the_build_counts(tmp_path: Path) -> None:
    usual = read(tmp_path)
    assert "avx2" in usual
    assert "Another" not in usual
    assert read(tmp_path, mhz="800.0") == usual
    assert read(tmp_path, flags="fma fpu avx2") == usual
    assert read(tmp_path, flags="fpu fma") != usual


def test_no_cpuinfo(tmp_path: Path) -> None:
    assert cpu.from_cpuinfo(str(tmp_path / "nothing")) == ""
    assert cpu.processor()


def test_key_names_version_flags_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "processor", lambda: "one")
    first = cpu.llama_key()
    assert first.startswith(cpu.LLAMA_VERSION)
    assert cpu.llama_key() == first
    monkeypatch.setattr(cpu, "processor", lambda: "two")
    second = cpu.llama_key()
    monkeypatch.setattr(cpu, "CMAKE_FLAGS", (*cpu.CMAKE_FLAGS, "-DMORE=ON"))
    assert len({first, second, cpu.llama_key()}) == 3


def test_version_is_the_locked_one() -> None:
    from installer.wheels import read_lock

    (pin,) = read_lock("llama")
    assert pin.version == cpu.LLAMA_VERSION
