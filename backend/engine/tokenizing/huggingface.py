"""A `tokenizer.json` behind the `Tokenizer` protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.engine.tokenizing import spelling
from backend.engine.tokenizing.byte_pairs import split_file
from backend.engine.tokenizing.files import chat_template, end_ids, settings, token_text
from backend.formats.gguf_tables import names

__all__ = ["HfTokenizer"]

#: Control tokens that end an answer wherever a vocabulary has them: a chat model may write any of these, and the
#: configuration of a base model from which it was made often names only one.
_ENDS = names(
    """
    <|im_end|> <|eot_id|> <|end_of_text|> <|endoftext|> <|end|> <end_of_turn> <|eom_id|> <EOT> [EOT] <|return|> <|call|>
    <｜end▁of▁sentence｜> <end_of_utterance> <|fim_pad|> <|repo_name|> <|file_sep|>
    """
)


class HfTokenizer:
    """Text to token ids and back, by the `tokenizers` library.

    Args:
        files: `tokenizer.json`, and what there is of the files beside it (`files.TOKENIZER_FILES`).
        config: the model's config.json.

    Attributes:
        n_vocab: tokens that it knows; the model may have more rows.
        bos_text, eos_text: as the template sees them.
        ends: ids that end an answer.

    Raises:
        InvalidModelFileError: damaged. UnsupportedModelError: of a kind that is not known here.
    """

    def __init__(self, files: Mapping[str, bytes], config: Mapping[str, Any]) -> None:
        if "tokenizer.json" not in files:
            raise UnsupportedModelError(
                "This model cannot be used here.",
                why="It has no tokenizer.json, which says how text becomes what the model reads.",
                remedy="Put the tokenizer.json of the original model beside it.",
            )
        split = split_file(files["tokenizer.json"])
        self._pairs = split[1] if split else None
        self._tokenizer = tokenizer = _parse(split[0] if split else files["tokenizer.json"])
        options = settings(files, "tokenizer_config.json")
        special_map = settings(files, "special_tokens_map.json")
        self._special = {token for token, known in tokenizer.get_added_tokens_decoder().items() if known.special}
        self._plain = {
            token: str(known.content).encode()
            for token, known in tokenizer.get_added_tokens_decoder().items()
            if not known.special
        }
        self._bytes_of = _spelling(tokenizer)
        self._pieces: dict[int, bytes] = {}
        self.n_vocab: int = self._pairs.size if self._pairs else tokenizer.get_vocab_size(with_added_tokens=True)
        self.bos_text = token_text(options.get("bos_token") or special_map.get("bos_token"))
        self.eos_text = token_text(options.get("eos_token") or special_map.get("eos_token"))
        self.ends = self._find_ends(settings(files, "generation_config.json"), config)
        self._start = self._find_start(options.get("add_bos_token"))
        self.chat_template = chat_template(files)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See `Tokenizer.encode`."""
        tokens = self._encode(text.encode("utf-8", "replace").decode(), special)  # no lone surrogates
        start = self._start
        return tokens if not start or tokens[: len(start)] == start else [*start, *tokens]

    def piece(self, token: int) -> bytes:
        """See `Tokenizer.piece`."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token)
        return known

    def text_of(self, token: int) -> str:
        """A token as its vocabulary writes it, control tokens included; "" where there is none."""
        if token < 0:
            return ""
        return self._tokenizer.id_to_token(token) or (self._pairs.text_of(token) if self._pairs else "")

    def id_of(self, text: str) -> int | None:
        """The token that the vocabulary writes like this."""
        found: int | None = self._tokenizer.token_to_id(text)
        return self._pairs.id_of(text) if found is None and self._pairs else found

    def is_end(self, token: int) -> bool:
        """See `Tokenizer.is_end`."""
        return token in self.ends

    def is_special(self, token: int) -> bool:
        """Whether it is a control token, which stands for no text."""
        return token in self._special

    def _encode(self, text: str, special: bool) -> list[int]:
        # The switch is named for what it does to the text of a control token: encode it like any other text.
        self._tokenizer.encode_special_tokens = not special
        found = self._tokenizer.encode(text, add_special_tokens=False)
        ids: list[int] = found.ids
        if self._pairs is None:
            return ids
        return self._pairs.join(np.array(ids, np.int32), np.array(found.word_ids, np.int32))

    def _piece(self, token: int) -> bytes:
        if token in self._special or not 0 <= token < 1 << 31:
            return b""
        plain = self._plain.get(token)
        if plain is not None:
            return plain
        return self._bytes_of(self.text_of(token))

    def _find_ends(self, generation: Mapping[str, Any], config: Mapping[str, Any]) -> frozenset[int]:
        named = end_ids(generation.get("eos_token_id")) | end_ids(config.get("eos_token_id"))
        eos = self.id_of(self.eos_text) if self.eos_text else None
        if eos is not None:
            named.add(eos)
        usual = {token for token in self._special if self.text_of(token) in _ENDS}
        return frozenset(named | usual)

    def _find_start(self, add_bos: object) -> list[int]:
        """What stands before every text: what tokenizer_config.json says, else what the post-processor puts there."""
        if isinstance(add_bos, bool):
            bos = self.id_of(self.bos_text) if add_bos and self.bos_text else None
            return [] if bos is None else [bos]
        bare = self._encode("a", special=True)
        dressed: list[int] = self._tokenizer.encode("a", add_special_tokens=True).ids
        for at in range(len(dressed) - len(bare) + 1):
            if dressed[at : at + len(bare)] == bare:
                return dressed[:at]
        return []


def _parse(raw: bytes) -> Any:
    from tokenizers import Tokenizer  # only where the native engine runs: 40 ms

    try:
        tokenizer = Tokenizer.from_str(raw.decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic inside the library is no Exception
        raise InvalidModelFileError(
            "This model is damaged.",
            why="Its tokenizer.json, which says how text becomes what the model reads, cannot be used.",
            remedy="Download the model again.",
            details=repr(error)[:2000],
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _spelling(tokenizer: Any) -> Callable[[str], bytes]:
    """How its tokens spell bytes, told by the decoder."""
    kinds = _kinds(tokenizer.decoder) or _kinds(tokenizer.pre_tokenizer)
    if "ByteLevel" in kinds:
        return spelling.of_letters
    if kinds & {"ByteFallback", "Metaspace", "Replace"}:
        return spelling.of_pieces
    raise UnsupportedModelError(
        "This model has a vocabulary that cannot be used for chat.",
        why=f"Its tokenizer is of the kind {', '.join(sorted(kinds)) or type(tokenizer.model).__name__}.",
        remedy="Look for a newer version of Nutshell, or choose another model.",
    )


def _kinds(part: Any) -> set[str]:
    """The types of a decoder or pre-tokenizer and of all that it is made of."""
    if part is None:
        return set()
    found: set[str] = set()
    pending: list[Any] = [json.loads(part.__getstate__())]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                found.add(item["type"])
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return found - {"Sequence"}
