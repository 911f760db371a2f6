"""The commands of `python3 -m installer`.

    run [args...]        set up what is missing, then start Nutshell with these arguments (none: the window)
    test [args...]       set up everything and run every check; arguments go to pytest
    check [name...]      the quick checks only: format, lint, types, imports
    setup [--fresh]      set up without starting; --fresh makes the environment anew
    add compression      install PyTorch and what making models smaller needs
    lock                 choose new versions for the locks (for developers)
    uninstall [--yes]    remove the environment and the cache; conversations stay

Only what the fast path needs is imported at the top: a second `run` must not be noticed.
"""

from __future__ import annotations

import os
import sys

from installer import locations
from installer.stamp import is_ready

_TERMINAL = {
    *("ask", "chat", "models", "download", "remove", "folder", "token", "serve", "hardware"),
    *("pack", "plan", "compress", "export", "measure", "bench"),
}


def main(arguments: list[str]) -> int:
    """Runs one command; returns the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = {
        "run": _run,
        "test": _test,
        "check": _check,
        "setup": _setup,
        "add": _add,
        "lock": _lock,
        "uninstall": _uninstall,
    }
    if command not in commands:
        asked = command in {"-h", "--help", "help"}
        print(__doc__ if asked else f"Unknown command: {command or '(none)'}.\n\n{__doc__}", file=sys.stderr)
        return 0 if asked else 2
    return commands[command](rest)


def wants_window(arguments: list[str]) -> bool:
    """Whether these arguments of the program open the window."""
    return not any(word in _TERMINAL or word in {"-h", "--help", "--version"} for word in arguments[:1])


def has_display() -> bool:
    """Whether a window can be shown; only Linux can be without a display."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return sys.platform != "linux" or any(os.environ.get(name) for name in names)


def _run(arguments: list[str]) -> int:
    window = wants_window(arguments)
    if window and not has_display():
        print(
            "There is no display here for Nutshell's window. In this terminal you can use:\n"
            '  python3 -m installer run ask "Why is the sky blue?"\n'
            "  python3 -m installer run chat",
            file=sys.stderr,
        )
        return 2
    if not is_ready(window=window):
        code = _prepared((), window=window)
        if code:
            return code
    return _become([str(locations.VENV_PYTHON), "-m", "app", *arguments])


def _become(command: list[str]) -> int:  # noqa: RET503 - execv does not return
    if sys.platform == "win32":
        import subprocess

        return subprocess.run(command, check=False).returncode
    else:  # noqa: RET505 - mypy takes a branch for another system, not what follows a return
        os.execv(command[0], command)


def _prepared(parts: tuple[str, ...], *, window: bool = False) -> int:
    """Sets up; prints what went wrong. Returns an exit code."""
    import signal

    from installer.errors import SetupError, explain_os
    from installer.steps import prepare

    # a terminal that closes and a polite kill stop the compiler too, as Ctrl+C does
    stops = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.signal(number, signal.default_int_handler) for number in stops}
    try:
        problem = prepare(parts)
    except OSError as error:
        return _failed(explain_os(error))
    except SetupError as error:
        return _failed(error)
    except KeyboardInterrupt:
        print("Stopped. What is already there is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if problem:
        print(problem, file=sys.stderr)
        return 1 if window else 0
    return 0


def _failed(error: Exception) -> int:
    print(error, file=sys.stderr)
    if log := getattr(error, "log", None):
        print(f"The log is in {log}", file=sys.stderr)
    return 1


def _test(arguments: list[str]) -> int:
    from installer.checks import run_all

    return _prepared(("compression", "test")) or run_all(arguments)


def _check(arguments: list[str]) -> int:
    from installer.checks import QUICK, run_quick

    if unknown := set(arguments) - set(QUICK):
        print(f"Unknown check: {', '.join(sorted(unknown))}. There are: {', '.join(QUICK)}.", file=sys.stderr)
        return 2
    return _prepared(("test",)) or (1 if run_quick(arguments or list(QUICK)) else 0)


def _setup(arguments: list[str]) -> int:
    if arguments not in ([], ["--fresh"]):
        print("usage: python3 -m installer setup [--fresh]", file=sys.stderr)
        return 2
    if arguments:
        from installer.stamp import Stamp

        Stamp().start("environment")  # an unfinished environment is made anew
    code = _prepared(())
    if not code:
        print("Nutshell is set up. Start it with: python3 -m installer run", file=sys.stderr)
    return code


def _add(arguments: list[str]) -> int:
    if arguments != ["compression"]:
        print("usage: python3 -m installer add compression", file=sys.stderr)
        return 2
    return _prepared(("compression",))


def _lock(arguments: list[str]) -> int:
    from installer.relock import relock

    if arguments:
        print("usage: python3 -m installer lock", file=sys.stderr)
        return 2
    return _prepared(("test",)) or relock()


def _uninstall(arguments: list[str]) -> int:
    from installer.steps import remove

    folders = [locations.VENV, locations.cache_dir()]
    if "--yes" not in arguments:
        print("This removes:", *(f"  {folder}" for folder in folders if folder.exists()), sep="\n")
        print(f"Conversations and settings in {locations.data_dir()} stay.")
        try:
            answer = input("Remove? [y/N] ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in {"y", "yes"}:
            print("Nothing was removed.")
            return 1
    for folder in folders:
        print(f"removed: {folder}" if remove(folder) else f"was not there: {folder}")
    print(f"Conversations and settings, if any, are in {locations.data_dir()}.")
    return 0
