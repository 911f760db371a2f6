"""What the child process does: the compressor, the measurements, and answers of two models to the same questions."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from backend.api.compression import Answer, CompressionOptions, CompressionResult, Exported, Measured, Position
from backend.api.errors import NutshellError, PackagesMissingError
from backend.api.schemas import Completion, ErrorInfo, LoadModel, Sampling
from backend.quantize.child import Teller
from backend.quantize.options import Options, Progress
from backend.quantize.wire import Compare, Compress, Export, Inspect, Measure

__all__ = ["RealWork"]

#: tokens of one answer, and of the measurement of speed: three seconds at 20 tok/s
_ANSWER_TOKENS = 96
_SPEED_TOKENS = 48
#: of an answer, for its speed to be told: of two or three it says nothing
_LEAST_TOKENS = 8
_CONTEXT = 1024
_PROMPTS = (
    "Explain in two sentences why the sky is blue.",
    "Write a Python function that merges two sorted lists.",
    "A train leaves at 14:10 and arrives at 16:05. How long does the journey take?",
)


class RealWork:
    """`backend.quantize.child.Work` on real models."""

    def inspect(self, request: Inspect, tell: Teller) -> list[Position]:
        """What each level takes; one that cannot be made of this model carries its reason."""
        _need_packages()
        from backend.quantize.prepare import prepare

        positions = []
        machine: Mapping[str, Any] | None = None
        for level in request.levels:
            try:
                prepared = prepare(Path(request.source), _options((level,), request.options), machine=machine)
            except NutshellError as error:
                positions.append(Position(level=level, bytes=0, error=ErrorInfo.of(error)))
                continue
            prepared.checkpoint.close()
            machine = prepared.machine  # measured once, so that the levels can be compared
            found = prepared.estimate(_there(Path(request.folder)))
            positions.append(
                Position(
                    level=level,
                    bytes=found.bytes,
                    work_memory=found.memory,
                    budget=found.budget,
                    disk=found.disk,
                    seconds=found.seconds,
                )
            )
        return positions

    def compress(self, request: Compress, tell: Teller) -> CompressionResult:
        """Makes the build, going on from what is there."""
        _need_packages()
        from backend.quantize.compress import compress

        options = _options(tuple(request.levels), request.options)
        built = compress(Path(request.source), Path(request.out), options, tell)
        return CompressionResult(
            path=str(built.path),
            bytes=built.bytes,
            seconds=built.seconds,
            block_bits=built.block_bits,
            all_bits=built.all_bits,
            notes=list(built.notes),
            predicted=built.predicted,
        )

    def measure(self, request: Measure, tell: Teller) -> Measured:
        """Quality against the source from the packed file, then the speed of the build."""
        from backend.quantize.evaluation import Evaluation
        from backend.quantize.evaluation_texts import held_out

        threads = _threads(request.threads)
        evaluation = Evaluation(Path(request.reference), [held_out("prose")], threads=threads)
        found = evaluation.of(Path(request.build), tell)[0]
        spoken = _speak(request.build, ["Write about the sea."], threads, _SPEED_TOKENS, tell)
        return Measured(
            perplexity=found.perplexity,
            perplexity_reference=found.perplexity_reference,
            bits_per_byte=found.bits_per_byte,
            kl_mean=found.kl_mean,
            kl_p99=found.kl_p99,
            top1=found.top1,
            bits_per_weight=found.bits_per_weight,
            bits_per_weight_all=found.bits_per_weight_all,
            file_bytes=found.file_bytes,
            tokens=found.tokens,
            text=found.text,
            tok_s=spoken[0].tok_s,
        )

    def compare(self, request: Compare, tell: Teller) -> list[Answer]:
        """The most probable beginnings of answers, first all of the source's, then the build's: one model in memory."""
        prompts = list(request.prompts) or list(_PROMPTS)
        theirs = _speak(request.reference, prompts, request.threads, _ANSWER_TOKENS, tell)
        ours = _speak(request.build, prompts, request.threads, _ANSWER_TOKENS, tell)
        return [
            Answer(prompt=prompt, source=a.text, build=b.text, source_tok_s=a.tok_s, build_tok_s=b.tok_s)
            for prompt, a, b in zip(prompts, theirs, ours, strict=True)
        ]

    def export(self, request: Export, tell: Teller) -> Exported:
        """The folder, or nothing."""
        from backend.formats.hf_export import export_build

        def moved(done: int, total: int) -> bool:
            return tell(Progress("export", float(done), float(total)))

        made = export_build(Path(request.build), Path(request.out), request.format, moved=moved)
        return Exported(
            path=str(made.path), bytes=made.bytes, held=len(made.held), plain=len(made.plain), notes=list(made.notes)
        )


@dataclass(frozen=True, slots=True)
class _Spoken:
    text: str
    tok_s: float


def _speak(path: str, prompts: list[str], threads: int, most: int, tell: Teller) -> list[_Spoken]:
    """Greedy answers of a model of any kind to each prompt, with the speed of decoding."""
    from backend.chat.templates import ChatMessage, TemplateSandbox, template_for
    from backend.engine.generate import End, Session, Token, generate
    from backend.engine.loading import load_model
    from backend.hub.local import LocalModels

    entry = LocalModels(None).entry_for(Path(path))
    going = [True]

    def progress(_fraction: float) -> bool:
        going[0] = tell(Progress("compare", 0.0, 0.0))
        return going[0]

    try:
        model, _ = load_model(entry, LoadModel(n_ctx=_CONTEXT, n_threads=threads), progress)
    except NutshellError:
        if not going[0]:
            raise InterruptedError from None
        raise

    async def rendered() -> tuple[list[str], list[str]]:
        sandbox = TemplateSandbox()
        try:
            template = await template_for(model, sandbox)
            return [await template.render(sandbox, [ChatMessage("user", one)]) for one in prompts], list(template.stop)
        finally:
            await sandbox.close()

    try:
        texts, stop = asyncio.run(rendered())
        sampling = Sampling(temperature=0.0, seed=0, max_tokens=most, stop=stop)
        session, spoken = Session(model), []
        for text in texts:
            pieces: list[str] = []
            first, count = 0.0, 0
            for item in generate(session, Completion(prompt=text, sampling=sampling), lambda: not going[0]):
                if isinstance(item, Token):
                    pieces.append(item.text)
                    first = first or time.perf_counter()
                    count += 1
                elif isinstance(item, End):
                    pieces.append(item.text)
            spent = time.perf_counter() - first
            _go_on(tell, Progress("compare", 0.0, 0.0))
            spoken.append(_Spoken("".join(pieces).strip(), (count - 1) / spent if count >= _LEAST_TOKENS else 0.0))
        return spoken
    finally:
        model.close()


def _go_on(tell: Teller, progress: Progress) -> None:
    if not tell(progress):
        raise InterruptedError


def _options(levels: tuple[str, ...], chosen: CompressionOptions) -> Options:
    return Options(
        levels=levels,
        tuning=chosen.tuning,
        texts=tuple(Path(text).expanduser() for text in chosen.texts),
        own_text_only=chosen.own_text_only,
        tokens=chosen.tokens,
        seed=chosen.seed,
        threads=_threads(chosen.threads),
        memory=chosen.memory,
    )


def _threads(chosen: int) -> int:
    return chosen or psutil.cpu_count(logical=False) or 1


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it: that of the builds is made with the first of them."""
    return next((place for place in (folder, *folder.absolute().parents) if place.is_dir()), folder)


def _need_packages() -> None:
    """Raises PackagesMissingError where what chatting does not need is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise PackagesMissingError(
            "The packages that making models smaller needs are not installed.",
            remedy="Add them with: python3 -m installer add compression",
        )
