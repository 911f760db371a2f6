# Must run on any Python: it says that a newer one is needed, where a modern module would be a SyntaxError.
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is the check itself
    sys.exit(
        "Nutshell needs Python 3.11 or newer and this is Python %d.%d. "  # noqa: UP031 - f-strings are newer than this
        "Install a newer Python and run the same command with it, for example: python3.11 -m installer run"
        % sys.version_info[:2]
    )

from installer.cli import main

sys.exit(main(sys.argv[1:]))
