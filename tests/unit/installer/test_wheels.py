from __future__ import annotations

import sys
from pathlib import Path

import pytest

from installer.wheels import Pin, Wheels, _Counter, read_lock


class Recorder:
    """Stands for the runner: keeps the commands, and makes the wheels that pip would bring."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def run(self, command: list[str | Path], **_: object) -> str:
        words = [str(word) for word in command]
        self.commands.append(words)
        if "wheel" in words:
            folder = Path(words[words.index("--wheel-dir") + 1])
            folder.mkdir(parents=True)
            for word in words:
                name, equals, version = word.partition("==")
                if equals:
                    (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()
        return ""


PINS = [Pin("PySide6-Essentials", "6.11.3"), Pin("h11", "0.16.0"), Pin("typing-extensions", "4.16.0")]


@pytest.fixture
def wheels(place: Path) -> tuple[Wheels, Recorder]:
    recorder = Recorder()
    return Wheels(recorder), recorder  # type: ignore[arg-type]


def test_lock_lines(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(
        '# why\n\nh11==0.16.0\ncolorama==0.4.6 ; sys_platform == "win32"\nx==1 --hash=sha256:00\n', encoding="utf-8"
    )
    found = read_lock("some", tmp_path)
    assert found == [Pin("h11", "0.16.0"), Pin("colorama", "0.4.6", 'sys_platform == "win32"'), Pin("x", "1")]


@pytest.mark.parametrize(("system", "applies"), [("win32", True), ("linux", False)])
def test_markers(monkeypatch: pytest.MonkeyPatch, system: str, applies: bool) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert Pin("colorama", "1", 'sys_platform == "win32"').applies is applies
    assert Pin("other", "1", 'sys_platform != "win32"').applies is not applies
    assert Pin("any", "1").applies


def test_large_packages_are_fetched_alone_and_nothing_twice(wheels: tuple[Wheels, Recorder]) -> None:
    kept, recorder = wheels
    kept.fetch(PINS)
    assert [[word for word in command if "==" in word] for command in recorder.commands] == [
        ["PySide6-Essentials==6.11.3"],
        ["h11==0.16.0", "typing-extensions==4.16.0"],
    ]
    assert kept.missing(PINS) == []
    kept.fetch(PINS)
    assert len(recorder.commands) == 2


def test_a_batch_that_was_cut_off_is_fetched_again_alone(wheels: tuple[Wheels, Recorder]) -> None:
    kept, recorder = wheels
    kept.fetch(PINS[:1])
    half = kept.folder.with_name(kept.folder.name + ".part")
    half.mkdir()
    (half / "h11-0.16.0-py3-none-any.whl").write_bytes(b"half a wheel")
    assert kept.missing(PINS) == PINS[1:]
    kept.fetch(PINS)
    assert [word for word in recorder.commands[-1] if "==" in word] == ["h11==0.16.0", "typing-extensions==4.16.0"]
    assert (kept.folder / "h11-0.16.0-py3-none-any.whl").read_bytes() == b""
    assert not half.exists()


def test_another_version_is_missing(wheels: tuple[Wheels, Recorder]) -> None:
    kept, _ = wheels
    kept.fetch(PINS)
    assert kept.missing([Pin("h11", "0.17.0")]) == [Pin("h11", "0.17.0")]


def test_installing_asks_no_index(wheels: tuple[Wheels, Recorder]) -> None:
    kept, recorder = wheels
    kept.install([*PINS, Pin("elsewhere", "1", 'sys_platform == "nowhere"')])
    (command,) = recorder.commands
    assert {"--no-index", "--no-deps"} <= set(command)
    assert not any("elsewhere" in word for word in command)


def test_old_versions_are_pruned(wheels: tuple[Wheels, Recorder]) -> None:
    kept, _ = wheels
    kept.fetch([*PINS, Pin("h11", "0.15.0")])
    kept.prune(PINS)
    assert sorted(path.name.split("-")[1] for path in kept.folder.glob("h11*")) == ["0.16.0"]
    assert kept.missing(PINS) == []


def test_progress_counts_packages() -> None:
    counter = _Counter(2, 32)
    assert counter.watch("Collecting numpy==2.4.6") == "3 of 32, numpy"
    assert counter.watch("  Downloading numpy-2.4.6-cp311-x.whl (16.9 MB)") == "3 of 32, numpy (16.9 MB)"
    assert counter.watch("Processing /some/files/h11-0.16.0-py3-none-any.whl") == "4 of 32, h11"
    assert counter.watch("Saved something") is None
