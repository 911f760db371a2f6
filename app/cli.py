"""The terminal commands: parsing, and one place where every failure becomes a sentence and an exit code.

Exit codes: 0 done, 1 a failure that was explained on stderr, 2 a command that could not be understood, 130 Ctrl+C.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from app.terminal import EXIT_BROKEN_PIPE, EXIT_ERROR, EXIT_INTERRUPTED, hush_broken_pipe, say
from backend.api.errors import NutshellError

__all__ = ["build_parser", "run_command"]

_COMMANDS = (
    "ask", "chat", "models", "download", "folder", "token", "serve", "hardware", "pack", "compress", "slider", "export",
    "measure", "plan", "bench"
)  # fmt: skip

_EPILOG = """\
examples:
  nutshell                               open the window
  nutshell ask "Why is the sky blue?"    one answer, in the terminal
  git diff | nutshell ask "Explain this change"
  nutshell chat --model qwen             talk, with a model chosen by part of its name
  nutshell serve                         offer the model to other programs
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command; each command sets `run`."""
    parser = argparse.ArgumentParser(
        prog="nutshell",
        description="Chat with language models that run on this machine. Without a command, the window opens.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in _COMMANDS:
        importlib.import_module(f"app.commands.{name}").add(commands)
    return parser


def run_command(argv: Sequence[str]) -> int:
    """Runs the command in `argv` and returns the exit code."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what it had to say
        return end.code if isinstance(end.code, int) else 2
    if arguments.version:
        from backend.api.version import version

        print(f"nutshell {version()}")
        return 0
    if arguments.command is None:
        from app.gui import run

        return run()
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except NutshellError as error:
        say(f"nutshell: {error}")
        return EXIT_ERROR
    except KeyboardInterrupt:
        say("")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        hush_broken_pipe()
        return EXIT_BROKEN_PIPE
    return code
