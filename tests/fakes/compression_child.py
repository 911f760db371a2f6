"""The child process with work that takes no time and no torch: `python -m tests.fakes.compression_child`.

What it does is said by the name of the build or of the source: "crash" ends the process in the middle, "refuse" fails
with a sentence, "fault" with an exception, "slow" waits to be stopped and "stuck" does not even look, "hidden" cannot
be measured. What it has done is kept in a file of the work folder, so that a run that goes on is seen to go on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from backend.api.compression import Answer, CompressionResult, Exported, Measured, Position
from backend.api.errors import UnsupportedModelError
from backend.api.schemas import ErrorInfo
from backend.quantize.child import Teller, main
from backend.quantize.options import Progress
from backend.quantize.wire import Compare, Compress, Export, Inspect, Measure

MB = 1 << 20
SIZES = {"aqlm-2x8": 2.3, "aqlm-3x8": 3.3, "spqr-3": 4.0, "spqr-4": 4.9, "q8": 8.3}
MODULES = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
LAYERS = 3


class FakeWork:
    """`backend.quantize.child.Work`, scripted."""

    def inspect(self, request: Inspect, tell: Teller) -> list[Position]:
        if "refuse" in request.source:
            raise UnsupportedModelError("This model has 3 tails.", remedy="Choose another one.")
        return [
            Position(
                level=level, bytes=int(SIZES[level] * 10 * MB), work_memory=5, disk=200 * MB, seconds=60.0,
                error=ErrorInfo(code="model_error", what="Too narrow.")
                if (level == "q8" and "narrow" in request.source) or "every" in request.source else None,
            )
            for level in request.levels
        ]  # fmt: skip

    def compress(self, request: Compress, tell: Teller) -> CompressionResult:
        out = Path(request.out)
        work = out.with_name(out.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        kept = work / "done"
        done = int(kept.read_text(encoding="ascii")) if kept.exists() else 0
        total = LAYERS * len(MODULES)
        self._tell(tell, Progress("check", 0.0, 0.0))
        for number in range(done, total):
            layer, part = divmod(number, len(MODULES))
            if number == 5:
                self._misbehave(out.name, tell, done)
            kept.write_text(str(number + 1), encoding="ascii")
            self._tell(
                tell,
                Progress(
                    "quantize", number + 1.0, float(total), layer, LAYERS,
                    f"model.layers.{layer}.{MODULES[part]}", 0.01 * (number + 1), 1.5, float(total - number),
                    300 * MB, request.levels[0],
                ),
            )  # fmt: skip
        out.write_bytes(b"a build")
        kept.unlink()
        work.rmdir()
        return CompressionResult(
            path=str(out), bytes=7, seconds=1.0, block_bits=2.1, all_bits=2.4, notes=[f"went on from {done}"]
        )

    def measure(self, request: Measure, tell: Teller) -> Measured:
        if "hidden" in request.build:
            raise UnsupportedModelError("This build cannot be read.")
        print("this goes to stderr and is no line of the protocol")
        return Measured(
            perplexity=8.4, perplexity_reference=8.0, bits_per_byte=0.7, kl_mean=0.05, kl_p99=0.4, top1=0.93,
            bits_per_weight=2.1, bits_per_weight_all=2.4, file_bytes=7, tokens=4096, text="prose", tok_s=31.0,
        )  # fmt: skip

    def compare(self, request: Compare, tell: Teller) -> list[Answer]:
        prompts = request.prompts or ["Why is the sky blue?"]
        return [Answer(prompt=prompt, source="Because.", build="Because of it.") for prompt in prompts]

    def export(self, request: Export, tell: Teller) -> Exported:
        if "slow" in request.out:
            while tell(Progress("export", 1.0, 2.0)):
                threading.Event().wait(0.01)
            raise InterruptedError
        if request.format == "hf-spqr":
            raise UnsupportedModelError("This build cannot be exported as hf-spqr.", remedy="Export it as hf-aqlm.")
        return Exported(path=request.out, bytes=90 * MB, held=12, plain=3, notes=["3 linears are plain."])

    def _misbehave(self, name: str, tell: Teller, done: int) -> None:
        if done:  # the second time all goes well
            return
        if "crash" in name:
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGABRT)
        if "refuse" in name:
            raise UnsupportedModelError("Layer 1 holds numbers that are none.", remedy="Download the model again.")
        if "fault" in name:
            raise ZeroDivisionError("what nobody foresaw")
        if "stuck" in name:
            threading.Event().wait(60)
        if "slow" in name:
            while tell(Progress("quantize", 5.0, 12.0)):
                threading.Event().wait(0.01)
            raise InterruptedError

    def _tell(self, tell: Teller, progress: Progress) -> None:
        if not tell(progress):
            raise InterruptedError


if __name__ == "__main__":
    sys.exit(main(FakeWork()))
