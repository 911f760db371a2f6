"""How good a build is: perplexity, and how far its predictions are from those of the model that it was made from.

Everything is measured from the packed file, with the engine that a person would have: packs and folders on our own,
GGUF files on llama.cpp. The reference runs on our own engine, its weights as 16-bit floats, once: what it says is kept
on disk (`evaluation_store`), so that two models are never in memory together, and the next build of it takes half the
time.

A text is cut into contexts of 1,024 tokens. The first 256 of each are read but not scored, so that every prediction has
something to go by.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from backend.api.errors import UnsupportedModelError
from backend.architectures import read_args
from backend.config.paths import paths
from backend.engine.model import Model, Tokenizer
from backend.formats.checkpoint import open_checkpoint
from backend.quantize.evaluation_model import no_numbers, open_model, passes, sizes_of
from backend.quantize.evaluation_scores import Expected, Scores, compare, expect, join
from backend.quantize.evaluation_store import Store
from backend.quantize.evaluation_text import Contexts, EvaluationText, cut, tokenizer_of
from backend.quantize.options import Progress, Report

__all__ = ["CONTEXT", "TOKENS", "UNSCORED", "Evaluation", "Measured", "measure"]

CONTEXT = 1024
UNSCORED = 256
TOKENS = 6 * 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """One build on one text.

    Attributes:
        build, reference, text: their names.
        perplexity, perplexity_reference: exp of the mean surprise of a scored token.
        bits_per_byte: surprise in bits over the UTF-8 bytes of the scored tokens: can be compared across vocabularies.
        kl_mean, kl_p99: KL(reference || build) of a scored token in nats, over the whole vocabulary; its mean and its
            99th percentile.
        kl_error: standard error of the mean, as if tokens were independent.
        top1: the share of scored tokens where both think the same token the likeliest.
        bits_per_weight, bits_per_weight_all, file_bytes: see `evaluation_model.Sizes`.
        tokens: that were scored. context, unscored: of each context.
        seconds: that this took, without the reference. reference_seconds: of running the reference; 0 where what it
            says was known.
    """

    build: str
    reference: str
    text: str
    perplexity: float
    perplexity_reference: float
    bits_per_byte: float
    kl_mean: float
    kl_p99: float
    kl_error: float
    top1: float
    bits_per_weight: float
    bits_per_weight_all: float
    file_bytes: int
    tokens: int
    context: int
    unscored: int
    seconds: float
    reference_seconds: float

    def as_json(self) -> dict[str, Any]:
        """With as many digits as mean something."""
        return {
            key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }


def measure(build: Path, reference: Path, text: EvaluationText | str, **options: Any) -> Measured:
    """A build on one text. Options and errors as of `Evaluation`, progress as of its methods.

    Args:
        build: a pack, a Hugging Face folder, or a GGUF file.
        reference: what it was made from.
        text: what is measured on; one without a name is called "text".
        options: `report` and `position` for `Evaluation.of`, the others for `Evaluation`.
    """
    report: Report = options.pop("report", _silent)
    if isinstance(text, str):
        text = EvaluationText("text", text)
    position: float | None = options.pop("position", None)
    return Evaluation(reference, [text], **options).of(build, report, position=position)[0]


class Evaluation:
    """One reference and some texts, on which any number of its builds are measured.

    Args:
        reference: a Hugging Face folder, a GGUF file or a pack; weights are run as 16-bit floats, of packs as stored.
        texts: to measure on, each by itself.
        tokens: at most so many of each text.
        context: of each context; less where the model was trained for less.
        unscored: at the beginning of each context; at most half of it.
        threads: that compute; 0: one for each core.
        cache: the folder for what the reference says.

    Raises:
        InvalidRequestError: a text is too short.
        ModelError: the reference is damaged, or of a kind that is not known here.
    """

    def __init__(
        self,
        reference: Path,
        texts: Sequence[EvaluationText],
        *,
        tokens: int = TOKENS,
        context: int = CONTEXT,
        unscored: int = UNSCORED,
        threads: int = 0,
        cache: Path | None = None,
    ) -> None:
        self._reference = reference
        self._threads = threads or psutil.cpu_count(logical=False) or 1
        checkpoint = open_checkpoint(reference)
        try:
            args = read_args(checkpoint.config)
        finally:
            checkpoint.close()
        self._n_vocab = args.vocab_size
        length = min(context, args.max_position_embeddings)
        unscored = min(unscored, length // 2)
        self._tokenizer = tokenizer_of(reference)
        self._texts = [cut(text, self._tokenizer, tokens=tokens, length=length, unscored=unscored) for text in texts]
        root = cache or paths().cache / "measure"
        self._stores = [Store(root, reference, contexts, self._n_vocab) for contexts in self._texts]

    def prepare(self, report: Report | None = None) -> float:
        """Runs the reference where what it says is not known yet; seconds that it took.

        Args:
            report: see `of`.

        Raises:
            DiskFullError, MemoryShortageError, ModelError.
            InterruptedError: `report` returned False; what is finished is kept.
        """
        began = time.monotonic()
        work = sum(
            len(store.missing(len(contexts.tokens))) * contexts.tokens.shape[1]
            for contexts, store in zip(self._texts, self._stores, strict=True)
        )
        if not work:
            return 0.0
        count = _Count(report or _silent, f"{self._reference.name} (reference)", work)
        for contexts, store in zip(self._texts, self._stores, strict=True):
            store.prepare(len(contexts.tokens))
        with self._opened(self._reference, reference=True) as model:
            for contexts, store in zip(self._texts, self._stores, strict=True):
                for index in store.missing(len(contexts.tokens)):
                    store.write(index, self._expected(model, contexts, index, count))
        return time.monotonic() - began

    def of(self, build: Path, report: Report | None = None, *, position: float | None = None) -> list[Measured]:
        """Measures a build on every text; runs the reference first where that is needed.

        Args:
            build: a pack, a Hugging Face folder, or a GGUF file; with the reference's vocabulary.
            report: told after every pass (stage "measure"); returning False gives up.
            position: of a pack's slider, 0 to 1; None: its default, or it has none.

        Raises:
            InvalidRequestError: a position of what has no slider.
            UnsupportedModelError: it has another vocabulary.
            ModelError: it is damaged, cannot be run here, or computes what are no numbers.
            DiskFullError, MemoryShortageError: no room.
            InterruptedError: `report` returned False.
        """
        sizes = sizes_of(build, position)
        reference_seconds = self.prepare(report)
        count = _Count(report or _silent, build.name, sum(contexts.tokens.size for contexts in self._texts))
        found = []
        with self._opened(build, reference=False, position=position) as model:
            self._check_vocabulary(build, model)
            for contexts, store in zip(self._texts, self._stores, strict=True):
                began = time.monotonic()
                expected = [store.read(index) for index in range(len(contexts.tokens))]
                theirs = np.concatenate([one.surprise for one in expected])
                ours = join([self._scores(model, contexts, i, one, count) for i, one in enumerate(expected)])
                if not (np.isfinite(ours.surprise).all() and np.isfinite(ours.kl).all()):
                    raise no_numbers(build)
                surprise, kl = float(ours.surprise.mean(dtype=np.float64)), ours.kl.astype(np.float64)
                found.append(
                    Measured(
                        build=build.name,
                        reference=self._reference.name,
                        text=contexts.name,
                        perplexity=_exp(surprise),
                        perplexity_reference=_exp(float(theirs.mean(dtype=np.float64))),
                        bits_per_byte=surprise * len(kl) / math.log(2) / max(1, contexts.bytes),
                        kl_mean=float(kl.mean()),
                        kl_p99=float(np.percentile(kl, 99)),
                        kl_error=float(kl.std()) / math.sqrt(len(kl)),
                        top1=float(ours.agrees.mean()),
                        bits_per_weight=sizes.layer_bits,
                        bits_per_weight_all=sizes.all_bits,
                        file_bytes=sizes.file_bytes,
                        tokens=len(kl),
                        context=contexts.tokens.shape[1],
                        unscored=contexts.unscored,
                        seconds=time.monotonic() - began,
                        reference_seconds=reference_seconds,
                    )
                )
        return found

    @contextmanager
    def _opened(self, path: Path, *, reference: bool, position: float | None = None) -> Iterator[Model]:
        length = max(contexts.tokens.shape[1] for contexts in self._texts)
        model = open_model(path, length=length, threads=self._threads, reference=reference, position=position)
        try:
            yield model
        finally:
            model.close()

    def _expected(self, model: Model, contexts: Contexts, index: int, count: _Count) -> Expected:
        tokens = contexts.tokens[index]
        parts: list[Expected] = []
        at = contexts.unscored + 1
        for read, logits in passes(model, tokens, contexts.unscored):
            if len(logits):
                parts.append(expect(logits, tokens[at : at + len(logits)], self._threads))
                at += len(logits)
            count.add(read)
        found = join(parts)
        if not np.isfinite(found.surprise).all():
            raise no_numbers(self._reference)
        return found

    def _scores(self, model: Model, contexts: Contexts, index: int, expected: Expected, count: _Count) -> Scores:
        tokens = contexts.tokens[index]
        parts: list[Scores] = []
        done, first = 0, contexts.unscored + 1
        for read, logits in passes(model, tokens, contexts.unscored):
            if len(logits):
                part = slice(done, done + len(logits))
                known = Expected(expected.log_probabilities[part], expected.surprise[part], expected.likeliest[part])
                targets = tokens[first + done : first + done + len(logits)]
                parts.append(compare(known, logits, targets, self._threads))
                done += len(logits)
            count.add(read)
        return join(parts)

    def _check_vocabulary(self, build: Path, model: Model) -> None:
        other: Tokenizer = model.tokenizer
        if model.info.n_vocab == self._n_vocab:
            used = np.unique(np.concatenate([contexts.tokens.reshape(-1) for contexts in self._texts])).tolist()
            different = next((token for token in used if other.piece(token) != self._tokenizer.piece(token)), None)
            if different is None:
                return
            details = f"token {different}: {other.piece(different)!r}, {self._tokenizer.piece(different)!r}"
        else:
            details = f"{model.info.n_vocab:,} and {self._n_vocab:,} tokens"
        raise UnsupportedModelError(
            f"{build.name} cannot be compared with {self._reference.name}.",
            why=f"They have different vocabularies ({details}).",
            remedy="Give the model that the build was made from as the reference.",
        )


class _Count:
    """Tokens read so far, told to a person."""

    def __init__(self, report: Report, what: str, total: int) -> None:
        self._report, self._what, self._total = report, what, total
        self._done = 0
        self._began = 0.0
        self.add(0)

    def add(self, tokens: int) -> None:
        """After a pass.

        Raises:
            InterruptedError: the person has had enough.
        """
        now = time.monotonic()
        if not self._done:  # loading is not part of the rate
            self._began = now
            left = None
        else:
            left = (now - self._began) / self._done * max(0, self._total - self._done)
        self._done += tokens
        told = Progress("measure", self._done, self._total, module=self._what, seconds_left=left)
        if not self._report(told):
            raise InterruptedError("measuring was given up")


def _silent(_: Progress) -> bool:
    return True


def _exp(surprise: float) -> float:
    """A perplexity that is a number also of a hopeless build."""
    return math.exp(min(surprise, 700.0))
