"""Our tokenizers against llama.cpp on the same GGUF vocabulary, and against transformers on the same tokenizer.json."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.engine.llama_cpp import LlamaCppTokenizer
from backend.engine.llama_library import library
from backend.engine.tokenizing import HfTokenizer, gguf_tokenizer_files, spelling
from backend.engine.tokenizing.files import chat_template
from backend.engine.tokenizing.presplit import KINDS
from backend.formats.gguf import read_header, read_strings
from tests.formats.tiny_gguf import vocabulary, write_tiny_gguf

pytestmark = pytest.mark.model

QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
TEXTS = (
    "",
    " ",
    "Hello, world",
    " leading and trailing ",
    "two  three   four    spaces\tand\t\ttabs \t mixed\n\n\nlines\r\nand\r\rreturns   \n",
    "def f(x: int) -> list[str]:\n    if x != 0x1F:\n        return [f'{i:>3}' for i in range(x)]  # don't\n",
    "DON'T we'll I'VE she's they'd you're it'S 'tis",
    "0 12 123 1234 12345 1234567890123456789012345 3.14159e-10 ١٢٣ ⅷ ²",
    "日本語のテキスト、中文文本。한국어 텍스트",
    "Ελληνικά, русский, עברית, العربية, हिन्दी, ไทย",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 ﬁ ﷺ \u200b\u00a0\u3000|",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|><|not_a_token|>",
    "a" * 300 + " " * 300 + "=" * 100 + "\n" * 30,
    "https://example.org/a?b=c&d=%20#e @user #tag $1,000.00 ~`!^*()_+{}|:\"<>?-=[]\\;',./",
    "CamelCaseXMLHttpRequest snake_case_name SCREAMING_CASE ünïcödé ÉCOLE",
    "\0\x01\x7f\ufffd\U0010ffff",
)


def models() -> Path:
    return Path(os.environ.get("NUTSHELL_TEST_MODELS", Path.home() / ".cache" / "nutshell-test-models"))


@cache
def theirs(path: Path) -> LlamaCppTokenizer:
    """llama.cpp's; the model lives as long as the tests."""
    lib = library()
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    return LlamaCppTokenizer(lib.llama_model_get_vocab(model))


@cache
def ours(path: Path) -> HfTokenizer:
    return HfTokenizer(gguf_tokenizer_files(path), {})


@pytest.fixture(scope="module", params=["smollm2", "qwen2.5"])
def real(request: pytest.FixtureRequest) -> Path:
    if request.param == "smollm2":
        path: Path = request.getfixturevalue("smollm2")
        return path
    if not (models() / QWEN).is_file():
        pytest.skip(f"{QWEN} is not in {models()}")
    return models() / QWEN


@pytest.mark.parametrize("special", [True, False])
def test_a_gguf_vocabulary_reads_text_as_llama_cpp_does(real: Path, special: bool) -> None:
    for text in TEXTS:
        expected = theirs(real).encode(text, special=special)
        assert ours(real).encode(text, special=special) == expected, repr(text)


# Not unassigned characters: two versions of Unicode may know different ones.
@given(text=st.text(st.characters(exclude_categories=["Cn", "Co", "Cs"]), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_reads_as_llama_cpp_reads_it(smollm2: Path, text: str) -> None:
    tokens = ours(smollm2).encode(text, special=False)
    assert tokens == theirs(smollm2).encode(text, special=False)


def test_a_gguf_vocabulary_has_the_pieces_and_ends_of_llama_cpp(real: Path) -> None:
    mine, other = ours(real), theirs(real)
    wrong = [t for t in range(other.n_vocab) if mine.piece(t) != other.piece(t) and mine.text_of(t) != "</s>"]
    assert wrong == []
    assert other.text_of(other.bos) == mine.bos_text
    assert mine.ends <= {t for t in range(other.n_vocab) if other.is_end(t)}
    assert mine.id_of("<|im_end|>") in mine.ends
    assert mine.piece(other.n_vocab + 5) == b""


def test_a_character_that_is_cut_comes_back_byte_by_byte(smollm2: Path) -> None:
    tokenizer = ours(smollm2)
    tokens = tokenizer.encode("𒀀", special=False)
    assert len(tokens) > 1
    with pytest.raises(UnicodeDecodeError):
        tokenizer.piece(tokens[0]).decode()
    assert b"".join(map(tokenizer.piece, tokens)).decode() == "𒀀"
    assert tokenizer.encode("a\ud800b", special=False) == theirs(smollm2).encode("a\ud800b", special=False)


def write_vocabulary(path: Path, kind: str, tokens: list[str], **more: Any) -> Path:
    """A GGUF file with nothing in it but a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(more.get("types") or [1] * len(tokens))
    writer.add_token_scores(more.get("scores") or [0.0] * len(tokens))
    if "pre" in more:
        writer.add_tokenizer_pre(more["pre"])
        writer.add_token_merges(more["merges"])
    for name in ("bos", "eos", "unk"):
        getattr(writer, f"add_{name}_token_id")(more.get(name, 0))
    if "add_bos" in more:
        writer.add_add_bos_token(more["add_bos"])
    if "prefix" in more:
        writer.add_add_space_prefix(more["prefix"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("pre", {kind: name for name, kind in KINDS.items()}.values())
def test_every_kind_of_pre_tokenizer_cuts_as_llama_cpp_does(smollm2: Path, tmp_path: Path, pre: str) -> None:
    header = read_header(smollm2)
    tokens, merges = (read_strings(header, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    path = write_vocabulary(tmp_path / "v.gguf", "gpt2", tokens, pre=pre, merges=merges, bos=1, eos=2)
    mine, other = HfTokenizer(gguf_tokenizer_files(path), {}), theirs(path)
    assert mine.encode("x", special=False) == other.encode("x", special=False), "BOS"
    for text in TEXTS:
        assert mine.encode(text, special=False) == other.encode(text, special=False), repr(text)


def test_every_name_of_a_pre_tokenizer_cuts_as_llama_cpp_does(tmp_path: Path) -> None:
    for pre in KINDS:
        tokens, types, merges = vocabulary()
        path = write_vocabulary(tmp_path / f"{pre}.gguf", "gpt2", tokens, types=types, pre=pre, merges=merges, eos=2)
        mine, other = HfTokenizer(gguf_tokenizer_files(path), {}), theirs(path)
        for text in ("x", " the  the\nin THE and", "'The 12and"):
            assert mine.encode(text, special=False) == other.encode(text, special=False), (pre, text)


@pytest.fixture(scope="module")
def pieces(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[int], list[float]]:
    """A SentencePiece vocabulary of a real size: the words of another one, with scores by rank."""
    words = read_strings(read_header(smollm2), "tokenizer.ggml.tokens")[17:]
    texts = [spelling.of_letters(word).decode("utf-8", "replace").replace(" ", spelling.SPACE) for word in words]
    plain = list(dict.fromkeys(text for text in texts if "\ufffd" not in text and "\0" not in text))
    head = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [2, 3, 3, *[6] * 256, *[1] * len(plain)]
    return head + plain, types, [0.0] * len(head) + [-float(rank) for rank in range(len(plain))]


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_vocabulary_reads_text_as_llama_cpp_does(
    pieces: tuple[list[str], list[int], list[float]], tmp_path: Path, prefix: bool
) -> None:
    tokens, types, scores = pieces
    path = write_vocabulary(
        tmp_path / "v.gguf", "llama", tokens, types=types, scores=scores, bos=1, eos=2, prefix=prefix
    )
    mine, other = HfTokenizer(gguf_tokenizer_files(path), {}), theirs(path)
    for text in (*TEXTS, "<s>a</s> b<s><s>", "</s>"):
        for special in (True, False):
            assert mine.encode(text, special=special) == other.encode(text, special=special), repr(text)
    assert [t for t in range(other.n_vocab) if mine.piece(t) != other.piece(t)] == []
    assert mine.ends == {2}


def test_vocabularies_that_are_not_known_are_refused_by_name(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", changes={"tokenizer.ggml.pre": "kimi-k2"})
    with pytest.raises(UnsupportedModelError, match="'kimi-k2'"):
        gguf_tokenizer_files(path)
    path = write_tiny_gguf(tmp_path / "b.gguf", changes={"tokenizer.ggml.model": "rwkv"})
    with pytest.raises(UnsupportedModelError, match="'rwkv'"):
        gguf_tokenizer_files(path)


def test_a_gguf_brings_its_template_ends_and_sampling(tmp_path: Path) -> None:
    changes: dict[str, object] = {"general.sampling.temp": 0.5, "tokenizer.ggml.eot_token_id": 0}
    files = gguf_tokenizer_files(write_tiny_gguf(tmp_path / "a.gguf", changes=changes))
    assert "<|im_start|>" in str(chat_template(files))
    generation = json.loads(files["generation_config.json"])
    assert generation == {"eos_token_id": [0, 2], "bos_token_id": 1, "temperature": 0.5}
    tokenizer = HfTokenizer(files, {})
    assert (tokenizer.bos_text, tokenizer.eos_text) == ("<|im_start|>", "<|im_end|>")


# -- tokenizer.json ----------------------------------------------------------------------------------------------------


def saved(folder: Path, tokenizer: Any, **options: Any) -> dict[str, bytes]:
    """What transformers writes."""
    transformers = pytest.importorskip("transformers", reason="the compression part is not installed")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tiny_bpe(*, start: bool) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokens, _, merges = vocabulary()
    pairs = [tuple(pair.split(" ")) for pair in merges]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:3]])
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
        )
    return tokenizer


@pytest.mark.parametrize("start", [True, False])
def test_a_tokenizer_json_reads_text_as_transformers_does(tmp_path: Path, start: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="the compression part is not installed")
    files = saved(tmp_path, tiny_bpe(start=start), bos_token="<|im_start|>", eos_token="<|im_end|>")
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = HfTokenizer(files, {})
    for text in (*TEXTS, "a<tool>b the the"):
        expected = reference.encode(text, add_special_tokens=False)
        bos = [1] if start and expected[:1] != [1] else []
        assert tokenizer.encode(text, special=True) == bos + expected, repr(text)
        decoded = b"".join(map(tokenizer.piece, expected)).decode("utf-8", "replace")
        assert decoded == reference.decode(expected, skip_special_tokens=True), repr(text)
    assert reference("the")["input_ids"][0] == (1 if start else tokenizer.encode("the", special=False)[0])
    assert tokenizer.piece(tokenizer.id_of("<tool>") or 0) == b"<tool>"
    assert (tokenizer.bos_text, tokenizer.eos_text, tokenizer.is_end(2)) == ("<|im_start|>", "<|im_end|>", True)


def test_a_metaspace_tokenizer_gives_back_bytes(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens, _, _ = vocabulary("llama")
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("i", "n"), ("▁", "a")]
    model = models.BPE(
        vocab={t: i for i, t in enumerate(tokens)}, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = HfTokenizer({"tokenizer.json": made.to_str().encode()}, {"eos_token_id": [2, 7]})
    tokens_of = tokenizer.encode("the in\n😀", special=False)
    assert b"".join(map(tokenizer.piece, tokens_of)) == " the in\n😀".encode()
    assert tokenizer.ends == {2, 7}


def test_what_the_configuration_says_of_bos_holds(tmp_path: Path) -> None:
    raw = tiny_bpe(start=True).to_str().encode()

    def first(options: dict[str, object]) -> int:
        files = {"tokenizer.json": raw, "tokenizer_config.json": json.dumps(options).encode()}
        return HfTokenizer(files, {}).encode("b", special=False)[0]

    assert first({}) == 1
    assert first({"add_bos_token": False, "bos_token": "<|im_end|>"}) > 2
    assert first({"add_bos_token": True, "bos_token": {"content": "<|im_end|>"}}) == 2


def test_the_template_of_a_folder(tmp_path: Path) -> None:
    def template(**files: object) -> str | None:
        return chat_template({name.replace("__", "."): json.dumps(value).encode() for name, value in files.items()})

    assert template() is None
    assert template(tokenizer_config__json={"chat_template": "A"}) == "A"
    assert template(chat_template__json={"chat_template": "B"}, tokenizer_config__json={"chat_template": "A"}) == "B"
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    assert template(tokenizer_config__json={"chat_template": several}) == "D"
    assert chat_template({"chat_template.jinja": b"J", "tokenizer_config.json": b'{"chat_template": "A"}'}) == "J"


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["x", "y"]]}}']
)
def test_a_damaged_tokenizer_json_is_a_sentence(raw: bytes) -> None:
    with pytest.raises(InvalidModelFileError, match=r"tokenizer\.json"):
        HfTokenizer({"tokenizer.json": raw}, {})


def test_no_tokenizer_or_one_of_another_kind_is_a_sentence() -> None:
    from tokenizers import Tokenizer, decoders, models

    with pytest.raises(UnsupportedModelError, match=r"no tokenizer\.json"):
        HfTokenizer({}, {})
    words = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.decoder = decoders.WordPiece()
    with pytest.raises(UnsupportedModelError, match="WordPiece"):
        HfTokenizer({"tokenizer.json": words.to_str().encode()}, {})
    good = tiny_bpe(start=False).to_str().encode()
    for name in ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        for bad in (b"{", b"[1]", b'"x"', b"[" * 100_000):
            with pytest.raises(ModelError):
                HfTokenizer({"tokenizer.json": good, name: bad}, {})


def test_bytes_have_letters_and_back() -> None:
    everything = bytes(range(256))
    assert spelling.of_letters(spelling.to_letters(everything)) == everything
    assert len(set(spelling.byte_letters())) == 256
    assert np.all([spelling.of_pieces(f"<0x{byte:02X}>") == bytes([byte]) for byte in range(256)])
