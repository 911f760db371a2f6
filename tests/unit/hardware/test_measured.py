"""Speeds that are measured once a day, and a report that has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.api.schemas import DiskReport, HardwareReport
from backend.hardware import bandwidth, disk_rate, speeds
from backend.hardware.bandwidth import memory_bandwidth
from backend.hardware.disk_rate import direct_read_rate
from backend.hardware.measured import Measured
from backend.hardware.probe import probe

MB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_figures_outlive_the_process(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "new" / "measured.json"
    first = Measured(clock)
    first.keep_in(path, "a laptop")
    first.put("memory/4", 40e9)
    second = Measured(clock)
    second.keep_in(path, "a laptop")
    found = second.get("memory/4")
    assert found is not None
    assert (found.value, found.at) == (40e9, clock.now)
    second.put("disk/1", 2e9)
    first.put("memory/8", 50e9)  # two processes do not forget each other's
    assert set(json.loads(path.read_bytes())["figures"]) == {"memory/4", "memory/8", "disk/1"}


def test_a_day_later_they_are_taken_again(tmp_path: Path) -> None:
    clock = Clock()
    known = Measured(clock)
    known.put("memory/4", 40e9)
    clock.now += 86_000
    assert known.get("memory/4") is not None
    clock.now += 1000
    assert known.get("memory/4") is None
    clock.now -= 200_000  # the clock was set back: nobody knows how old they are
    assert known.get("memory/4") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"[]", b'{"machine":"a laptop"}', b'{"machine":"another","figures":{"m":{"value":1,"at":1}}}',
     b'{"machine":"a laptop","figures":{"m":{"value":-1,"at":1700000000}}}', b"\xff" * (2 << 20)],
)  # fmt: skip
def test_a_file_of_another_machine_or_a_damaged_one_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "measured.json"
    path.write_bytes(content)
    known = Measured(Clock())
    known.keep_in(path, "a laptop")
    assert known.get("m") is None
    assert known.put("m", 5.0) == 5.0
    again = Measured(Clock())
    again.keep_in(path, "a laptop")
    assert again.get("m") is not None


def test_where_nothing_can_be_written_the_process_remembers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    known = Measured(Clock())
    known.keep_in(tmp_path / "file" / "measured.json", "a laptop")
    known.put("m", 5.0)
    assert known.get("m") is not None


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Nothing was measured yet."""
    found = Measured()
    for module in (bandwidth, disk_rate, speeds):
        monkeypatch.setattr(module, "measured", found)
    return found


@pytest.mark.usefixtures("fresh")
def test_memory_is_measured_once_and_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(bandwidth, "_measure", lambda threads, size: taken.append(threads) or 1e9 * len(taken))
    assert memory_bandwidth(2) == memory_bandwidth(2) == 1e9
    assert memory_bandwidth(2, again=True) == memory_bandwidth(2) == 2e9
    assert memory_bandwidth(4) == 3e9
    assert taken == [2, 2, 4]


def _report(tmp_path: Path) -> HardwareReport:
    found = probe(tmp_path)
    assert found.memory.rate == found.disk.rate == 0
    return found


def test_the_report_has_speeds_and_when_they_were_measured(tmp_path: Path, fresh: Measured) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(bytes(36 * MB))
    (tmp_path / "small.gguf").write_bytes(bytes(MB))
    found = speeds.with_speeds(_report(tmp_path), [tmp_path / "small.gguf", model, tmp_path / "gone.gguf"])
    assert 1e8 < found.memory.rate < 1e13
    assert found.disks == [found.disk]
    assert 1e6 < found.disk.rate < 1e12
    assert found.disk.measured > 0
    again = speeds.with_speeds(_report(tmp_path), [model])
    assert (again.memory, again.disk.measured) == (_same(again, found), found.disk.measured)
    newer = speeds.with_speeds(_report(tmp_path), [model], again=True)
    assert newer.memory.measured > found.memory.measured
    assert newer.disk.measured > found.disk.measured


def _same(now: HardwareReport, before: HardwareReport) -> object:
    """What is free may have changed."""
    now.memory.rate, now.memory.measured = before.memory.rate, before.memory.measured
    return now.memory


def test_beside_a_model_that_runs_nothing_is_measured(tmp_path: Path, fresh: Measured) -> None:
    (tmp_path / "model.gguf").write_bytes(bytes(36 * MB))
    found = speeds.with_speeds(_report(tmp_path), [tmp_path / "model.gguf"], measure=False)
    assert (found.memory.rate, found.disk.rate) == (0, 0)
    fresh.put(f"memory/{found.cpu.cores}", 3e9)
    known = speeds.with_speeds(_report(tmp_path), [], measure=False)
    assert known.memory.rate == 3e9


@pytest.mark.usefixtures("fresh")
def test_every_disk_that_models_lie_on_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        (folder / name).write_bytes(bytes(MB))
    elsewhere = tmp_path / "elsewhere.gguf"
    elsewhere.write_bytes(bytes(2 * MB))
    monkeypatch.setattr(speeds, "_largest", _on_two_disks(speeds._largest, elsewhere))
    monkeypatch.setattr(speeds, "memory_bandwidth", lambda *_, **__: 1.0)
    monkeypatch.setattr(speeds, "direct_read_rate", lambda *_, **__: 0.0)
    found = speeds.with_speeds(_report(tmp_path), [folder, elsewhere])
    assert [one.path for one in found.disks] == [str(tmp_path), str(elsewhere.parent)]
    assert all(isinstance(one, DiskReport) and one.total > 0 for one in found.disks)


def _on_two_disks(largest, file: Path):
    def found(models):
        return largest(one for one in models if one != file) | {-7: file}

    return found


@pytest.mark.usefixtures("fresh")
def test_a_disk_that_cannot_be_measured_stays_unknown(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"1")
    assert direct_read_rate(tmp_path / "small", again=True) == 0
    found = speeds.with_speeds(_report(tmp_path), [tmp_path / "small"])
    assert (found.disk.rate, found.disk.measured) == (0, 0)
