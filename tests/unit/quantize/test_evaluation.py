"""Measuring whole models: against NumPy, against themselves, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.api.errors import InvalidRequestError, ModelError, UnsupportedModelError
from backend.architectures import build
from backend.engine.model import Model
from backend.formats.checkpoint import open_checkpoint
from backend.quantize import evaluation
from backend.quantize.evaluation import Evaluation, measure
from backend.quantize.evaluation_model import layer_types, sizes_of
from backend.quantize.evaluation_text import EvaluationText, cut, tokenizer_of
from backend.quantize.measure import logits_of, mean_kl
from backend.quantize.options import Progress
from kernels.reference.executor import ReferenceExecutor
from tests.formats.tiny_gguf import write_tiny_gguf
from tests.packs import write_rounded_pack

TEXT = EvaluationText("sea", " ".join(f"{n}. The storm near the lighthouse, winter {n * 37 % 101}." for n in range(60)))
#: not a multiple of the batch, and more than one
SHAPE: dict[str, int] = {"tokens": 1400, "context": 700, "unscored": 300}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny_q4(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rounded_pack(tiny_gguf, tmp_path_factory.mktemp("packs") / "tiny-q4.nutshell", "q4")


def surprises(path: Path, tokens: list[int], unscored: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits at the scored positions and surprise of the scored tokens, by the NumPy executor."""
    checkpoint = open_checkpoint(path)
    logits = logits_of(ReferenceExecutor(build(checkpoint).program, len(tokens), kv="f16"), tokens)[unscored:-1]
    checkpoint.close()
    wide = logits.astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return logits, -logs[np.arange(len(logits)), tokens[unscored + 1 :]]


def test_against_numpy(tiny_gguf: Path, tiny_q4: Path, cache: Path) -> None:
    found = measure(tiny_q4, tiny_gguf, TEXT, cache=cache, threads=2, **SHAPE)
    contexts = cut(TEXT, tokenizer_of(tiny_gguf), length=700, tokens=1400, unscored=300)
    sides = [[surprises(path, row.tolist(), 300) for row in contexts.tokens] for path in (tiny_gguf, tiny_q4)]
    source, ours = (np.concatenate([row[1] for row in side]) for side in sides)
    p, q = (np.concatenate([row[0] for row in side]) for side in sides)
    assert found.tokens == len(source) == 2 * 399
    assert found.perplexity_reference == pytest.approx(np.exp(source.mean()), rel=1e-4)
    assert found.perplexity == pytest.approx(np.exp(ours.mean()), rel=1e-4)
    assert found.perplexity != pytest.approx(found.perplexity_reference, rel=1e-4)
    assert found.kl_mean == pytest.approx(mean_kl(p, q), rel=0.01)
    assert 0 < found.kl_error < found.kl_mean < found.kl_p99
    assert found.top1 == pytest.approx((p.argmax(axis=1) == q.argmax(axis=1)).mean(), abs=0.01)
    assert found.bits_per_byte == pytest.approx(ours.sum() / np.log(2) / contexts.bytes, rel=1e-4)


def test_a_model_beside_itself(tiny_pack: Path, cache: Path) -> None:
    found = measure(tiny_pack, tiny_pack, TEXT, cache=cache, **SHAPE)
    assert found.perplexity == pytest.approx(found.perplexity_reference, rel=1e-6)
    assert 0 <= found.kl_mean < 1e-6
    assert found.top1 == 1


def test_the_reference_runs_once(
    tiny_gguf: Path, tiny_pack: Path, tiny_q4: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def watched(path: Path, **options: Any) -> Model:
        opened.append(path.name)
        return real(path, **options)

    real = evaluation.open_model
    monkeypatch.setattr(evaluation, "open_model", watched)
    first = measure(tiny_pack, tiny_gguf, TEXT, cache=cache, **SHAPE)
    again = measure(tiny_pack, tiny_gguf, TEXT, cache=cache, **SHAPE)
    measure(tiny_q4, tiny_gguf, TEXT, cache=cache, **SHAPE)
    assert opened == [tiny_gguf.name, tiny_pack.name, tiny_pack.name, tiny_q4.name]
    assert again.reference_seconds == 0 < first.reference_seconds
    assert (again.kl_mean, again.perplexity) == (first.kl_mean, first.perplexity)


@pytest.mark.model
def test_a_gguf_build_runs_on_llama_cpp(tiny_gguf: Path, cache: Path) -> None:
    found = measure(tiny_gguf, tiny_gguf, TEXT, cache=cache, **SHAPE)
    assert found.perplexity == pytest.approx(found.perplexity_reference, rel=0.01)
    assert 1e-6 < found.kl_mean < 0.01  # 8-bit activations
    assert found.bits_per_weight == pytest.approx(8.5)
    assert layer_types(tiny_gguf) == {"Q8_0": 1.0}


def test_several_texts(tiny_gguf: Path, tiny_pack: Path, cache: Path) -> None:
    other = EvaluationText("other", TEXT.content[::-1])
    both = Evaluation(tiny_gguf, [TEXT, other], cache=cache, **SHAPE).of(tiny_pack)
    assert [one.text for one in both] == ["sea", "other"]
    assert both[1].kl_mean == measure(tiny_pack, tiny_gguf, other, cache=cache, **SHAPE).kl_mean


def test_sizes(tiny_gguf: Path, tiny_q4: Path, tiny_folder: Path) -> None:
    for path, least, most in ((tiny_gguf, 8.5, 8.5), (tiny_q4, 4.6, 4.9)):  # 4 bits, scales, and a maximum of each row
        found = sizes_of(path)
        assert found.file_bytes == path.stat().st_size
        assert least <= found.layer_bits <= most
        assert least <= found.all_bits <= most
    folder = sizes_of(tiny_folder)  # its embedding is not packed
    assert folder.layer_bits < folder.all_bits < 16
    assert folder.file_bytes == sum(file.stat().st_size for file in tiny_folder.glob("*.safetensors"))


def test_giving_up_keeps_what_is_done(tiny_gguf: Path, tiny_pack: Path, cache: Path) -> None:
    told: list[Progress] = []

    def until_second_context(now: Progress) -> bool:
        told.append(now)
        return now.done < 900

    with pytest.raises(InterruptedError):
        measure(tiny_pack, tiny_gguf, TEXT, cache=cache, report=until_second_context, **SHAPE)
    assert len(list(cache.glob("*/*.bin"))) == 1
    assert {one.stage for one in told} == {"measure"}
    assert told[0].done == 0
    assert all(0 <= one.done <= one.total == 1400 for one in told)
    told.clear()
    found = measure(tiny_pack, tiny_gguf, TEXT, cache=cache, report=lambda now: not told.append(now), **SHAPE)
    assert told[0].total == 700  # only the other context is run again
    assert found.kl_mean == measure(tiny_pack, tiny_gguf, TEXT, cache=cache, **SHAPE).kl_mean


def test_a_short_text(tiny_gguf: Path, tiny_pack: Path, cache: Path) -> None:
    with pytest.raises(InvalidRequestError, match="too short"):
        measure(tiny_pack, tiny_gguf, EvaluationText("note", "Buy milk."), cache=cache)


def test_another_vocabulary(tiny_gguf: Path, tiny_pack: Path, tmp_path: Path, cache: Path) -> None:
    letters = write_tiny_gguf(tmp_path / "letters.gguf", kind="llama")
    with pytest.raises(UnsupportedModelError, match="different vocabularies"):
        measure(tiny_pack, letters, TEXT, cache=cache, **SHAPE)


def test_the_same_size_and_other_tokens(
    tiny_gguf: Path, tiny_pack: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Evaluation(tiny_gguf, [TEXT], cache=cache, **SHAPE)
    real = one._tokenizer.piece
    monkeypatch.setattr(one._tokenizer, "piece", lambda token: real(token).upper())
    with pytest.raises(UnsupportedModelError, match="different vocabularies"):
        one.of(tiny_pack)


def test_a_build_of_no_numbers(tiny_gguf: Path, tiny_pack: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.engine.native import NativeModel

    def broken(self: NativeModel, nodes: object) -> np.ndarray:
        logits = real(self, nodes)
        if self.info.name == tiny_pack.stem:
            logits[-1:, 5] = np.nan
        return logits

    real = NativeModel.forward
    monkeypatch.setattr(NativeModel, "forward", broken)
    with pytest.raises(ModelError, match="no numbers"):
        measure(tiny_pack, tiny_gguf, TEXT, cache=cache, **SHAPE)
