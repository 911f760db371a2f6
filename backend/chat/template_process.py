"""The process in which chat templates are rendered: `python -m backend.chat.template_process`.

A template comes with a model file, so it is a program from a stranger. MiniJinja (Rust) gives it no way out to Python
and counts its steps, but a template that doubles a string thirty times is legal and takes gigabytes. Hence a process
of its own, whose memory and time its parent watches and which costs nothing to kill.

One JSON object per line on stdin, one per line on stdout: {"template", "context"} -> {"text"} or {"error"}. Ends at
end-of-file.
"""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any

import minijinja

#: Instructions of one rendering. The longest published templates take about 300 a message.
FUEL = 2_000_000


def _raise_exception(message: str) -> str:
    raise ValueError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().astimezone().strftime(pattern)


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **_: Any) -> Any:
    text = json.dumps(value, indent=min(indent, 8) if indent else None, ensure_ascii=ensure_ascii)
    return minijinja.safe(text)


def environment() -> minijinja.Environment:
    """An environment like the one that HF `apply_chat_template` renders in."""
    env = minijinja.Environment(
        fuel=FUEL,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_escape_callback=lambda _: False,
        globals={"raise_exception": _raise_exception, "strftime_now": _strftime_now},
        pycompat=True,
        debug=False,
    )
    env.add_filter("tojson", _to_json)
    return env


def render(template: str, context: dict[str, Any]) -> str:
    """Renders once.

    Raises:
        minijinja.TemplateError, ValueError: the template is broken, or refused the messages.
    """
    return environment().render_str(template, **context)


def main() -> None:
    """Serves requests until end-of-file."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            answer = {"text": render(request["template"], request["context"])}
        except Exception as error:  # noqa: BLE001 - whatever a strange template does becomes an answer
            answer = {"error": str(error)[:2000]}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
