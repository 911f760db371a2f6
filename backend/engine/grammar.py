"""Answers with a shape: JSON schema and `response_format` to GBNF.

The conversion is llama.cpp's own, as llama-cpp-python ships it (`llama_grammar.json_schema_to_gbnf`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from backend.api.errors import GrammarError

#: A schema is a program for the converter; real ones are a few kilobytes.
_MOST_BYTES = 64 * 1024

_ANY_OBJECT = {"type": "object"}


def from_json_schema(schema: Mapping[str, object]) -> str:
    """GBNF that accepts exactly the JSON texts of a schema (as far as the converter goes).

    Raises:
        GrammarError: the schema is too large, or uses what cannot be converted.
    """
    text = json.dumps(schema)
    if len(text) > _MOST_BYTES:
        raise GrammarError(
            f"The JSON schema is {len(text):,} bytes long; {_MOST_BYTES:,} is the most.", remedy="Make it smaller."
        )
    _refuse_remote_references(schema)
    from llama_cpp.llama_grammar import json_schema_to_gbnf  # only where a schema is asked for

    try:
        gbnf: str = json_schema_to_gbnf(text)
    except Exception as error:  # noqa: BLE001 - a third-party converter on hostile input: anything may come
        raise GrammarError(
            "The JSON schema cannot be used.",
            why="It has a part that cannot be turned into a grammar.",
            remedy="Simplify it.",
            details=repr(error),
        ) from None
    return gbnf


def from_response_format(response_format: Mapping[str, object] | None) -> str | None:
    """GBNF for OpenAI's `response_format`; None for plain text.

    Raises:
        GrammarError: an unknown type or an unusable schema.
    """
    if response_format is None:
        return None
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = response_format.get("schema", _ANY_OBJECT)
    elif kind == "json_schema":
        holder = response_format.get("json_schema")
        schema = holder.get("schema") if isinstance(holder, Mapping) else None
    else:
        raise GrammarError(f"response_format has the type {kind!r}.", remedy="Use text, json_object or json_schema.")
    if not isinstance(schema, Mapping):
        raise GrammarError(
            "response_format has no schema object.", remedy='Put it under "json_schema": {"schema": ...}.'
        )
    return from_json_schema(schema)


def _refuse_remote_references(value: object) -> None:
    """The converter would fetch `$ref: https://...`; nothing here goes to the network."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            reference = item.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                raise GrammarError(
                    f"The JSON schema refers to {reference[:80]}.",
                    why="Only references inside the schema are followed.",
                    remedy="Put the definition under $defs.",
                )
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
