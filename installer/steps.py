"""The set-up as a list of steps: what is missing is done, in an order that fails early."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from installer import builtin_model, kernels, llama, locations, system
from installer.catalogue import BuiltinModel
from installer.errors import CommandError, SetupError, explain
from installer.locking import InstallerLock
from installer.processes import Runner
from installer.progress import Progress
from installer.stamp import Keys, Stamp, wanted_keys
from installer.wheels import Pin, Wheels, pip, read_lock

_GB = 10**9


@dataclass(frozen=True)
class _Step:
    """One step. `doing` finishes the sentence "The set-up stopped while ..."."""

    name: str
    title: str
    doing: str
    act: Callable[[], str]  # returns a word for the progress line, or ""


class Setup:
    """Brings the environment to what a command needs.

    Attributes:
        window_problem: after `run`, a sentence when the window cannot open here, else "".
    """

    def __init__(self, progress: Progress, lock: InstallerLock) -> None:
        self.window_problem = ""
        self._progress = progress
        self._runner = Runner(locations.cache_dir() / "setup.log", lock, progress.update)
        self._wheels = Wheels(self._runner)
        self._stamp = Stamp()

    def run(self, parts: Iterable[str] = ()) -> None:
        """Does what is missing for the base and these parts ("compression", "test").

        Raises:
            SetupError: with the sentence to show.
        """
        wanted = wanted_keys(parts)
        if not self._environment_works(wanted):
            self._stamp.clear()
        there = BuiltinModel.read().present and locations.NATIVE_KERNELS.exists()
        if there and all(self._stamp.has({name: key}) for name, key in wanted.items()):
            return
        todo = [step for step in self._steps(parts) if not self._finished(step.name, wanted)]
        self._before(todo)
        self._progress.total = len(todo)
        for step in todo:
            self._progress.begin(step.title)
            try:
                said = step.act()
            except CommandError as error:
                if step.name != "environment" and "Installing collected packages" not in error.output:
                    self._stamp.cancel(step.name)  # pip gave up, offline perhaps, before it changed anything
                raise explain(error, step.doing, system.compiler_remedy()) from error
            if step.name in wanted and not (step.name == "system" and self.window_problem):
                self._stamp.finish(step.name, wanted[step.name])
            self._progress.done(said)
        self._wheels.prune(pin for lock in ("base", "build", "test", "compression") for pin in read_lock(lock))

    def _steps(self, parts: Iterable[str]) -> list[_Step]:
        steps = [
            _Step("environment", "Making a private Python environment", "making the environment", self._environment),
            _Step("wheels", "Getting packages", "getting packages", lambda: self._fetch("base")),
            _Step("engine", "Building llama.cpp for this processor", "building llama.cpp", self._build),
            _Step("packages", "Installing packages", "installing packages", lambda: self._install("packages", "base")),
            _Step("llama", "Installing llama.cpp", "installing llama.cpp", self._install_llama),
            _Step("program", "Installing Nutshell", "installing Nutshell", self._program),
            _Step("kernels", "Building Nutshell's own kernels", "building Nutshell's own kernels", self._kernels),
            _Step("model", "Getting the built-in model", "getting the built-in model", self._model),
            _Step("system", "Checking window libraries and fonts", "installing system packages", self._system),
        ]
        if "compression" in parts:
            steps += [
                _Step("torch", "Installing PyTorch", "installing PyTorch", self._torch),
                _Step(
                    "compression",
                    "Installing the compression tools",
                    "installing the compression tools",
                    lambda: self._both("compression", "compression"),
                ),
            ]
        if "test" in parts:
            steps.append(
                _Step(
                    "test",
                    "Installing the test tools",
                    "installing the test tools",
                    lambda: self._both("test", "test"),
                )
            )
        return steps

    def _finished(self, name: str, wanted: Keys) -> bool:
        if name == "wheels":
            return self._stamp.has({"packages": wanted["packages"]}) or not self._wheels.missing(read_lock("base"))
        if name == "engine":
            return self._stamp.has({"llama": wanted["llama"]}) or llama.kept_wheel() is not None
        if name == "kernels" and not locations.NATIVE_KERNELS.exists():
            return False
        if name == "model":
            return BuiltinModel.read().present and self._stamp.has({name: wanted[name]})
        return self._stamp.has({name: wanted[name]})

    def _before(self, todo: list[_Step]) -> None:
        """Everything that can be known before minutes of work."""
        names = {step.name for step in todo}
        if "environment" in names:
            try:
                system.require_venv(self._runner)
            except CommandError as error:
                raise explain(error, "installing Python's venv module") from error
        if names & {"engine", "kernels"}:
            system.require_compiler()
        here = 0.9 * ("packages" in names) + 0.3 * ("test" in names) + 2.0 * ("torch" in names)
        system.require_space(locations.VENV, int(here * _GB) + _GB // 20, "The set-up")
        cached = 0.2 * ("wheels" in names) + 0.9 * ("engine" in names) + 0.2 * ("model" in names)
        system.require_space(locations.cache_dir(), int(cached * _GB) + _GB // 20, "The set-up")

    # the environment

    def _environment_works(self, wanted: Keys) -> bool:
        """Whether `.venv` can be built upon. One that we did not make is adopted when its Python fits."""
        if not locations.VENV_PYTHON.exists():
            return False
        if self._stamp.started:
            return False  # an installation was cut off: what is half there cannot be told from what is whole
        made = self._stamp.done.get("environment")
        if made is not None and made != wanted["environment"]:
            return False
        probe = "import sys, pip; print(sys.implementation.cache_tag)"
        try:
            found = subprocess.run(
                [locations.VENV_PYTHON, "-c", probe], capture_output=True, text=True, check=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError):
            return False
        if found.stdout.strip() != sys.implementation.cache_tag:
            return False
        if made is None:
            self._stamp.finish("environment", wanted["environment"])
        return True

    def _environment(self) -> str:
        again = locations.VENV.exists()
        self._stamp.start("environment")  # first: from here on the folder is known to be in pieces
        for path in locations.VENV.iterdir():
            if path.name.startswith("nutshell-setup."):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        # not sys.executable: it may be the very environment that is being replaced
        base = getattr(sys, "_base_executable", None) or sys.executable
        self._runner.run([base, "-m", "venv", locations.VENV])
        return "made anew" if again else ""

    # packages

    def _fetch(self, lock: str) -> str:
        pins = [pin for pin in read_lock(lock) if pin.applies]
        self._wheels.fetch(pins)
        return f"{len(pins)} packages"

    def _install(self, step: str, lock: str) -> str:
        pins: list[Pin] = [pin for pin in read_lock(lock) if pin.applies]
        self._wheels.fetch(pins)  # nothing, unless the cache was emptied since
        self._stamp.start(step)
        self._wheels.install(pins)
        return f"{len(pins)} packages"

    def _both(self, step: str, lock: str) -> str:
        self._wheels.fetch(read_lock(lock))
        return self._install(step, lock)

    def _build(self) -> str:
        llama.build(self._runner, self._wheels)
        return ""

    def _install_llama(self) -> str:
        kept = llama.kept_wheel()
        wheel = kept or llama.build(self._runner, self._wheels)
        self._stamp.start("llama")
        try:
            llama.install(self._runner, wheel)
        except CommandError:
            if kept is None:
                raise
            # a kept wheel that does not load, perhaps made on another system that shares this folder: build it here
            llama.install(self._runner, llama.build(self._runner, self._wheels))
        return "kept from an earlier build" if kept else ""

    def _program(self) -> str:
        self._stamp.start("program")
        # an editable install: the `nutshell` command runs this clone. All from the lock, no network.
        options = ["--no-deps", "--no-index", "--no-build-isolation", "--editable", str(locations.ROOT)]
        self._runner.run([*pip("install"), *options])
        return ""

    def _kernels(self) -> str:
        kernels.build(self._runner, self._wheels)
        return ""

    def _torch(self) -> str:
        self._stamp.start("torch")
        (pin,) = read_lock("torch")

        def watch(line: str) -> str | None:
            words = line.split()
            return words[1].rsplit("/", 1)[-1][:60] if line.startswith(("Collecting", "  Downloading")) else None

        # by itself and with its own choice of dependencies: which CUDA or CPU packages it needs depends on the system
        self._runner.run([*pip("install"), str(pin)], watch=watch)
        return pin.version

    # the rest

    def _model(self) -> str:
        model = BuiltinModel.read()
        if model.present:
            return "already there"
        builtin_model.fetch(self._runner, model)
        return f"{model.size / 1e6:.0f} MB"

    def _system(self) -> str:
        if platform.system() != "Linux":  # elsewhere Qt comes with all it needs
            return ""
        try:
            self.window_problem = system.provide_window_libraries(self._runner)
        except CommandError as error:
            self.window_problem = str(explain(error, "installing system packages"))
        return "something is missing" if self.window_problem else ""


def prepare(parts: Iterable[str] = ()) -> str:
    """Sets up what is missing; returns a sentence when the window cannot open on this computer, else "".

    Raises:
        SetupError: with the sentence to show.
    """
    progress = Progress(0)
    cache = locations.cache_dir()

    def waiting() -> None:
        if progress.current:
            progress.update()
        else:
            progress.begin("Waiting: another set-up is at work on this computer")

    try:
        with InstallerLock(cache / "installer.lock", waiting) as lock:
            if progress.current:
                progress.done()
            progress = Progress(0)
            setup = Setup(progress, lock)
            setup.run(parts)
            return setup.window_problem
    except (SetupError, OSError, KeyboardInterrupt):
        progress.interrupt()
        raise


def remove(folder: Path) -> bool:
    """Deletes a folder; whether it was there."""
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
