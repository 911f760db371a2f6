"""`nutshell ask`: one question, one answer, streamed to the terminal."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING

from app.commands.options import add_answer_options, engine_arguments, sampling_from
from app.terminal import run_async, say
from backend.api.errors import InvalidRequestError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from backend.api.schemas import TurnStats

__all__ = ["add", "run"]

#: How long text from a pipe is waited for when there is a question already. A program that was started by another one
#: often has an open pipe that nothing will ever come from, and must not hang on it; `-` waits for as long as it takes.
_PIPE_PATIENCE_S = 1.0


def add(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "ask",
        help="ask one question",
        description="Asks one question and streams the answer. Text that is piped in is put below the question.",
    )
    parser.add_argument("question", nargs="+", help="the question; - reads it from standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object: text, model, tokens, ttft_s, tok_s")
    parser.add_argument("--stats", action="store_true", help="say below the answer what it cost")
    add_answer_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Asks and prints."""
    question = read_question(arguments.question)
    return run_async(_ask(arguments, question))


async def _ask(arguments: argparse.Namespace, question: str) -> int:
    from app.dialogue import open_dialogue
    from app.session import Session

    async with Session(arguments.model, position=arguments.position, arguments=engine_arguments(arguments)) as session:
        for notice in session.notices:
            say(notice)
        sampling = sampling_from(arguments, session.model.sampling)
        dialogue = await open_dialogue(session, system=arguments.system, save=not arguments.no_save)
        show = _nothing if arguments.json else _show
        answer = await dialogue.say(question, sampling, show)
        if arguments.json:
            print(
                json.dumps(
                    {
                        "text": answer.text,
                        "model": session.model.entry.name,
                        "tokens": answer.stats.completion_tokens,
                        "ttft_s": round(answer.stats.ttft_s, 4),
                        "tok_s": round(answer.stats.tok_s, 2),
                        "seed": answer.stats.seed,
                        "finish_reason": answer.stats.finish_reason,
                        "passes": answer.stats.passes,
                        "drafted": answer.stats.drafted,
                        "accepted": answer.stats.accepted,
                        "speedup": round(answer.stats.speedup, 3),
                    },
                    ensure_ascii=False,
                )
            )
        elif not answer.text.endswith("\n"):
            print()
        if arguments.stats:
            say(stats_line(answer.stats))
    return 0


def stats_line(stats: TurnStats) -> str:
    """What an answer cost, in one line."""
    line = f"{stats.completion_tokens} tokens, {stats.tok_s:.1f} a second, first after {stats.ttft_s:.2f} s"
    if stats.drafted:
        line += (
            f"; {stats.completion_tokens / max(stats.passes + 1, 1):.2f} tokens a pass, {stats.accepted} of "
            f"{stats.drafted} guesses right, {stats.speedup:.2f} times plain decoding"
        )
    return f"{line}."


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _nothing(_text: str) -> None:
    pass


def read_question(words: list[str]) -> str:
    """The question from the command line and from standard input.

    Raises:
        InvalidRequestError: there is no text.
    """
    if words == ["-"]:
        question = sys.stdin.read()
    else:
        question = " ".join(words)
        if _is_piped() and (more := _from_pipe()):
            question = f"{question}\n\n{more}"
    if not question.strip():
        raise InvalidRequestError(
            "There is no question.", remedy='Write it after ask: nutshell ask "Why is the sky blue?"'
        )
    return question.strip("\n")


def _is_piped() -> bool:
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # closed, replaced, or None (a windowed program)
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _from_pipe() -> str:
    # os.read and not sys.stdin: a thread that still waits in sys.stdin when the program ends would abort it.
    descriptor = sys.stdin.fileno()
    chunks: list[bytes] = []
    came, done = threading.Event(), threading.Event()

    def read() -> None:
        try:
            while chunk := os.read(descriptor, 65536):
                chunks.append(chunk)
                came.set()
        except OSError:
            pass
        came.set()
        done.set()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    if not came.wait(_PIPE_PATIENCE_S):
        say("Nothing came through the pipe, so the question is asked without it. Use - to wait for it.")
        return ""
    done.wait()
    return b"".join(chunks).decode("utf-8", "replace").strip()
