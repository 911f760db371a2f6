"""`nutshell folder`: where models are kept, and moving them to another disk; killed, the same command goes on."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import TYPE_CHECKING

from app.terminal import EXIT_INTERRUPTED, LiveLine, duration, say, size
from backend.api.errors import InvalidRequestError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.hub.moving import Far

__all__ = ["add", "run"]

_EPILOG = """\
A chosen folder has downloads in hub, as a Hugging Face cache (other programs find them with HF_HUB_CACHE), and what was
compressed here in builds. Of the shared Hugging Face cache only what Nutshell downloaded is moved. To another disk
every file is copied, read back and compared before the original is removed.

examples:
  nutshell folder                      where they are
  nutshell folder --move /mnt/models   moves them there
  nutshell folder --usual              back to the usual places
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "folder",
        help="say where models are kept, or move them",
        description="Says where models are kept, or moves them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--move", metavar="FOLDER", help="move them into this folder")
    where.add_argument("--usual", action="store_true", help="move them back to the usual places")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Says or moves."""
    from backend.hub.home import builds_of, folders, hub_of, read_home

    if arguments.usual or arguments.move is not None:
        if not arguments.usual and not arguments.move.strip():
            raise InvalidRequestError("The folder has no name.", remedy="Back to the usual places: --usual")
        return _move("" if arguments.usual else arguments.move)
    home = read_home()
    print(f"downloads: {hub_of(home.folder)}\nbuilds:    {builds_of(home.folder)}")
    for one in folders():
        if str(one) != home.folder:
            print(f"and still: {one}")
    if home.unfinished:
        again = f"--move '{home.folder}'" if home.folder else "--usual"
        say(f"A move did not end. Go on with it: nutshell folder {again}")
    return 0


def _move(folder: str) -> int:
    from backend.hub.relocate import relocate
    from backend.hub.transfer import StoppedError
    from backend.jobs.moving import check_idle, etags

    check_idle()
    stop, line = threading.Event(), _Line()
    kept = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        outcome = relocate(folder, etags, line.tell, stop)
    except StoppedError:
        line.end()
        say("Stopped. Nothing is lost; the same command goes on from here.")
        return EXIT_INTERRUPTED
    finally:
        line.end()
        signal.signal(signal.SIGINT, kept)
    for name, why in outcome.left:
        say(f"{name} stayed where it is. {why}")
    print(f"Moved: {outcome.moved}.")
    return 0


class _Line(LiveLine):
    """The line of a move."""

    def tell(self, far: Far) -> None:
        """How far it is, the rate, and the time left."""
        if far.total and self.due():
            rate = f"  {size(far.rate)}/s  {duration(far.seconds_left)} left" if far.rate > 0 else ""
            self.show(f"{100 * far.done / far.total:3.0f} %  copied and read back{rate}")
