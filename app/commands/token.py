"""`nutshell token`: whom the hub takes this machine for. The token itself is never shown."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING

from app.terminal import say
from backend.api.errors import InvalidRequestError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.hub.account import TokenInfo

__all__ = ["add", "run"]

_EPILOG = """\
Models that ask for an account need a token of it, from the page of your account under Access Tokens; the right to read
is enough. It is kept in the system's keyring and sent to the hub's own address only. HF_TOKEN goes before it.

examples:
  nutshell token set                  asks for it, without showing it
  nutshell token set < file           reads it
  nutshell token forget
"""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "token",
        help="enter or forget the token for the model hub",
        description="Says where the token for the model hub comes from, keeps one in the system's keyring, forgets it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=("status", "set", "forget"), default="status")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Says, keeps or forgets."""
    from backend.hub import account

    if arguments.what == "set":
        say(_words(account.keep(_read())))
    elif arguments.what == "forget":
        say(f"Forgotten. {_words(account.forget())}")
    else:
        print(_words(account.state()))
    return 0


def _read() -> str:
    """From the keyboard without an echo, or what is piped in; never an argument: others on the machine see those."""
    try:
        return getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()
    except EOFError as error:
        raise InvalidRequestError("No token was given.") from error


def _words(info: TokenInfo) -> str:
    said = {
        "environment": "The token of HF_TOKEN is used.",
        "keyring": f"The token in the keyring is used ({info.keyring}).",
        "login": "The token that `hf auth login` left on this machine is used.",
        "none": "There is no token; open models need none.",
    }[info.source]
    sent = "" if info.source == "none" else f" It is sent to {info.endpoint} only."
    return f"{said}{sent} {info.why}".rstrip()
