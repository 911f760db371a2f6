"""Builds of one model for a fake engine: which ladder it answers with."""

from __future__ import annotations

from backend.api.plan_schemas import LadderStop, ModelPlan
from backend.api.schemas import LoadModel, ModelEntry
from tests.fakes.client import FakeClient

__all__ = ["build", "three_builds"]

_GB = 1_000_000_000


def build(
    entry: ModelEntry, scheme: str, gb: float, tokens: float, loss: float, *, measured: bool = True, remedy: str = "",
    position: float | None = None, kv: str = "f16", budget: int = 0, draft: str = "",
) -> LadderStop:  # fmt: skip
    """A stop of the ladder; with a remedy it does not fit."""
    native = scheme[:1].islower()
    return LadderStop(
        load=LoadModel(id=entry.id, path=entry.path, position=position, kv=kv, memory_budget=budget),  # type: ignore[arg-type]
        plan=ModelPlan(
            name=entry.name, verdict="does not fit" if remedy else "fits", remedies=[remedy] if remedy else [],
            ram=round((gb + 0.3) * _GB), free=4 * _GB, tokens=tokens, low=0.8 * tokens, high=1.2 * tokens, context=8192,
            kv=kv if native else "", budget=budget, draft=draft,  # type: ignore[arg-type]
        ),
        scheme=scheme,
        engine="native" if native else "llama.cpp",
        bytes=round(gb * _GB),
        loss=loss,
        measured=measured,
        fits=not remedy,
    )  # fmt: skip


def three_builds(fake: FakeClient) -> list[ModelEntry]:
    """A smaller build, the GGUF file that the fake engine has loaded, and one that does not fit."""
    middle = fake.entries[1]
    small = ModelEntry(
        id="1" * 16, name="Qwen2.5-Coder-1.5B AQLM", path="builds/qwen-aqlm.nutshell", source="file", bytes=480_000_000,
        architecture="qwen2", parameters=1_540_000_000, quantization="aqlm-2x8", context_length=32768, layers=28,
    )  # fmt: skip
    large = ModelEntry(
        id="2" * 16, name="Qwen2.5-Coder-1.5B-Instruct", path="hub/qwen2.5-coder-1.5b-f16.gguf", source="file",
        bytes=3_100_000_000, architecture="qwen2", parameters=1_540_000_000, quantization="F16", context_length=32768,
        layers=28,
    )  # fmt: skip
    fake.entries += [small, large]
    fake.stops = [
        build(small, "aqlm-2x8", 0.48, 64.8, 0.33, kv="q8"),
        build(middle, "Q4_K_M", 1.12, 21.3, 0.019, measured=False),
        build(large, "F16", 3.1, 9.0, 0.0, measured=False, remedy="Close programs that hold 1.2 GB."),
    ]
    return [small, middle, large]
