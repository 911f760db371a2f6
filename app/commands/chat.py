"""`nutshell chat`: a conversation in the terminal.

The prompt reads lines on the main thread and the event loop runs only while something is awaited: so Ctrl+C means
"stop the answer" while one is written, and nothing worse than a new line at the prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from app.commands.options import add_answer_options, engine_arguments, sampling_from
from app.terminal import say
from backend.api.errors import EngineUnavailableError, NutshellError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from app.dialogue import Dialogue
    from app.session import Session

__all__ = ["add", "run"]

_HELP = """\
  /new            start a new conversation
  /model          say which model answers
  /model NAME     answer with another model (name, id or path)
  /help           this list
  /quit           leave (Ctrl+D does too)
Ctrl+C stops an answer."""


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "chat",
        help="talk in the terminal",
        description="A conversation in the terminal. It is kept with those of the window.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_answer_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Talks until the person leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - editing and history at the prompt, where the platform has it
    with asyncio.Runner() as runner:
        return _Chat(arguments, runner).talk()


class _Chat:
    """The loop of reading and answering."""

    def __init__(self, arguments: argparse.Namespace, runner: asyncio.Runner) -> None:
        self._arguments = arguments
        self._runner = runner
        self._session: Session | None = None
        self._dialogue: Dialogue | None = None
        self._model: str = arguments.model
        self._interactive = sys.stdin.isatty()

    def talk(self) -> int:
        try:
            self._open()
            assert self._session is not None
            say(f"{self._session.model.entry.name} is ready. /help lists what you can do.")
            while (line := self._read()) is not None:
                if line.startswith("/"):
                    if not self._command(line):
                        break
                elif line:
                    self._answer(line)
        finally:
            self._close()
        return 0

    def _read(self) -> str | None:
        """The next line without blanks around it; "" for one that was given up; None at the end."""
        while True:
            try:
                return input("\n> " if self._interactive else "").strip()
            except EOFError:
                if self._interactive:
                    print()
                return None
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                say("\n/quit or Ctrl+D leaves.")

    def _answer(self, text: str) -> None:
        if self._session is None:  # the engine was lost and did not come back at once
            self._open()
        assert self._session is not None
        assert self._dialogue is not None
        sampling = sampling_from(self._arguments, self._session.model.sampling)
        try:
            answer = self._runner.run(self._dialogue.say(text, sampling, _show))
        except KeyboardInterrupt:
            say("\n[stopped]")
        except EngineUnavailableError:
            self._recover()
        except NutshellError as error:
            say(f"\n{error}")
        else:
            print()
            if self._interactive:
                say(f"[{answer.stats.tok_s:.1f} tok/s, first token after {answer.stats.ttft_s:.2f} s]")

    def _command(self, line: str) -> bool:
        """Does a /command; False to leave."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        assert self._session is not None
        match name:
            case "/quit" | "/exit":
                return False
            case "/help":
                say(_HELP)
            case "/new":
                self._dialogue = None
                self._open_dialogue()
                say("A new conversation.")
            case "/model" if not rest:
                model = self._session.model
                say(f"{model.entry.name}, {model.n_ctx:,} tokens of context, {model.entry.path}")
            case "/model":
                self._load(rest)
            case _:
                say(f"There is no command {name}. /help lists those that there are.")
        return True

    def _load(self, name: str) -> None:
        assert self._session is not None
        try:
            model = self._runner.run(self._session.load(name))
        except KeyboardInterrupt:
            say("\n[stopped]")
        except EngineUnavailableError:
            self._recover()
        except NutshellError as error:
            say(str(error))
        else:
            self._model = model.entry.path
            say(f"{model.entry.name} answers from here on.")

    def _open(self) -> None:
        from app.session import Session

        session = Session(self._model, position=self._arguments.position, arguments=engine_arguments(self._arguments))
        self._session = self._runner.run(session.__aenter__())
        self._model = session.model.entry.path
        for notice in session.notices:
            say(notice)
        self._open_dialogue()

    def _open_dialogue(self) -> None:
        from app.dialogue import open_dialogue

        assert self._session is not None
        if self._dialogue is not None:
            self._dialogue.move_to(self._session)
            return
        save = not self._arguments.no_save
        self._dialogue = self._runner.run(open_dialogue(self._session, system=self._arguments.system, save=save))

    def _recover(self) -> None:
        """Starts another engine after the old one was lost; the conversation goes on where it was."""
        say("\nThe engine stopped while answering. What was written is saved. It is starting again...")
        self._close()
        self._open()
        say("Ready.")

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._runner.run(session.__aexit__(None, None, None))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
