"""Whether one model can draft for another: token numbers must mean the same text in both."""

from __future__ import annotations

from backend.engine.model import Model, Tokenizer

__all__ = ["mismatch", "why_not"]

#: A model may have more rows than its tokenizer has tokens, padded to a round number: Qwen2.5's sizes differ by 128.
_PADDING = 256


def why_not(target: Model, draft: Model) -> str:
    """One sentence that says why `draft` cannot draft for `target`; "" if it can.

    Compared by content, token by token (0.3 s for 152,000), because sizes and names say little: two vocabularies of
    32,000 tokens may have nothing in common.
    """
    return mismatch(target.tokenizer, target.info.n_vocab, draft.tokenizer, draft.info.n_vocab)


def mismatch(a: Tokenizer, ours: int, b: Tokenizer, theirs: int) -> str:
    """The same of two tokenizers, with the rows of both models: the target's first."""
    if abs(ours - theirs) > _PADDING:
        return f"Its vocabulary has {theirs:,} tokens, and that of the model has {ours:,}."
    for token in range(min(ours, theirs)):
        if a.piece(token) != b.piece(token):
            one, two = (t.piece(token).decode("utf-8", "replace") for t in (a, b))
            return f"Token {token:,} is {two!r} in it, and {one!r} in the model."
        if a.is_end(token) != b.is_end(token):
            return f"Token {token:,} ends an answer in only one of the two."
    return ""
