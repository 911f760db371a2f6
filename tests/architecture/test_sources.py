"""Rules that hold for every file that git tracks."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "ui", "backend", "kernels", "installer", "models_catalog")
MOST_LINES = 500


def whole(text: str) -> str:
    """Words below are written with a gap, so that this file does not hold what it looks for."""
    return text.replace("|", "")


#: folders of one computer, hosts of package registries, and who wrote it with what
FORBIDDEN = [
    *map(whole, ("/wo|rk/", "/ro|ot/", "/fa|rm/", "/home/us|er/", "bash_j|obs", "/tmp/l|cp")),
    *map(whole, ("python|hosted", "pypi|.org", "registry.npm|js", "deb.deb|ian")),
    *map(whole, ("Cla|ude", "Anth|ropic", "work|place")),
]
BANNED_CALLS = {whole("ev|al"), whole("ex|ec")}
BANNED_MODULES = set(map(whole, ("pic|kle", "cPic|kle", "di|ll", "cloudpic|kle", "job|lib", "mar|shal", "she|lve")))
BANNED_ARGUMENT = whole("trust_remote|_code")


@cache
def tracked() -> list[Path]:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: what is ours cannot be told from what lies about")
    names = done.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return [
        path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (folders or PACKAGES)
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def code_lines(source: str) -> int:
    """Lines that hold a token other than comments, blank lines and docstrings."""
    lines: set[int] = set()
    first = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            first = first or token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
            continue
        if not (token.type == tokenize.STRING and first):
            lines |= set(range(token.start[0], token.end[0] + 1))
        first = False
    return len(lines)


def test_code_lines_counts_code() -> None:
    source = '"""Words.\n\nMore.\n"""\n\n# why\nx = """a\nb"""\n\n\ndef f():\n    """Says."""\n    return x\n'
    assert code_lines(source) == 4 + 1  # x on two lines, def, return, and the end of the file


def test_no_file_is_too_long() -> None:
    long = {name_of(path): code_lines(path.read_text(encoding="utf-8")) for path in python_files()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_no_file_names_one_computer_or_a_registry() -> None:
    pattern = re.compile("|".join(map(re.escape, FORBIDDEN)), re.IGNORECASE)
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8000]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{name_of(path)}:{number}: {match[0]}")
    assert not found


def test_qt_is_in_the_window_only() -> None:
    with_qt = {name_of(path) for path in python_files() if imports_of(path) & {"PySide6", "qasync", "shiboken6"}}
    assert with_qt, "no file imports Qt: this test looks in the wrong place"
    elsewhere = [name for name in with_qt if not name.startswith("ui/")]
    # app composes the window: what it needs of Qt stands in modules that the terminal commands do not import
    allowed = re.compile(r"app/(gui\w*|desktop|windows|single_instance|quit_signals|benchmarks/ui_driver)\.py")
    assert [name for name in elsewhere if not allowed.fullmatch(name)] == []


def test_nothing_reads_code_from_data() -> None:
    found = []
    for path in python_files():
        if imports_of(path) & BANNED_MODULES:
            found.append(f"{name_of(path)}: {sorted(imports_of(path) & BANNED_MODULES)}")
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
                found.append(f"{name_of(path)}:{node.lineno}: {node.func.id}()")
            if any(word.arg == BANNED_ARGUMENT for word in node.keywords):
                found.append(f"{name_of(path)}:{node.lineno}: {BANNED_ARGUMENT}")
    assert not found


def test_the_installer_needs_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"installer"}
    foreign = {name_of(path): imports_of(path) - allowed for path in python_files("installer")}
    assert {name: found for name, found in foreign.items() if found} == {}


def test_import_contracts_hold() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as check; sys.exit(check())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout
