from __future__ import annotations

from pathlib import Path

import pytest

from installer import locations
from installer.stamp import Stamp, wanted_keys


def test_finished_steps_are_remembered(place: Path) -> None:
    stamp = Stamp()
    assert not stamp.has({"packages": "1"})
    stamp.start("packages")
    assert Stamp().started == ["packages"]
    stamp.finish("packages", "1")
    assert Stamp().has({"packages": "1"})
    assert not Stamp().has({"packages": "2"})
    assert Stamp().started == []


def test_a_step_that_starts_again_is_not_finished(place: Path) -> None:
    Stamp().finish("packages", "1")
    Stamp().start("packages")
    assert not Stamp().has({"packages": "1"})
    Stamp().cancel("packages")
    assert Stamp().started == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"done": 3}', b"\xff\xfe", b'{"done": {}, "started": 1}'])
def test_a_damaged_file_counts_as_nothing(place: Path, content: bytes) -> None:
    Stamp().finish("packages", "1")
    (locations.VENV / "nutshell-setup.json").write_bytes(content)
    assert Stamp().done == {}
    assert Stamp().started == []


def test_every_input_changes_its_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {
        "installer/locks/base.txt": "packages",
        "pyproject.toml": "program",
        "models_catalog/builtin.json": "model",
        "installer/locks/test.txt": "test",
        "installer/locks/torch.txt": "torch",
        "installer/locks/compression.txt": "compression",
        "kernels/cpu/CMakeLists.txt": "kernels",
        "kernels/cpu/ops/gemm.h": "kernels",
    }
    for name in inputs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((locations.ROOT / name).read_bytes())
    monkeypatch.setattr(locations, "ROOT", tmp_path)
    before = wanted_keys(("compression", "test"))
    assert set(before) >= set(inputs.values()) | {"environment", "llama", "system"}
    for name, step in inputs.items():
        old = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(old + b"\n")
        after = wanted_keys(("compression", "test"))
        (tmp_path / name).write_bytes(old)
        assert {key for key in after if after[key] != before[key]} == {step}
