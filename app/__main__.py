"""The `nutshell` command: a window, or a terminal command. Chooses, and imports nothing heavy itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with `argv` (without the program's name; None: the process's own) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Without arguments this is the way to the window, where every import counts: argparse and the rest cost 15 ms.
    if not arguments:
        from app.gui import run

        return run()
    from app.cli import run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
