"""The disk's own rate, past the cache."""

from __future__ import annotations

from pathlib import Path

from backend.hardware.disk_rate import direct_read_rate


def test_a_file_that_is_large_enough_gives_a_rate_that_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(36 << 20))
    first = direct_read_rate(path, again=True)
    assert 1e6 < first < 1e12
    assert direct_read_rate(path) == first


def test_what_cannot_be_measured_is_not_known(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"1")
    assert direct_read_rate(small) == 0
    assert direct_read_rate(tmp_path / "nothing") == 0
