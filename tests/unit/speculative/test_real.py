"""Drafts on real engines: same seed, same text; and a cache that is that of a fresh prefill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.api.schemas import Completion, Sampling
from backend.engine.generate import End, Session, generate
from backend.engine.llama_cpp import MAX_LEAVES, LlamaCppModel
from backend.engine.model import Model, TokenTree
from backend.engine.native import KvType, NativeModel
from backend.engine.sampling import log_softmax
from backend.speculative.decoder import Speculation
from backend.speculative.tree import DraftTree

pytestmark = pytest.mark.model
PROMPT = (
    "<|im_start|>user\nRepeat this list and sort it by length: apple pie, pear tart, apple cake, pear cake, plum pie, "
    "plum cake, apple tart.<|im_end|>\n<|im_start|>assistant\n"
)
#: nats; see test_models.py: another layout of the cache rounds otherwise, and SmolLM2 amplifies it
ROUNDING = 0.03
#: where the two best logits are this near (or a draw this near to a boundary), another kernel may choose otherwise
NEAR = 0.35


class Branching(Speculation):
    """Whatever the look-up finds, and wrong tokens beside every node: a tree at each step."""

    def draft(self, token: int, deepest: int, room: int) -> DraftTree:
        tree = super().draft(token, deepest, room)
        for node in range(min(len(tree), room - len(tree) - 1, 12)):
            if tree.depths[node] < deepest:
                tree.add(node, 17 + node, 0.01)
        return tree.pruned(tree.ranked())


@pytest.fixture(scope="module", params=["llama.cpp", "llama.cpp q8", "native"])
def model(request: pytest.FixtureRequest, smollm2: Path) -> Iterator[Model]:
    make = NativeModel if request.param == "native" else LlamaCppModel
    kv: KvType = "q8" if request.param.endswith("q8") else "f16"
    # two threads that spin wait for each other on a busy machine
    opened = make(smollm2, n_ctx=512, n_threads=1, n_batch=256, kv=kv)
    yield opened
    opened.close()


def write(model: Model, speculation: Speculation | None, **sampling: object) -> tuple[Session, End, int]:
    model.rewind(0)
    session = Session(model, speculation)
    completion = Completion(prompt=PROMPT, sampling=Sampling(**sampling))  # type: ignore[arg-type]
    items = list(generate(session, completion, lambda: False))
    end = items[-1]
    assert isinstance(end, End)
    assert model.length == len(session.tokens)
    return session, end, len(model.tokenizer.encode(PROMPT, special=True))


@pytest.fixture(scope="module")
def precise(smollm2: Path) -> Iterator[NativeModel]:
    from kernels.cpu.executor import CpuExecutor

    model = NativeModel(
        smollm2,
        n_ctx=512,
        n_threads=2,
        n_batch=256,
        executors=lambda program, capacity, rows: CpuExecutor(
            program, capacity=capacity, max_rows=rows, threads=2, precise=True
        ),
    )
    yield model
    model.close()


@pytest.mark.parametrize("drafts", [Speculation, Branching])
@pytest.mark.parametrize(("seed", "temperature"), [(1, 0.0), (2, 0.7), (3, 1.0)])
def test_in_the_precise_mode_a_seed_gives_one_text(
    precise: NativeModel, seed: int, temperature: float, drafts: type[Speculation]
) -> None:
    plain, _, _ = write(precise, None, seed=seed, temperature=temperature, max_tokens=40)
    expected = list(plain.tokens)
    drafted, end, _ = write(precise, drafts(precise, fixed=6), seed=seed, temperature=temperature, max_tokens=40)
    assert drafted.tokens == expected
    assert end.drafts.drafted > 0


@pytest.mark.parametrize("drafts", [Speculation, Branching])
def test_in_the_fast_mode_greedy_text_differs_only_at_a_near_tie(model: Model, drafts: type[Speculation]) -> None:
    plain, _, _ = write(model, None, temperature=0, max_tokens=60)
    expected = list(plain.tokens)
    drafted, end, prompt = write(model, drafts(model, fixed=6), temperature=0, max_tokens=60)
    assert end.drafts.accepted > 10
    where = next((i for i, (a, b) in enumerate(zip(expected, drafted.tokens, strict=False)) if a != b), None)
    if where is not None:
        model.rewind(0)
        row = model.forward(TokenTree.chain(expected[:prompt]))
        model.commit(range(prompt))
        for token in expected[prompt:where]:
            row = model.forward(TokenTree.chain([token]))
            model.commit([0])
        best = np.sort(row[0])[-2:]
        gap = best[1] - best[0]
        print(f"texts part at token {where - prompt}, where the two best logits are {gap:.3f} apart")
        assert gap < NEAR


def test_automatic_drafts_keep_the_text_of_our_engine_in_the_fast_mode_too(smollm2: Path) -> None:
    """Chains of up to eight nodes are computed as token by token, bit for bit."""
    model = NativeModel(smollm2, n_ctx=512, n_threads=2, n_batch=256)
    try:
        speculation = Speculation(model)
        speculation.costs.set(dict.fromkeys((1, 2, 4, 8, 16), 0.001))
        for seed, temperature in [(1, 0.0), (2, 0.7), (3, 1.2)]:
            plain, _, _ = write(model, None, seed=seed, temperature=temperature, max_tokens=60)
            expected = list(plain.tokens)
            drafted, end, _ = write(model, speculation, seed=seed, temperature=temperature, max_tokens=60)
            assert drafted.tokens == expected
            assert end.drafts.drafted > 0
    finally:
        model.close()


@pytest.mark.parametrize("drafts", [Speculation, Branching])
def test_after_many_steps_the_cache_is_that_of_a_fresh_prefill(model: Model, drafts: type[Speculation]) -> None:
    session, end, _ = write(model, drafts(model, fixed=6), temperature=0.5, seed=4, max_tokens=80)
    assert end.drafts.accepted > 5
    tokens = list(session.tokens)
    here = log_softmax(model.forward(TokenTree.chain([tokens[-1]]))[0].copy()).astype(np.float64)
    model.rewind(0)
    model.forward(TokenTree.chain(tokens))
    model.commit(range(len(tokens)))
    fresh = log_softmax(model.forward(TokenTree.chain([tokens[-1]]))[0].copy()).astype(np.float64)
    assert float((np.exp(fresh) * (fresh - here)).sum()) < ROUNDING


def test_each_node_of_a_tree_has_the_logits_of_its_path(model: Model) -> None:
    model.rewind(0)
    prompt = model.tokenizer.encode(PROMPT, special=True)
    model.forward(TokenTree.chain(prompt))
    model.commit(range(len(prompt)))
    tree = DraftTree(28)
    for parent, token in [(0, 253), (1, 338), (0, 1096), (3, 314), (3, 253), (5, 99), (2, 100)]:
        tree.add(parent, token, 0.5)
    rows = model.forward(tree.nodes()).copy()
    for node in range(len(tree)):
        alone = model.forward(TokenTree.chain(tree.path(node)))[0]
        p, q = (log_softmax(x).astype(np.float64) for x in (alone, rows[node]))
        assert float((np.exp(p) * (p - q)).sum()) < 0.01, f"node {node}"
        assert not np.isnan(rows[node]).any()


@pytest.mark.parametrize("n_batch", [1, 2, 17, 63, 64])
def test_llama_cpp_with_short_passes_lives_and_has_fewer_leaves(smollm2: Path, n_batch: int) -> None:
    """More sequences than tokens of a pass would end the process."""
    model = LlamaCppModel(smollm2, n_ctx=128, n_threads=1, n_batch=n_batch)
    try:
        assert model.info.max_leaves == n_batch - 1
        speculation = Speculation(model, fixed=63)
        assert speculation.controller.most_nodes == n_batch
        expected = list(write(model, None, temperature=0, max_tokens=8)[0].tokens)
        drafted, _, prompt = write(model, speculation, temperature=0, max_tokens=8)
        assert drafted.tokens[:prompt] == expected[:prompt]
        assert len(drafted.tokens) == len(expected)
    finally:
        model.close()


def test_more_leaves_than_an_engine_has_are_refused_and_nothing_is_read(smollm2: Path) -> None:
    model = LlamaCppModel(smollm2, n_ctx=256, n_threads=1, n_batch=128)
    try:
        assert model.info.max_leaves == MAX_LEAVES
        prompt = model.tokenizer.encode("Once upon a time", special=True)
        model.forward(TokenTree.chain(prompt))
        model.commit(range(len(prompt)))
        star = DraftTree(28)
        for token in range(MAX_LEAVES + 1):
            star.add(0, 100 + token, 0.01)
        with pytest.raises(ValueError, match="63 leaves"):
            model.forward(star.nodes())
        assert model.length == len(prompt)
        assert Speculation(model, fixed=63).controller.most_nodes == MAX_LEAVES + 1, "never more nodes than leaves"
        fits = star.pruned(star.ranked()[:MAX_LEAVES])
        rows = model.forward(fits.nodes())
        assert rows.shape[0] == MAX_LEAVES + 1
        assert not np.isnan(rows).any()
    finally:
        model.close()


def test_a_grammar_holds_in_the_middle_of_a_tree(model: Model) -> None:
    gbnf = 'root ::= item ("," item)* "."\nitem ::= " "? ("apple" | "plum" | "pear") (" " ("pie" | "cake"))?'
    texts = []
    for speculation in (None, Branching(model, fixed=6)):
        model.rewind(0)
        completion = Completion(prompt=PROMPT, sampling=Sampling(temperature=0.7, seed=9, max_tokens=40), grammar=gbnf)
        items = list(generate(Session(model, speculation), completion, lambda: False))
        texts.append("".join(getattr(i, "text", "") for i in items))
    for text in texts:
        words = text.rstrip(".").replace(",", " ").split()
        assert words
        assert all(any(full.startswith(w) for full in ("apple", "plum", "pear", "pie", "cake")) for w in words), text


class Stopping(Branching):
    """Stops the pass that reads its n-th tree, while that runs or just before."""

    at = 3

    def draft(self, token: int, deepest: int, room: int) -> DraftTree:
        tree = super().draft(token, deepest, room)
        self.at -= len(tree) > 1
        if not self.at:
            self.model.request_abort(True)
        return tree

    def __init__(self, model: Model, fixed: int) -> None:
        super().__init__(model, fixed=fixed)
        self.model = model


def test_an_abort_while_a_tree_is_read_leaves_the_cache_of_what_was_written(model: Model) -> None:
    try:
        session, end, prompt = write(model, Stopping(model, 6), temperature=0, max_tokens=60)
        assert end.reason == "cancelled"
    finally:
        model.request_abort(False)
    tokens = list(session.tokens)
    assert len(tokens) > prompt
    here = log_softmax(model.forward(TokenTree.chain([28]))[0].copy()).astype(np.float64)
    model.rewind(0)
    model.forward(TokenTree.chain(tokens))
    model.commit(range(len(tokens)))
    fresh = log_softmax(model.forward(TokenTree.chain([28]))[0].copy()).astype(np.float64)
    assert float((np.exp(fresh) * (fresh - here)).sum()) < ROUNDING


@pytest.mark.parametrize("drafts", [Speculation, Branching])
@pytest.mark.parametrize("engine", [LlamaCppModel, NativeModel])
def test_a_tree_never_reaches_beyond_the_context(
    smollm2: Path, engine: type[LlamaCppModel | NativeModel], drafts: type[Speculation]
) -> None:
    model = engine(smollm2, n_ctx=80, n_threads=1, n_batch=64)
    try:
        _, plain, prompt = write(model, None, temperature=0)
        length = model.length
        session, end, _ = write(model, drafts(model, fixed=20), temperature=0)
        assert (end.reason, plain.reason) == ("context_full", "context_full")
        assert model.length == length == len(session.tokens)
        assert end.drafts.accepted > 0
        assert end.drafts.passes + end.drafts.accepted == length - prompt
    finally:
        model.close()


@pytest.mark.parametrize("begin", [6, 11, 17])
def test_a_stop_string_ends_the_answer_within_an_accepted_run(precise: NativeModel, begin: int) -> None:
    session, _, prompt = write(precise, None, temperature=0, max_tokens=40)
    pieces = [precise.tokenizer.piece(token).decode() for token in session.tokens[prompt:]]
    stop = pieces[begin][-1] + "".join(pieces[begin + 1 : begin + 3]) + pieces[begin + 3][:2]  # of four tokens
    text = "".join(pieces)
    found = []
    for speculation in (None, Speculation(precise, fixed=12), Branching(precise, fixed=12)):
        precise.rewind(0)
        completion = Completion(prompt=PROMPT, sampling=Sampling(temperature=0, max_tokens=40, stop=[stop]))
        own = Session(precise, speculation)
        items = list(generate(own, completion, lambda: False))
        end = items[-1]
        assert isinstance(end, End)
        assert end.reason == "stop"
        assert speculation is None or end.drafts.accepted > 2
        assert own.tokens == session.tokens[: len(own.tokens)]
        assert precise.length == len(own.tokens)
        found.append("".join(getattr(item, "text", "") for item in items))
    assert found == [text[: text.index(stop)]] * 3
