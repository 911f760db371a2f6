"""The locks are pinned, complete, agree with each other, and hold back what chat must not load."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import kernels
from installer.stamp import Stamp
from installer.wheels import Pin, normal, read_lock

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("base", "llama", "torch", "compression", "test", "build")
#: which locks stand together in one environment, and may count on each other
ENVIRONMENTS = {"chat": ("base", "llama"), "all": ("base", "llama", "torch", "compression", "test")}
LINE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*"
    r"(?: ; sys_platform (?:==|!=) \"\w+\")?"
    r"(?: --hash=sha256:[0-9a-f]{64})?"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(*parts: str) -> dict[str, Pin]:
    return {normal(pin.name): pin for part in parts for pin in read_lock(part)}


@pytest.mark.parametrize("part", PARTS)
def test_every_line_is_one_pin(part: str) -> None:
    lines = (ROOT / "installer" / "locks" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if line and not line.startswith("#") and not LINE.fullmatch(line)]
    assert not wrong
    names = [normal(pin.name) for pin in read_lock(part)]
    assert len(names) == len(set(names))


def test_every_lock_is_known_here() -> None:
    assert {path.stem for path in (ROOT / "installer" / "locks").glob("*.txt")} == set(PARTS)


def test_locks_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    for part in PARTS:
        for name, pin in pins(part).items():
            versions.setdefault(name, set()).add(pin.version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        (PROJECT["project"]["dependencies"], ENVIRONMENTS["chat"]),
        (PROJECT["project"]["optional-dependencies"]["compression"], ENVIRONMENTS["all"]),
        (PROJECT["project"]["optional-dependencies"]["test"], ENVIRONMENTS["all"]),
        (PROJECT["build-system"]["requires"], ENVIRONMENTS["chat"]),
    ],
    ids=["dependencies", "compression", "test", "build-system"],
)
def test_what_pyproject_asks_for_is_locked(wanted: list[str], parts: tuple[str, ...]) -> None:
    locked = pins(*parts)
    for text in wanted:
        need = Requirement(text)
        pin = locked.get(normal(need.name))
        assert pin is not None, f"{text} is in no lock"
        assert need.specifier.contains(pin.version, prereleases=True), f"{text} does not allow the locked {pin}"


def test_chat_has_no_torch_and_nothing_slow_to_start() -> None:
    assert not set(pins("base", "llama")) & {"torch", "transformers", "pydantic", "fastapi", "scipy"}


def test_the_package_that_is_named_like_our_kernels_is_in_no_lock() -> None:
    assert "kernels" not in pins(*PARTS)


def test_kernels_is_ours() -> None:
    assert kernels.__file__ is not None
    assert Path(kernels.__file__).resolve() == ROOT / "kernels" / "__init__.py"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("kernels")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_locks_are_complete(environment: str) -> None:
    """What a locked package needs on this system is locked too, at a version it allows."""
    locked = pins(*ENVIRONMENTS[environment])
    checked = 0
    for name, pin in locked.items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # another system's package, or PyTorch where it is not installed
        if installed.version.split("+")[0] != pin.version:
            continue
        for text in installed.requires or []:
            need = Requirement(text)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            if name == "torch" and re.match(r"nvidia-|cuda-|triton", normal(need.name)):
                continue  # torch's own choice for this system's graphics card
            found = locked.get(normal(need.name))
            assert found is not None, f"{pin} needs {text}, which is not locked"
            assert need.specifier.contains(found.version, prereleases=True), f"{pin} needs {text}, locked is {found}"
        checked += 1
    assert checked > 25


def test_the_environment_is_what_the_locks_say() -> None:
    """Holds where the installer made it; a hand-made environment is its maker's business."""
    stamp = Stamp()
    if "test" not in stamp.done:
        pytest.skip("this environment was not made by `python3 -m installer test`")
    for pin in pins("base", "llama", "test").values():
        if pin.applies:
            assert importlib.metadata.version(pin.name) == pin.version


#: where the name that is imported is not the package's
PACKAGE_OF = {
    "PySide6": "pyside6-essentials",
    "shiboken6": "pyside6-essentials",
    "llama_cpp": "llama-cpp-python",
    "markdown_it": "markdown-it-py",
    "triton": "torch",  # comes with it where there is CUDA
}


def test_what_the_program_imports_is_a_dependency_of_its_own() -> None:
    """Not only something that another package happens to bring today."""
    asked = {normal(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    asked |= {normal(Requirement(text).name) for text in PROJECT["project"]["optional-dependencies"]["compression"]}
    ours = {"app", "ui", "backend", "kernels", "installer", "models_catalog"}
    foreign: dict[str, str] = {}
    for folder in ours:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                foreign |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    foreign = {name: path for name, path in foreign.items() if name not in sys.stdlib_module_names | ours}
    assert "PySide6" in foreign
    unasked = {n: path for n, path in foreign.items() if normal(PACKAGE_OF.get(n, n)) not in asked}
    assert unasked == {}
