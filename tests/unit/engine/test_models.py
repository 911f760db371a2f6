"""What every `Model` must do, on both engines: a tiny real model for the rules, the built-in one for language."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import ContextOverflowError, GrammarError, InvalidRequestError
from backend.api.schemas import Completion, Sampling
from backend.engine.generate import End, Prefill, Session, Token, generate
from backend.engine.grammar import from_json_schema, from_response_format
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.model import Aborted, Model, TokenTree
from backend.engine.native import NativeModel

pytestmark = pytest.mark.model
#: Nats. The same path in another layout of the KV cache differs by f16 rounding and the order of the sums; another path
#: of this tiny model differs by a hundred times that (checked below).
ROUNDING = 1e-3
PROMPT = "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"
ENGINES = ("llama.cpp", "native")


def open_model(engine: str, path: Path, n_ctx: int, n_batch: int, threads: int) -> Model:
    make = LlamaCppModel if engine == "llama.cpp" else NativeModel
    return make(path, n_ctx=n_ctx, n_threads=threads, n_batch=n_batch)


@pytest.fixture(scope="module", params=ENGINES)
def tiny(request: pytest.FixtureRequest, tiny_gguf: Path) -> Iterator[Model]:
    model = open_model(request.param, tiny_gguf, 256, 64, 1)
    yield model
    model.close()


@pytest.fixture(scope="module", params=ENGINES)
def smol(request: pytest.FixtureRequest, smollm2: Path) -> Iterator[Model]:
    model = open_model(request.param, smollm2, 1024, 512, 2)
    yield model
    model.close()


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    for name in {"tiny", "smol"} & set(request.fixturenames):
        request.getfixturevalue(name).rewind(0)


def divergence(p_logits: np.ndarray, q_logits: np.ndarray) -> float:
    """KL(p || q) in nats."""
    p, q = (np.exp(x.astype(np.float64) - x.max()) for x in (p_logits, q_logits))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def commit_chain(model: Model, tokens: list[int]) -> np.ndarray:
    rows = model.forward(TokenTree.chain(tokens)).copy()
    model.commit(range(len(tokens)))
    return rows[0]


def test_a_chain_gives_the_logits_of_its_last_token(tiny: Model) -> None:
    whole = commit_chain(tiny, [5, 6, 7, 8])
    assert whole.shape == (tiny.info.n_vocab,)
    assert whole.dtype == np.float32
    tiny.rewind(0)
    for token in (5, 6, 7):
        commit_chain(tiny, [token])
    assert divergence(whole, commit_chain(tiny, [8])) < ROUNDING
    assert tiny.length == 4


def test_provisional_nodes_leave_no_trace(tiny: Model) -> None:
    commit_chain(tiny, [5, 6])
    expected = tiny.forward(TokenTree.chain([7])).copy()
    tiny.forward(TokenTree.chain([9, 10, 11]))  # never committed
    again = tiny.forward(TokenTree.chain([7])).copy()
    np.testing.assert_array_equal(expected, again)
    assert tiny.length == 2


def test_commit_keeps_a_part_of_a_chain(tiny: Model) -> None:
    commit_chain(tiny, [5, 6])
    tiny.forward(TokenTree.chain([7, 8, 9]))
    tiny.commit([0])
    assert tiny.length == 3
    after = tiny.forward(TokenTree.chain([10])).copy()
    tiny.rewind(0)
    expected = commit_chain(tiny, [5, 6, 7, 10])
    assert divergence(expected, after[0]) < ROUNDING


def test_a_commit_belongs_to_a_forward(tiny: Model) -> None:
    with pytest.raises(RuntimeError):
        tiny.commit([0])
    tiny.forward(TokenTree.chain([5]))
    tiny.rewind(0)
    with pytest.raises(RuntimeError):
        tiny.commit([0])


def test_every_node_of_a_tree_sees_its_own_path_only(tiny: Model) -> None:
    prefix = [5, 6, 7]
    tree = TokenTree([10, 11, 12, 13, 14, 15], [-1, -1, 0, 0, 1, 3], range(6))
    paths = {0: [10], 1: [11], 2: [10, 12], 3: [10, 13], 4: [11, 14], 5: [10, 13, 15]}
    commit_chain(tiny, prefix)
    rows = tiny.forward(tree).copy()
    for node, path in paths.items():
        tiny.rewind(len(prefix))
        expected = tiny.forward(TokenTree.chain(path))[0]
        assert divergence(expected, rows[node]) < ROUNDING, f"node {node}"
    assert divergence(rows[2], rows[4]) > 10 * ROUNDING, "the check could not tell two paths apart"


def test_the_cache_after_a_committed_branch_is_that_of_its_path(tiny: Model) -> None:
    prefix = [5, 6, 7]
    tree = TokenTree([10, 11, 12, 13], [-1, -1, 0, 0], [3])
    commit_chain(tiny, prefix)
    for _ in range(3):
        tiny.forward(tree)
        tiny.commit([0, 3])
    assert tiny.length == 9
    after = tiny.forward(TokenTree.chain([20]))[0].copy()
    tiny.rewind(0)
    expected = commit_chain(tiny, [*prefix, *[10, 13] * 3, 20])
    assert divergence(expected, after) < ROUNDING


def test_rewind_forgets(tiny: Model) -> None:
    expected = commit_chain(tiny, [5, 6])
    commit_chain(tiny, [7, 8, 9])
    tiny.rewind(100)  # more than there is: nothing to forget
    assert tiny.length == 5
    tiny.rewind(1)
    assert tiny.length == 1
    assert divergence(expected, commit_chain(tiny, [6])) < ROUNDING


def test_a_full_context_is_refused_and_nothing_is_appended(tiny: Model) -> None:
    for _ in range(tiny.info.n_ctx // 64):
        commit_chain(tiny, list(range(3, 67)))
    with pytest.raises(ContextOverflowError):
        tiny.forward(TokenTree.chain([5]))
    assert tiny.length == tiny.info.n_ctx


def test_a_pass_takes_a_batch(tiny: Model) -> None:
    with pytest.raises(ValueError, match="64"):
        tiny.forward(TokenTree.chain(range(3, 68)))


def test_no_logits_are_computed_where_none_are_wanted(tiny: Model) -> None:
    assert tiny.forward(TokenTree.chain([5, 6], logits=False)).shape == (0, tiny.info.n_vocab)
    tiny.commit([0, 1])


def test_it_says_what_it_is(tiny: Model) -> None:
    info = tiny.info
    assert (info.architecture, info.n_layers, info.n_embd, info.n_ctx, info.n_ctx_train) == ("llama", 2, 64, 256, 2048)
    assert info.kv_bytes == 256 * 2 * 2 * 2 * 16 * 2  # positions, layers, keys and values, heads, numbers, bytes
    assert 0 < info.bytes_per_token <= info.weight_bytes
    assert "<|im_start|>" in (info.chat_template or "")
    assert (info.bos_text, info.eos_text) == ("<|im_start|>", "<|im_end|>")


def test_abort_ends_a_running_pass_and_the_cache_is_as_before(smol: Model) -> None:
    tokens = list(range(1000, 1010))
    commit_chain(smol, tokens)
    smol.rewind(9)
    expected = commit_chain(smol, tokens[-1:])
    smol.rewind(9)
    timer = threading.Timer(0.05, smol.request_abort, [True])
    timer.start()
    started = time.perf_counter()
    with pytest.raises(Aborted):  # 512 tokens take half a second or more
        smol.forward(TokenTree.chain(list(range(2000, 2512))))
    assert time.perf_counter() - started < 0.25
    timer.join()
    smol.request_abort(False)
    assert smol.length == 9
    np.testing.assert_array_equal(expected, commit_chain(smol, tokens[-1:]))


def test_text_survives_the_tokenizer(smol: Model) -> None:
    for text in ("Hello, world", "naïve — 日本語 😀", "  two  spaces\n\ttab", "x" * 3000):
        tokens = smol.tokenizer.encode(text, special=False)
        assert b"".join(smol.tokenizer.piece(t) for t in tokens).decode() == text
    assert len(smol.tokenizer.encode("<|im_start|>", special=True)) == 1
    assert len(smol.tokenizer.encode("<|im_start|>", special=False)) > 1


@pytest.mark.timeout(400)  # 120 tokens: beside a busy program llama.cpp writes one a second
def test_it_speaks_and_the_same_seed_says_the_same(smol: Model) -> None:
    def say(seed: int) -> tuple[str, End]:
        session = Session(smol)
        session.reuse([])
        sampling = Sampling(temperature=0.8, seed=seed, max_tokens=40)
        items = list(generate(session, Completion(prompt=PROMPT, sampling=sampling), lambda: False))
        end = items[-1]
        assert isinstance(end, End)
        return "".join(i.text for i in items if isinstance(i, Token)) + end.text, end

    first, end = say(11)
    assert end.reason in ("stop", "length")
    assert len(first.split()) > 15
    assert say(11)[0] == first
    assert say(12)[0] != first


def test_greedy_text_does_not_depend_on_what_was_cached(smol: Model) -> None:
    def say(session: Session) -> tuple[str, int]:
        completion = Completion(prompt=PROMPT, sampling=Sampling(temperature=0, max_tokens=30))
        items = list(generate(session, completion, lambda: False))
        cached = next(i.cached for i in items if isinstance(i, Prefill))
        return "".join(i.text for i in items if isinstance(i, Token)), cached

    session = Session(smol)
    fresh, none = say(session)
    again, most = say(session)
    assert (none, most > 10) == (0, True)
    assert fresh == again


def test_a_json_schema_holds_whatever_the_model_would_say(smol: Model) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["blue", "red"]}, "nanometres": {"type": "integer"}},
        "required": ["colour", "nanometres"],
        "additionalProperties": False,
    }
    for seed in range(3):
        session = Session(smol)
        sampling = Sampling(temperature=1.2, seed=seed, max_tokens=60)
        completion = Completion(prompt=PROMPT, sampling=sampling, grammar=from_json_schema(schema))
        items = list(generate(session, completion, lambda: False))
        end = items[-1]
        assert isinstance(end, End)
        text = "".join(i.text for i in items if isinstance(i, Token)) + end.text
        if end.reason == "stop":
            answer = json.loads(text)
            assert answer["colour"] in ("blue", "red")
            assert isinstance(answer["nanometres"], int)
        else:
            assert text.lstrip().startswith("{")


def test_unusable_grammars_and_schemas_are_sentences(smol: Model) -> None:
    with pytest.raises(GrammarError):
        smol.grammar("root ::= (((")
    with pytest.raises(GrammarError):
        smol.grammar('other ::= "x"')
    for bad in (
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"$ref": "https://example.com/schema.json"}}},
        {"type": "json_schema", "json_schema": {"schema": {"type": "object", "description": "x" * 100_000}}},
    ):
        with pytest.raises(GrammarError):
            from_response_format(bad)
    assert from_response_format({"type": "text"}) is None
    assert "root" in str(from_response_format({"type": "json_object"}))


def test_embeddings_are_unit_vectors_and_leave_the_conversation_alone(smol: Model) -> None:
    commit_chain(smol, [100])
    expected = commit_chain(smol, [200])
    vectors = [smol.embed(smol.tokenizer.encode(t, special=False)) for t in ("a cat", "a kitten", "stock prices fell")]
    assert all(abs(float(np.linalg.norm(v)) - 1) < 1e-5 for v in vectors)
    assert all(v.dtype == np.float32 and v.shape == (smol.info.n_embd,) for v in vectors)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    smol.rewind(1)
    np.testing.assert_array_equal(expected, commit_chain(smol, [200]))
    for bad in ([], [5] * (smol.info.n_ctx + 1)):
        with pytest.raises(InvalidRequestError):
            smol.embed(bad)


@pytest.mark.parametrize("engine", ENGINES)
def test_loading_reports_progress_and_can_be_given_up(engine: str, tiny_gguf: Path) -> None:
    make = LlamaCppModel if engine == "llama.cpp" else NativeModel
    seen: list[float] = []
    make(tiny_gguf, n_ctx=64, n_threads=1, progress=lambda f: not seen.append(f)).close()  # type: ignore[func-returns-value]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(Aborted):
        make(tiny_gguf, n_ctx=64, n_threads=1, progress=lambda _: False)
    with pytest.raises(Aborted):
        make(tiny_gguf, n_ctx=64, n_threads=1, progress=lambda fraction: fraction < 0.5)
