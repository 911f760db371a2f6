"""Options that `ask`, `chat` and `serve` share, and what they mean for the engine."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

import msgspec

from backend.api.errors import InvalidRequestError
from backend.api.schemas import Sampling

__all__ = ["add_answer_options", "add_model_options", "byte_count", "engine_arguments", "number", "sampling_from"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number within bounds, with a sentence for everything else."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return parse


def byte_count(text: str) -> int:
    """An argparse type: a size such as 4G or 800M, in bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 4G or 800M")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --position, --kv and --memory-budget."""
    parser.add_argument(
        "--model", default="", metavar="M", help="a file or folder, or (part of) a name or id from `models`"
    )
    parser.add_argument(
        "--position",
        type=number(float, 0, 1),
        metavar="P",
        help="of the model's slider, where it has one: 0 is fastest, 1 is best (default: the model's own)",
    )
    parser.add_argument(
        "--kv",
        default="",
        choices=["f16", "q8"],
        help="how the conversation is remembered: q8 takes half the memory, and answers may suffer a little "
        "(default: f16; for .nutshell files and Hugging Face folders)",
    )
    parser.add_argument(
        "--memory-budget",
        type=byte_count,
        default=0,
        metavar="SIZE",
        help="of weights that stay in memory, e.g. 3G; the others are read from the disk for every word (default: all "
        "stay; for .nutshell files and Hugging Face folders)",
    )
    add_speculation_options(parser)


def add_speculation_options(parser: argparse.ArgumentParser) -> None:
    """Adds --speculation and --draft-model."""
    parser.add_argument(
        "--speculation",
        default="",
        choices=["auto", "off"],
        help="guess the next words and check several at once; the answer stays the same (default: auto, where it is "
        "faster)",
    )
    parser.add_argument(
        "--draft-model", default="", metavar="FILE", help="a small model with the same vocabulary that guesses too"
    )


def engine_arguments(arguments: argparse.Namespace) -> list[str]:
    """What the engine process is told of them; the model is told by name."""
    more = ["--kv", arguments.kv] if arguments.kv else []
    if arguments.speculation:
        more += ["--speculation", arguments.speculation]
    if arguments.memory_budget:
        more += ["--memory-budget", str(arguments.memory_budget)]
    if arguments.draft_model:
        more += ["--draft-model", arguments.draft_model]
    return more


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --position, --kv, --system, --temperature, --seed, --max-tokens and --no-save."""
    add_model_options(parser)
    parser.add_argument("--system", default="", metavar="TEXT", help="the system prompt: how the model should behave")
    parser.add_argument(
        "--temperature",
        type=number(float, 0, 5),
        metavar="T",
        help="0 always takes the likeliest word; 1 is livelier (default: the model's own)",
    )
    parser.add_argument(
        "--seed", type=number(int, 0, 2**63 - 1), metavar="N", help="the same seed gives the same answer again"
    )
    parser.add_argument(
        "--max-tokens",
        type=number(int, 1, 2**31 - 1),
        metavar="N",
        help="stop after N tokens (about 3/4 of a word each)",
    )
    parser.add_argument("--no-save", action="store_true", help="do not keep the conversation on this machine")


def sampling_from(arguments: argparse.Namespace, base: Sampling) -> Sampling | None:
    """The model's own sampling with what was asked for; None when nothing was.

    Raises:
        InvalidRequestError: a value that the engine would refuse.
    """
    asked = {
        name: value for name in ("temperature", "seed", "max_tokens") if (value := getattr(arguments, name)) is not None
    }
    if not asked:
        return None
    try:
        return msgspec.convert({**msgspec.to_builtins(base), **asked}, Sampling)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("An option has a value that does not work.", why=f"{error}.") from error
