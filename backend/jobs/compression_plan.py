"""What a machine can hold of a model, level by level: sizes against memory and disk, and the speed to expect."""

from __future__ import annotations

from msgspec.structs import replace

from backend.api.compression import CompressionPlan, CompressionSource, Limit, Position, Verdict
from backend.api.schemas import HardwareReport, ModelEntry
from backend.quantize.expected import expected_loss

__all__ = ["PLAN_LEVELS", "judge", "make_plan", "source_of"]

#: what the wizard offers, from the smallest; one codebook is for experiments, four are no better than SpQR
PLAN_LEVELS = ("aqlm-2x8", "aqlm-3x8", "spqr-3", "spqr-4", "q8")
#: Beside the weights: keys and values of 8,192 tokens (0.24 GB for a 1.5B model, 1.07 for one of 8B), and the program.
_RUN_EXTRA, _RUN_PER_PARAMETER = 100 << 20, 0.12
#: Of all memory, what one model may take at most; the rest is the system's.
_SHARE = 0.85
#: Of the measured bandwidth, what decoding gets. AQLM: 33 of 33 GB/s at 2x8 and 27 at 3x8, where looking codes up
#: begins to cost more than reading them.
_EFFICIENCY = {"aqlm-2x8": 1.0, "aqlm-3x8": 0.85, "spqr-3": 0.75, "spqr-4": 0.75, "q8": 0.95}


def source_of(entry: ModelEntry, architectures: frozenset[str]) -> CompressionSource:
    """Whether a model can be made smaller, by its header."""
    words = entry.quantization.upper()
    plain = words in ("F32", "F16", "BF16", "")
    source = CompressionSource(entry=entry, rounded=not plain)
    if entry.error is not None:
        source.reason = "damaged"
    elif entry.architecture not in architectures:
        source.reason = "architecture"
    elif entry.path.lower().endswith(".nutshell") or "AQLM" in words or "SPQR" in words:
        source.reason = "compressed"
    return source


def make_plan(
    source: CompressionSource, positions: list[Position], machine: HardwareReport, bandwidth: float, tuning: str
) -> CompressionPlan:
    """Puts what the compressor says of each level beside what the machine has."""
    parameters = source.entry.parameters
    judged = []
    for given in positions:
        loss = expected_loss(given.level, parameters, tuning)
        position = replace(
            given,
            bits=8 * given.bytes / parameters if parameters else 0.0,
            memory=given.bytes + _RUN_EXTRA + int(parameters * _RUN_PER_PARAMETER),
            tok_s=bandwidth * _EFFICIENCY.get(given.level, 0.8) / given.bytes if given.bytes else 0.0,
            loss_low=loss[0] if loss else None,
            loss_high=loss[1] if loss else None,
        )
        judged.append(judge(position, machine))
    return CompressionPlan(
        source=source,
        positions=judged,
        bandwidth=bandwidth,
        memory_total=machine.memory.total,
        memory_free=machine.memory.available,
        disk_free=machine.disk.free,
    )


def judge(position: Position, machine: HardwareReport) -> Position:
    """The position with its verdict: the first thing that does not fit at all, else the first that fits only if other
    programs are closed.
    """
    if position.error is not None:
        return replace(position, verdict="no", limit="unknown")
    memory = machine.memory
    most = int(memory.total * _SHARE)
    hard: list[tuple[Limit, int, int]] = [
        ("run_memory", position.memory, most),
        ("work_memory", position.work_memory, most),
        ("budget", position.work_memory, position.budget or most),
        ("disk", position.disk, machine.disk.free),
    ]
    soft: list[tuple[Limit, int, int]] = [
        ("work_memory", position.work_memory, memory.available),
        ("run_memory", position.memory, memory.available),
    ]
    checks: list[tuple[Verdict, list[tuple[Limit, int, int]]]] = [("no", hard), ("if", soft)]
    for verdict, limits in checks:
        for limit, needed, there in limits:
            if needed > there:
                return replace(position, verdict=verdict, limit=limit, needed=needed, there=there)
    return replace(position, verdict="fits", limit="")
