"""What is the native engine's own; what every model must do is in test_models.py."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from backend.api.errors import (
    ConflictError,
    InvalidModelFileError,
    InvalidRequestError,
    MemoryShortageError,
    ModelError,
    ModelLoadError,
    UnsupportedModelError,
)
from backend.api.schemas import Completion, LoadModel, Sampling
from backend.engine import native, repack
from backend.engine.generate import Session, Token, generate
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.loading import load_model, recommended_sampling
from backend.engine.model import Aborted, Model, TokenTree
from backend.engine.native import NativeModel
from backend.engine.native_grammar import GrammarVocabulary
from backend.engine.native_weights import weights_of
from backend.hub.local import LocalModels
from kernels.packing import dense
from kernels.program import Program
from kernels.reference.executor import ReferenceExecutor

pytestmark = pytest.mark.model
PROMPT = "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packs"


@pytest.fixture(scope="module")
def pack(smollm2_pack: Path) -> Iterator[NativeModel]:
    model = NativeModel(smollm2_pack, n_ctx=512, n_threads=2)
    yield model
    model.close()


def greedy(model: Model, count: int) -> list[str]:
    completion = Completion(prompt=PROMPT, sampling=Sampling(temperature=0, max_tokens=count))
    session = Session(model)
    session.reuse([])
    return [item.text for item in generate(session, completion, lambda: False) if isinstance(item, Token)]


def logits(model: Model, tokens: Sequence[int]) -> np.ndarray:
    rows = model.forward(TokenTree.chain(tokens)).copy()
    model.rewind(0)
    return rows[0]


def load(path: Path, progress: Callable[[float], bool] = lambda _: True, **options: object) -> Model:
    entry = LocalModels(None).entry_for(path)
    model, loaded = load_model(entry, LoadModel(n_ctx=128, n_threads=1, **options), progress)  # type: ignore[arg-type]
    assert loaded.entry == entry
    return model


# -- the same weights, the same text -----------------------------------------------------------------------------------


def test_a_pack_says_what_llama_cpp_says_of_the_same_weights(pack: NativeModel, smollm2: Path) -> None:
    peer = LlamaCppModel(smollm2, n_ctx=512, n_threads=2)
    try:
        assert greedy(pack, 20) == greedy(peer, 20)
    finally:
        peer.close()


@pytest.mark.parametrize("scheme", ["f16", "q8"])
def test_the_executor_computes_what_the_reference_does(tiny_gguf: Path, tmp_path: Path, scheme: str) -> None:
    from tests.packs import write_rounded_pack

    path = write_rounded_pack(tiny_gguf, tmp_path / "a.nutshell", scheme)
    tokens = [5, 6, 7, 8, 9]
    fast = NativeModel(path, n_ctx=64, n_threads=2)
    slow = NativeModel(path, n_ctx=64, n_threads=1, executors=lambda p, n, _: ReferenceExecutor(p, n))
    expected, found = logits(slow, tokens), logits(fast, tokens)
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.abs(expected).max()))
    np.testing.assert_allclose(fast.embed(tokens), slow.embed(tokens), atol=0.02)
    fast.close()
    slow.close()


def test_embedding_in_several_passes_is_one_embedding(tiny_pack: Path) -> None:
    tokens = list(range(3, 43))
    whole = NativeModel(tiny_pack, n_ctx=64, n_threads=1, n_batch=64)
    parts = NativeModel(tiny_pack, n_ctx=64, n_threads=1, n_batch=16)
    np.testing.assert_allclose(whole.embed(tokens), parts.embed(tokens), atol=0.02)
    assert abs(whole.embed(tokens) @ whole.embed(tokens[::-1])) < 0.999, "the check could not tell two texts apart"


def test_a_cache_of_8_bits_takes_less_and_says_nearly_the_same(tiny_pack: Path) -> None:
    wide = NativeModel(tiny_pack, n_ctx=64, n_threads=1)
    narrow = NativeModel(tiny_pack, n_ctx=64, n_threads=1, kv="q8")
    assert narrow.info.kv_bytes < 0.7 * wide.info.kv_bytes
    expected, found = logits(wide, range(3, 40)), logits(narrow, range(3, 40))
    assert float(np.abs(found - expected).max()) < 0.05 * float(np.abs(expected).max())
    assert load(tiny_pack, kv="q8").info.kv_bytes == 2 * narrow.info.kv_bytes


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_bytes_are_those_that_are_read(smollm2_pack: Path, pack: NativeModel) -> None:
    info = pack.info
    assert 0.97 < info.weight_bytes / smollm2_pack.stat().st_size <= 1
    table = 49152 * 576 * (1 + 2 / 64)
    assert info.bytes_per_token == info.weight_bytes, "the table is embedding and head: all of it is read"
    assert info.bytes_per_token > table
    assert info.n_ctx == 512


def test_a_table_that_is_only_looked_up_costs_a_row(tiny_pack: Path) -> None:
    model = NativeModel(tiny_pack, n_ctx=64, n_threads=1)
    table = model._program.steps[0].table  # type: ignore[union-attr]
    rows = table.nbytes // table.out_features
    assert model.info.weight_bytes - model.info.bytes_per_token == table.nbytes - rows


def test_tied_weights_under_two_names_count_once() -> None:
    one = dense.pack(np.ones((32, 32), np.float32), "f32")
    other = dense.pack(np.ones((32, 32), np.float32), "f32")
    again = type(one)(one.scheme, 32, 32, one.parameters, dict(one.buffers))
    for head, count in ((again, 1), (other, 2)):
        program = Program()
        program.output(program.embed(one), head)
        assert weights_of(program).bytes == count * one.nbytes


def test_a_context_longer_than_trained_is_cut(tiny_pack: Path) -> None:
    assert NativeModel(tiny_pack, n_ctx=10**6, n_threads=1).info.n_ctx == 2048


def test_generation_settings_are_recommended(tiny_folder: Path, tmp_path: Path, cache: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")

    def sampling(settings: dict[str, object]) -> Sampling:
        (folder / "generation_config.json").write_text(json.dumps(settings))
        model = load(folder)
        model.close()
        return recommended_sampling(LocalModels(None).entry_for(folder), model.info.metadata)

    given = sampling({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1, "eos_token_id": [0, 2]})
    assert (given.temperature, given.top_p, given.top_k, given.repetition_penalty) == (0.6, 0.9, 20, 1.1)
    for nonsense in ({"temperature": -3}, {"top_k": "many"}, {"top_p": float("inf")}, {"temperature": True}, {}):
        assert sampling(nonsense) == Sampling()


# -- loading -----------------------------------------------------------------------------------------------------------


def test_too_little_memory_is_said_before_anything_is_loaded(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20))
    with pytest.raises(MemoryShortageError, match=r"not enough memory to load tiny-q8\.nutshell"):
        NativeModel(tiny_pack, n_ctx=64, n_threads=1)


def test_a_cache_that_cannot_be_had_is_a_sentence(tiny_pack: Path) -> None:
    def none(program: Program, capacity: int, n_batch: int) -> ReferenceExecutor:
        raise MemoryError

    with pytest.raises(MemoryShortageError, match="context of 64 tokens"):
        NativeModel(tiny_pack, n_ctx=64, n_threads=1, executors=none)


def test_an_engine_without_its_compiled_part_is_a_sentence(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kernels.cpu.executor", None)
    with pytest.raises(ModelLoadError, match="installer"):
        NativeModel(tiny_pack, n_ctx=64, n_threads=1)


def test_a_closed_model_lets_its_file_go(tiny_pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.nutshell"
    shutil.copyfile(tiny_pack, path)
    model = NativeModel(path, n_ctx=64, n_threads=2)
    model.embed([3, 4])
    grammar = model.grammar('root ::= "a"')
    grammar.close()
    threads = psutil.Process().num_threads()

    def mapped() -> bool:
        maps = Path("/proc/self/maps")
        return maps.exists() and str(path) in maps.read_text()

    if os.path.exists("/proc/self/maps"):  # noqa: PTH110
        assert mapped()
    model.close()
    model.request_abort(True)  # from a thread that comes late: nothing happens
    gc.collect()
    assert not mapped()
    assert psutil.Process().num_threads() < threads
    with pytest.raises(RuntimeError):
        model.forward(TokenTree.chain([3]))


def test_damaged_builds_are_sentences(tiny_pack: Path, tiny_folder: Path, tmp_path: Path) -> None:
    raw = tiny_pack.read_bytes()
    for number, damage in enumerate((raw[:-1000], raw[:200], raw[:8] + b"\0" * 100 + raw[108:])):
        path = tmp_path / f"{number}.nutshell"
        path.write_bytes(damage)
        with pytest.raises(ModelError):
            NativeModel(path, n_ctx=64, n_threads=1)
    folder = shutil.copytree(tiny_folder, tmp_path / "folder")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"tokenizer\.json"):
        NativeModel(folder, n_ctx=64, n_threads=1)
    config = json.loads((tiny_folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(UnsupportedModelError, match="mamba"):
        NativeModel(folder, n_ctx=64, n_threads=1)


def test_a_token_without_weights_is_refused(tiny_pack: Path) -> None:
    model = NativeModel(tiny_pack, n_ctx=64, n_threads=1)
    with pytest.raises(InvalidRequestError):
        model.forward(TokenTree.chain([model.info.n_vocab]))
    assert logits(model, [5]).shape == (model.info.n_vocab,)


# -- Hugging Face builds -----------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_pack_once(tiny_folder: Path, cache: Path) -> None:
    seen: list[float] = []
    first = load(tiny_folder, lambda done: not seen.append(done))  # type: ignore[func-returns-value]
    assert seen == sorted(seen)
    assert len({done for done in seen if done < 0.9}) > 5, "making the pack is on the bar"
    assert seen[-1] == 1.0
    (made,) = cache.iterdir()
    stamp = made.stat().st_mtime_ns
    expected = logits(first, [5, 6, 7])
    first.close()
    again = load(tiny_folder)
    assert made.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(logits(again, [5, 6, 7]), expected)
    again.close()
    direct = NativeModel(tiny_folder, n_ctx=128, n_threads=1)
    np.testing.assert_array_equal(logits(direct, [5, 6, 7]), expected)
    direct.close()


def test_a_folder_that_changed_becomes_another_pack(tiny_folder: Path, tmp_path: Path, cache: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    load(folder).close()
    load(shutil.copytree(tiny_folder, tmp_path / "other")).close()
    before = set(cache.iterdir())
    left = cache / ".interrupted.part"
    left.write_bytes(b"x")
    os.utime(left, (1, 1))
    os.utime(folder / "config.json", ns=(1, 1))
    load(folder).close()
    after = set(cache.iterdir())
    assert len(after) == len(before) == 2
    assert len(after & before) == 1, "the other folder's is kept"


@pytest.mark.parametrize("limit", [0.3, 0.95])
def test_making_a_pack_can_be_cancelled(tiny_folder: Path, cache: Path, limit: float) -> None:
    with pytest.raises(ConflictError, match="cancelled"):
        load(tiny_folder, lambda done: done < limit)
    left = [path for path in cache.iterdir() if path.suffix != ".nutshell" or limit < 0.9]
    assert left == []


def test_without_room_for_a_pack_the_folder_is_read_as_it_is(
    tiny_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(repack.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        load(tiny_folder).close()
    assert list(cache.iterdir()) == []
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    load(tiny_folder).close()


def test_a_damaged_folder_leaves_no_pack(tiny_folder: Path, tmp_path: Path, cache: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    entry = LocalModels(None).entry_for(folder)
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4096])
    with pytest.raises(InvalidModelFileError):
        load_model(entry, LoadModel(n_ctx=64, n_threads=1), lambda _: True)
    assert list(cache.iterdir()) == []


# -- grammars ----------------------------------------------------------------------------------------------------------


class Words:
    """A vocabulary with everything that is awkward."""

    pieces = (b"a", b"b", b"ab", b"", b"", b"a", b"\xc3", b"\xa9", b'"', b"<|im_end|>", b"\0")
    ends = frozenset({3})

    def piece(self, token: int) -> bytes:
        return self.pieces[token] if token < len(self.pieces) else b""


def test_a_grammar_allows_by_bytes() -> None:
    vocabulary = GrammarVocabulary(Words(), 13)
    ids = np.arange(13)

    def allowed(gbnf: str, *before: int) -> list[int]:
        grammar = vocabulary.grammar(gbnf)
        for token in before:
            grammar.accept(token)
        found = np.flatnonzero(grammar.allowed(ids)).tolist()
        grammar.close()
        return found

    assert allowed('root ::= "ab"') == [0, 2]
    assert allowed('root ::= "ab"', 0) == [1]
    assert allowed('root ::= "ab"', 2) == [3], "nothing but the end"
    assert allowed('root ::= "é" "a"') == [6], "the first byte of a character"
    assert allowed('root ::= "é" "a"', 6) == [7]
    assert allowed('root ::= "é" "a"', 6, 7) == [0]
    everything = allowed("root ::= [^x]*")
    assert 3 in everything
    assert not {4, 5, 11, 12} & set(everything), "no token without text, and of two with one text the first"
    vocabulary.close()


def test_aborting_while_a_pack_is_read(smollm2_pack: Path) -> None:
    seen: list[float] = []

    def stop(done: float) -> bool:
        seen.append(done)
        return done < 0.4

    with pytest.raises(Aborted):
        NativeModel(smollm2_pack, n_ctx=64, n_threads=1, progress=stop)
    assert len(seen) < 5
