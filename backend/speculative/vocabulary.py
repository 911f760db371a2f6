"""Whether one model can draft for another: token numbers must mean the same text in both."""

from __future__ import annotations

from backend.engine.model import Model, Tokenizer

__all__ = ["mismatch", "why_not"]

#: A model may have more rows than its tokenizer has tokens, padded to a round number: Qwen2.5's sizes differ by 128.
_PADDING = 256
#: Tokens that have no text on one side only.
_SILENT = 64


def why_not(target: Model, draft: Model) -> str:
    """One sentence that says why `draft` cannot draft for `target`; "" if it can.

    Compared by content, token by token (0.3 s for 152,000), because sizes and names say little: two vocabularies of
    32,000 tokens may have nothing in common.
    """
    return mismatch(target.tokenizer, target.info.n_vocab, draft.tokenizer, draft.info.n_vocab)


def mismatch(a: Tokenizer, ours: int, b: Tokenizer, theirs: int) -> str:
    """The same of two tokenizers, with the rows of both models: the target's first.

    Engines differ in what they take for a control token, which has no text: llama.cpp does so with a word that looks
    like one (`</s>` at 128,247 of Qwen2.5-Coder), and it knows more tokens that end an answer. A few tokens without
    text on one side are let pass, and ends are not compared: what the model itself draws decides in any case.
    """
    if abs(ours - theirs) > _PADDING:
        return f"Its vocabulary has {theirs:,} tokens, and that of the model has {ours:,}."
    silent = 0
    for token in range(min(ours, theirs)):
        one, two = a.piece(token), b.piece(token)
        if one == two:
            continue
        silent += not one or not two
        if (one and two) or silent > _SILENT:
            texts = (piece.decode("utf-8", "replace") for piece in (two, one))
            return "Token {:,} is {!r} in it, and {!r} in the model.".format(token, *texts)
    return ""
