"""Levels beside a machine: what fits, what fits if, and the first reason why one does not."""

from __future__ import annotations

from typing import Any

import pytest

from backend.api.compression import Position
from backend.api.schemas import CpuReport, DiskReport, ErrorInfo, HardwareReport, MemoryReport, ModelEntry
from backend.jobs.compression_plan import PLAN_LEVELS, judge, make_plan, source_of

GB = 10**9
KNOWN = frozenset({"llama", "qwen2"})


def machine(total: float = 16, free: float = 9, disk: float = 100) -> HardwareReport:
    return HardwareReport(
        os="", cpu=CpuReport(name="", cores=2, threads=2, features=[]),
        memory=MemoryReport(total=int(total * GB), available=int(free * GB)), gpus=[],
        disk=DiskReport(path="/", total=int(disk * GB), free=int(disk * GB)), engine_rss=1, engine_build="",
    )  # fmt: skip


def position(**more: Any) -> Position:
    sizes = {"memory": 2, "work_memory": 3, "disk": 4, "bytes": 1, "budget": 8} | more
    return Position(level="spqr-3", **{name: int(value * GB) for name, value in sizes.items()})


def entry(**more: Any) -> ModelEntry:
    given = {
        "id": "e", "name": "n", "path": "/n.gguf", "source": "file", "bytes": 3 * GB, "architecture": "qwen2",
        "parameters": int(1.5 * GB), "quantization": "BF16",
    }  # fmt: skip
    return ModelEntry(**(given | more))


@pytest.mark.parametrize(
    ("sizes", "verdict", "limit", "needed", "there"),
    [
        ({}, "fits", "", 0, 0),
        ({"memory": 14}, "no", "run_memory", 14, 13.6),
        ({"work_memory": 14}, "no", "work_memory", 14, 13.6),
        ({"work_memory": 8.5}, "no", "budget", 8.5, 8),
        ({"work_memory": 8.5, "budget": 0}, "fits", "", 0, 0),
        ({"disk": 101}, "no", "disk", 101, 100),
        ({"memory": 10}, "if", "run_memory", 10, 9),
        ({"work_memory": 10, "budget": 12}, "if", "work_memory", 10, 9),
        ({"memory": 10, "disk": 101}, "no", "disk", 101, 100),
    ],
)
def test_the_verdict_names_its_limit(
    sizes: dict[str, float], verdict: str, limit: str, needed: float, there: float
) -> None:
    judged = judge(position(**sizes), machine())
    assert (judged.verdict, judged.limit) == (verdict, limit)
    assert (judged.needed / GB, judged.there / GB) == (pytest.approx(needed), pytest.approx(there))


def test_a_level_that_cannot_be_made_keeps_its_reason() -> None:
    given = position()
    given.error = ErrorInfo(code="model_error", what="Too narrow.")
    judged = judge(given, machine())
    assert (judged.verdict, judged.limit, judged.error) == ("no", "unknown", given.error)


def test_speed_follows_from_bytes_and_bandwidth() -> None:
    positions = [Position(level=level, bytes=GB * (n + 1)) for n, level in enumerate(PLAN_LEVELS)]
    plan = make_plan(source_of(entry(), KNOWN), positions, machine(), 30e9, "none")
    assert plan.positions[0].tok_s == pytest.approx(30.0)
    assert plan.positions[2].tok_s == pytest.approx(7.5)
    assert plan.positions[0].bits == pytest.approx(8 / 1.5)
    assert all(one.loss_high for one in plan.positions)
    assert plan.positions[0].memory > GB
    tuned = make_plan(source_of(entry(), KNOWN), positions, machine(), 30e9, "block")
    assert tuned.positions[0].loss_high < plan.positions[0].loss_high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("given", "reason", "rounded"),
    [
        ({}, "", False),
        ({"quantization": "Q4_K_M"}, "", True),
        ({"architecture": "gemma2"}, "architecture", False),
        ({"path": "/n.nutshell", "quantization": "Q8, 8.4 bits per weight"}, "compressed", True),
        ({"quantization": "AQLM 2x8, 2.5 bits per weight"}, "compressed", True),
        ({"quantization": "SpQR 3-bit"}, "compressed", True),
        ({"error": ErrorInfo(code="model_error", what="Cut off.")}, "damaged", False),
    ],
)
def test_what_can_be_a_source(given: dict[str, Any], reason: str, rounded: bool) -> None:
    source = source_of(entry(**given), KNOWN)
    assert (source.reason, source.rounded) == (reason, rounded)
