"""`nutshell download`: a model from the hub, resumed by the same command; `nutshell remove`: deletes one again."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from typing import TYPE_CHECKING

from app.commands.options import byte_count
from app.terminal import EXIT_INTERRUPTED, LiveLine, duration, say, size, table
from backend.api.errors import InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.hub.choices import Choice
    from backend.hub.fetch import Moved
    from backend.hub.remote import Repository

__all__ = ["add", "remove", "run"]

_EPILOG = """\
Models go into the Hugging Face cache, where other programs find them too. After Ctrl+C, a crash or a power cut the same
command goes on where it was. `nutshell token`, HF_TOKEN or `hf auth login` open models that ask for an account.
HF_ENDPOINT names a mirror, `nutshell folder` or HF_HOME another place, HTTPS_PROXY is honoured.

examples:
  nutshell download bartowski/SmolLM2-135M-Instruct-GGUF             what there is
  nutshell download bartowski/SmolLM2-135M-Instruct-GGUF Q4_K_M      that one
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares both commands."""
    parser = commands.add_parser(
        "download",
        help="download a model from the hub",
        description="Downloads a model. Without MODEL, lists what the repository has.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repository", metavar="REPOSITORY", help="as OWNER/NAME")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="which one of it: Q4_K_M, safetensors, or a file")
    parser.add_argument("--revision", default="main", metavar="NAME", help="a branch, tag or commit (default: main)")
    parser.add_argument(
        "--limit", type=byte_count, default=0, metavar="SIZE", help="at most so much a second, as in 2M"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)

    parser = commands.add_parser(
        "remove",
        help="delete a model from this machine",
        description="Deletes a model that was downloaded or made here, and says what that freed.",
    )
    parser.add_argument("model", metavar="MODEL", help="its id, or a part of its name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=remove)


def run(arguments: argparse.Namespace) -> int:
    """Lists or downloads."""
    from backend.config.paths import paths
    from backend.config.settings import Settings
    from backend.hub.choices import choices, choose
    from backend.hub.fetch import Wanted, download
    from backend.hub.network import obey
    from backend.hub.remote import open_repository
    from backend.hub.transfer import Pace, StoppedError

    obey(Settings.load(paths().settings))
    repository = open_repository(arguments.repository, arguments.revision)
    if arguments.model is None:
        return _list(repository, choices(repository), as_json=arguments.json)
    found = choose(repository, arguments.model)
    if len(found) != 1:
        raise NotFoundError(
            f"{arguments.model!r} " + ("may mean several models." if found else "is not in this repository."),
            remedy=f"See what there is: nutshell download {repository.name}",
        )
    wanted = Wanted(repository.name, repository.commit, found[0].files, arguments.revision)
    stop, line = threading.Event(), _Line()
    kept = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        path = download(wanted, line.tell, stop, pace=Pace(arguments.limit))
    except StoppedError:
        line.end()
        say("Stopped. What has arrived is kept; the same command goes on from here.")
        return EXIT_INTERRUPTED
    finally:
        line.end()
        signal.signal(signal.SIGINT, kept)
    print(json.dumps({"path": str(path), "bytes": found[0].bytes}) if arguments.json else path)
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Deletes."""
    from backend.api.naming import find
    from backend.config.paths import paths
    from backend.hub.catalogue import builtin_file
    from backend.hub.home import folders
    from backend.hub.local import LocalModels
    from backend.hub.removal import remove as remove_model

    places = paths()
    ours = [places.models, places.builds, *(one / "builds" for one in folders())]
    entry = find(LocalModels(builtin_file(places.models), ours[:2], chosen=folders).scan(), arguments.model)
    if entry is None:
        raise NotFoundError(f"There is no model {arguments.model!r} on this machine.", remedy="See: nutshell models")
    if not arguments.yes:
        say(f"{entry.name} ({size(entry.bytes)})\n{entry.path}")
        try:
            answer = input("Delete it? [y/N] ")
        except EOFError as error:
            raise InvalidRequestError("Nothing was deleted.", why="Nobody answered.", remedy="Add --yes.") from error
        if answer.strip().lower() not in ("y", "yes"):
            say("Nothing was deleted.")
            return 0
    print(f"{size(remove_model(entry, ours))} are free again.")
    return 0


def _list(repository: Repository, found: list[Choice], *, as_json: bool) -> int:
    if as_json:
        models = [{"name": one.name, "bytes": one.bytes, "files": [file.path for file in one.files]} for one in found]
        told = {"repository": repository.name, "commit": repository.commit, "models": models}
        print(json.dumps({**told, "licence": repository.licence, "gated": repository.gated}))
        return 0
    if not found:
        say(f"{repository.name} has no model that Nutshell can run.")
        return 0
    print(table([("MODEL", "SIZE", "FILES"), *((one.name, size(one.bytes), str(len(one.files))) for one in found)]))
    if repository.licence:
        print(f"\nlicence: {repository.licence}")
    if repository.gated:
        print("Its owners ask everyone to accept their terms first, in a browser.")
    return 0


class _Line(LiveLine):
    """The line of a download."""

    def tell(self, now: Moved) -> None:
        """How far it is, the rate, and the time left. Called from several threads, under the meter's lock."""
        if self.due():
            rate = f"  {size(now.rate)}/s  {duration(now.seconds_left)} left" if now.rate > 0 else ""
            self.show(f"{100 * now.done / max(now.total, 1):3.0f} %  {size(now.done)} of {size(now.total)}{rate}")
