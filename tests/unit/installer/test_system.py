from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from installer import system
from installer.errors import CommandError, SetupError

LDD = """/venv/PySide6/Qt/plugins/platforms/libqxcb.so:
	linux-vdso.so.1 (0x00007ffd)
	libQt6XcbQpa.so.6 => /venv/PySide6/Qt/lib/libQt6XcbQpa.so.6 (0x00007f)
	libxcb-cursor.so.0 => not found
	libEGL.so.1 => not found
	libxkbcommon-x11.so.0 => not found
/venv/PySide6/QtGui.abi3.so:
	libEGL.so.1 => not found
	libQt6Missing.so.6 => not found
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
"""


def test_what_ldd_could_not_find() -> None:
    assert system.unresolved(LDD) == ["libxcb-cursor.so.0", "libEGL.so.1", "libxkbcommon-x11.so.0"]


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libxcb-cursor.so.0", "libxcb-cursor0"),
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
        ("libX11-xcb.so.1", "libx11-xcb1"),
        ("libX11.so.6", "libx11-6"),
        ("libSM.so.6", "libsm6"),
        ("libGL.so.1", "libgl1"),
        ("libEGL.so.1", "libegl1"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libz.so.1", "zlib1g"),
        ("libwayland-cursor.so.0", "libwayland-cursor0"),
        ("libfontconfig.so.1", "libfontconfig1"),
    ],
)
def test_debian_names(library: str, package: str) -> None:
    assert system.debian_package(library) == package


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([], ["text", "mono", "emoji"]),
        (["dejavusans.ttf", "dejavusansmono.ttf"], ["text", "mono", "emoji"]),
        (["notosans-regular.ttf"], ["mono", "emoji"]),
        (["cantarell.otf", "sourcecodepro.otf", "notocoloremoji.ttf"], []),
        (["ubuntumono-r.ttf"], ["text", "emoji"]),
    ],
)
def test_fonts_that_are_wanted(names: list[str], wanted: list[str]) -> None:
    assert system.wanted_fonts(names) == wanted


def test_font_files_are_found_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "truetype" / "noto").mkdir(parents=True)
    (tmp_path / "truetype" / "noto" / "NotoSans-Regular.ttf").touch()
    (tmp_path / "truetype" / "noto" / "README").touch()
    assert system.font_files([tmp_path, tmp_path / "nothing"]) == ["notosans-regular.ttf"]


class Runner:
    """Records commands; `failures` maps a word in a command to the output it fails with, once."""

    def __init__(self, failures: dict[str, str] | None = None) -> None:
        self.commands: list[str] = []
        self.failures = failures or {}

    def run(self, command: list[str | Path], **_: object) -> str:
        text = " ".join(map(str, command))
        self.commands.append(text)
        for word in list(self.failures):
            if word in text:
                raise CommandError(100, self.failures.pop(word), Path("log"))
        return ""


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def lacking(monkeypatch: pytest.MonkeyPatch, *rounds: tuple[list[str], list[str]]) -> None:
    """What is missing at the first look, at the second, and so on: libraries, font files that are there."""
    libraries, fonts = [list(each) for each in zip(*rounds, strict=True)]
    monkeypatch.setattr(system, "missing_libraries", lambda: libraries.pop(0))
    monkeypatch.setattr(system, "font_files", lambda: fonts.pop(0))


ENOUGH = ["noto.ttf", "notomono.ttf", "emoji.ttf"]


@pytest.mark.usefixtures("debian")
def test_root_gets_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "can_use_apt", lambda: True)
    lacking(monkeypatch, (["libEGL.so.1"], []), ([], ENOUGH))
    runner = Runner()
    assert system.provide_window_libraries(runner) == ""  # type: ignore[arg-type]
    assert runner.commands[0] == "apt-get update"
    assert runner.commands[1].endswith(
        "install -y --no-install-recommends libegl1 fonts-noto-core fonts-noto-mono fonts-noto-color-emoji"
    )


@pytest.mark.usefixtures("debian")
def test_others_get_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "can_use_apt", lambda: False)
    lacking(monkeypatch, (["libEGL.so.1", "libxcb-cursor.so.0"], ENOUGH))
    runner = Runner()
    assert system.provide_window_libraries(runner) == (  # type: ignore[arg-type]
        "The window needs system libraries that are missing. "
        "Install with: sudo apt-get install -y libegl1 libxcb-cursor0"
    )
    assert runner.commands == []


@pytest.mark.usefixtures("debian")
def test_a_plain_font_is_enough_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "can_use_apt", lambda: False)
    lacking(monkeypatch, ([], ["dejavusans.ttf"]))
    assert system.provide_window_libraries(Runner()) == ""  # type: ignore[arg-type]


def test_without_apt_the_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(system, "can_use_apt", lambda: False)
    lacking(monkeypatch, (["libEGL.so.1"], []))
    assert system.provide_window_libraries(Runner()) == (  # type: ignore[arg-type]
        "The window needs system libraries that are missing and a font. "
        "Install with your system's package manager: libEGL.so.1, a text font and a monospace font"
    )


def test_a_half_finished_dpkg_is_mended_first() -> None:
    runner = Runner({" install ": "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"})
    system.apt_install(runner, ["libegl1"])  # type: ignore[arg-type]
    assert [command.split()[0] for command in runner.commands] == ["apt-get", "apt-get", "dpkg", "apt-get"]


def test_another_failure_of_apt_is_told() -> None:
    runner = Runner({" install ": "E: Unable to locate package libegl1"})
    with pytest.raises(CommandError, match="100"):
        system.apt_install(runner, ["libegl1"])  # type: ignore[arg-type]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(system.sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(SetupError) as caught:
        system.require_compiler()
    assert str(caught.value) == (
        "Nutshell builds its engine for this computer, and there is no C++ compiler here. "
        "Install one with: sudo apt-get install -y build-essential; then run the same command again."
    )


def test_a_chosen_compiler_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.sys, "platform", "linux")
    monkeypatch.setenv("CC", "gcc -m64")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "no-such-compiler" else f"/usr/bin/{name}")
    with pytest.raises(SetupError):
        system.require_compiler()
    monkeypatch.setenv("CXX", "g++ -m64")
    system.require_compiler()


def test_no_venv_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    monkeypatch.setattr(system, "can_use_apt", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(SetupError, match=r"its venv module is not installed\. .*apt-get install -y python3\.\d+-venv$"):
        system.require_venv(Runner())  # type: ignore[arg-type]
    monkeypatch.setattr(system, "can_use_apt", lambda: True)
    runner = Runner()
    system.require_venv(runner)  # type: ignore[arg-type]
    assert runner.commands[-1].endswith("-venv")


def test_no_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 9 * 10**9, 5 * 10**8))
    system.require_space(tmp_path / "not" / "there", 4 * 10**8, "The set-up")
    with pytest.raises(SetupError, match=r"needs about 0\.9 GB .* 0\.5 GB is free"):
        system.require_space(tmp_path / "not" / "there", 9 * 10**8, "The set-up")
