"""What the computer must bring: a compiler, venv, Qt's system libraries, fonts. On Debian as root, we install them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from installer import locations
from installer.errors import CommandError, SetupError
from installer.processes import Runner, environment

#: Debian packages whose name does not follow from the library's name
_EXCEPTIONS = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libz.so.1": "zlib1g",
    "libbrotlidec.so.1": "libbrotli1",
}
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")

#: Noto: fontconfig's own first choice on Debian, easy to read, and most scripts. Colour emoji, since answers hold them.
_FONTS = {"text": "fonts-noto-core", "mono": "fonts-noto-mono", "emoji": "fonts-noto-color-emoji"}


def can_use_apt() -> bool:
    """Whether packages of the system can be installed without asking anyone."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(runner: Runner, packages: Sequence[str]) -> None:
    """Installs Debian packages.

    Raises:
        CommandError: apt could not.
    """
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", *packages]

    def watch(line: str) -> str | None:
        match = re.match(r"(?:Unpacking|Setting up) (\S+)", line)
        return match[1].split(":")[0] if match else None

    runner.run(["apt-get", "update"])
    try:
        runner.run(install, watch=watch)
    except CommandError as error:
        if "dpkg --configure -a" not in error.output:
            raise
        # an earlier installation, perhaps ours, was killed half-way
        runner.run(["dpkg", "--configure", "-a"])
        runner.run(install, watch=watch)


def apt_command(packages: Iterable[str]) -> str:
    """The command for a person to type."""
    return f"sudo apt-get install -y {' '.join(packages)}"


def require_venv(runner: Runner) -> None:
    """Makes sure that Python can make virtual environments.

    Raises:
        SetupError: it cannot, with the command that mends it.
    """
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if can_use_apt():
        apt_install(runner, [package])
        return
    remedy = apt_command([package]) if shutil.which("apt-get") else "your system's package manager"
    raise SetupError(
        "This Python cannot make virtual environments: its venv module is not installed.",
        f"Install it with: {remedy}",
    )


def compiler_remedy() -> str:
    """How to get a C++ compiler here."""
    if shutil.which("apt-get"):
        how = apt_command(["build-essential"])
    else:
        how = {
            "darwin": "xcode-select --install",
            "win32": 'winget install Microsoft.VisualStudio.BuildTools (choose "Desktop development with C++")',
        }.get(sys.platform, "your system's package manager (gcc and g++, or clang)")
    return f"Install one with: {how}; then run the same command again."


def require_compiler() -> None:
    """Makes sure that there is a C and a C++ compiler.

    Raises:
        SetupError: there is none.
    """
    if not _has_compiler():
        raise SetupError(
            "Nutshell builds its engine for this computer, and there is no C++ compiler here.", compiler_remedy()
        )


def _has_compiler() -> bool:
    if sys.platform == "win32":
        programs = os.environ.get("PROGRAMFILES(X86)", r"C:\Program Files (x86)")
        vswhere = Path(programs, "Microsoft Visual Studio", "Installer", "vswhere.exe")
        found = vswhere.exists() or any(map(shutil.which, ("cl", "clang-cl", "g++")))
    elif sys.platform == "darwin":
        # /usr/bin/clang is there without the tools too, and opens a dialog
        found = subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, check=False).returncode == 0
    else:
        found = _found("CC", "cc", "gcc", "clang") and _found("CXX", "c++", "g++", "clang++")
    return found


def _found(variable: str, *usual: str) -> bool:
    """Whether the program that `variable` names is there, or, without it, one of the usual ones."""
    chosen = os.environ.get(variable, "").split()
    return any(map(shutil.which, chosen[:1] or usual))


def require_space(folder: Path, needed: int, what: str) -> None:
    """Makes sure that the disk of `folder` has room for `needed` bytes.

    Raises:
        SetupError: it has not.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"{what} needs about {needed / 1e9:.1f} GB on the disk of {folder}, and {free / 1e9:.1f} GB is free.",
            "Free some space and run the same command again; what is already there is kept.",
        )


def missing_libraries() -> list[str]:
    """Names of system libraries that Qt wants and the system lacks; empty where that cannot be told."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    (qt,) = locations.VENV.glob("lib/python*/site-packages/PySide6")
    wanted = [qt / f"{module}.abi3.so" for module in ("QtCore", "QtGui", "QtWidgets", "QtSvg", "QtNetwork")]
    wanted += [*(qt / "Qt/plugins/platforms").glob("libq*.so"), *(qt / "Qt/plugins/xcbglintegrations").glob("*.so")]
    no_window = ("libqeglfs", "libqlinuxfb", "libqvkkhr", "libqvnc")  # for devices without a desktop
    wanted = [path for path in wanted if path.exists() and not path.name.startswith(no_window)]
    found = subprocess.run([ldd, *wanted], capture_output=True, text=True, env=environment(), check=False)
    return unresolved(found.stdout)


def unresolved(ldd_output: str) -> list[str]:
    """The libraries that `ldd` could not find, each once; Qt's own are not counted."""
    names = dict.fromkeys(re.findall(r"^\s*(\S+) => not found", ldd_output, re.MULTILINE))
    return [name for name in names if not name.startswith(("libQt6", "libpyside6", "libshiboken6"))]


def debian_package(library: str) -> str:
    """The Debian package of a shared library, by Debian's naming rule: libxcb-cursor.so.0 is in libxcb-cursor0."""
    if library in _EXCEPTIONS:
        return _EXCEPTIONS[library]
    name, _, version = library.partition(".so")
    name = name.lower().replace("_", "-")
    version = version.lstrip(".").split(".")[0]
    return f"{name}-{version}" if version and name[-1].isdigit() else f"{name}{version}"


def font_files(folders: Iterable[str | Path] = _FONT_FOLDERS) -> list[str]:
    """File names, lower case, of the fonts that are installed."""
    return [
        path.name.lower()
        for folder in folders
        for path in Path(folder).expanduser().rglob("*")
        if path.suffix.lower() in {".ttf", ".otf", ".ttc"}
    ]


def wanted_fonts(names: Iterable[str]) -> list[str]:
    """Which kinds of font ("text", "mono", "emoji") would make these complete.

    DejaVu, which fontconfig brings everywhere, is readable but not pleasant: it alone does not count.
    """
    names = [name for name in names if not name.startswith("dejavu")]
    emoji = {name for name in names if "emoji" in name}
    mono = {name for name in names if re.search(r"mono|courier|consol|code|hack", name)} - emoji
    have = {"text": set(names) - emoji - mono, "mono": mono, "emoji": emoji}
    return [kind for kind, found in have.items() if not found]


def provide_window_libraries(runner: Runner) -> str:
    """Finds what the window lacks and installs it if allowed.

    Returns:
        "" when the window can open, else one sentence with what to do.

    Raises:
        CommandError: apt could not.
    """
    libraries, fonts = missing_libraries(), font_files()
    packages = [*dict.fromkeys(map(debian_package, libraries)), *(_FONTS[kind] for kind in wanted_fonts(fonts))]
    if packages and can_use_apt():
        apt_install(runner, packages)
        libraries, fonts = missing_libraries(), font_files()
    if not libraries and fonts:
        return ""
    lacks = [*(["system libraries that are missing"] if libraries else []), *([] if fonts else ["a font"])]
    what = f"The window needs {' and '.join(lacks)}"
    if shutil.which("apt-get"):
        return f"{what}. Install with: {apt_command(packages)}"
    listed = ", ".join([*libraries, *([] if fonts else ["a text font and a monospace font"])])
    return f"{what}. Install with your system's package manager: {listed}"
