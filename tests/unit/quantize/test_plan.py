"""Plans: bytes by arithmetic, seconds that the work corrects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.api.errors import MemoryShortageError
from backend.quantize.levels import level_for, level_recipe
from backend.quantize.options import LEVELS
from backend.quantize.plan import SEVEN_B, Piece, Plan, Sizes, level_bytes, memory_of, pieces_of, table_bytes
from backend.quantize.prepare import inspect
from backend.quantize.protect import protected
from tests.unit.quantize.compressing import CONFIG, QWEN, options, run, write_model

HALF_B = Sizes(((896, (896, 128, 128)), (896, (896,)), (896, (4864, 4864)), (4864, (896,))), 24, 896, 151936, 896, True)
FLOPS = 2e11


def _plan(*levels: str, sizes: Sizes = HALF_B) -> Plan:
    return Plan.of(
        pieces_of(sizes, options(*levels, tokens=16384, sequence=1024), head="q4", embedding="q4", flops=FLOPS)
    )


def _work(plan: Plan, number: int, slow: dict[str, float]) -> float:
    """Does a block in `slow[family]` times the guess; returns the seconds."""
    total = 0.0
    for piece in [piece for piece in plan if piece.key.startswith(f"{number}/")]:
        seconds = piece.seconds * slow[piece.family]
        plan.finish(piece.key, seconds)
        total += seconds
    return total


def _blocks(plan: Plan) -> float:
    return sum(plan.predicted(piece) for piece in plan if "/" in piece.key)


@pytest.mark.parametrize("level", ["aqlm-2x8", "spqr-3"])
def test_after_the_first_block_the_rest_is_known(level: str) -> None:
    plan = _plan(level)
    slow = {"forward": 2.5, level: 0.4, f"{level} cold": 3.0}
    before = _blocks(plan)
    _work(plan, 0, slow)
    said = _blocks(plan)
    real = sum(_work(plan, number, slow) for number in range(1, 24))
    assert said == pytest.approx(real, rel=0.1)
    assert before != pytest.approx(real, rel=0.25)  # the guess was another one


def test_seconds_that_were_spent_are_spent() -> None:
    plan = _plan("q8")
    plan.finish("check", 3.0)
    plan.finish("check", 100.0)  # done already
    plan.finish("no such piece", 100.0)
    assert plan.spent == 3.0
    assert plan.total == plan.spent + plan.left
    for piece in list(plan):
        plan.finish(piece.key, 0.0)
    assert (plan.spent, plan.left) == (3.0, 0.0)


def test_what_an_earlier_run_did_counts_as_done() -> None:
    """Else the bar falls back when work goes on."""
    whole, rest = _plan("aqlm-2x8"), _plan("aqlm-2x8")
    slow = {"forward": 2.5, "aqlm-2x8": 0.4, "aqlm-2x8 cold": 3.0}
    for number in range(12):
        _work(whole, number, slow)
    rest.learn(whole.rates())
    for piece in [piece for piece in rest if piece.key.partition("/")[0] in map(str, range(12))]:
        rest.finish(piece.key, 0.0)
    assert rest.spent == 0.0
    assert rest.before == pytest.approx(whole.spent, rel=0.1)
    assert rest.total == pytest.approx(whole.left)


def test_rates_survive_an_interruption() -> None:
    first, second = _plan("aqlm-2x8"), _plan("aqlm-2x8")
    slow = {"forward": 2.5, "aqlm-2x8": 0.4, "aqlm-2x8 cold": 3.0}
    _work(first, 0, slow)
    second.learn(first.rates())
    for piece in [piece for piece in second if piece.key.startswith("0/")]:
        second.finish(piece.key, 0.0)
    assert second.left == pytest.approx(first.left)
    fresh = _plan("aqlm-2x8")
    for strange in (None, {}, {"kinds": 3}, {"kinds": {"a": "b"}, "families": {}, "all": {}}):
        _plan("aqlm-2x8").learn(strange)
    assert fresh.left == pytest.approx(_plan("aqlm-2x8").left)


def test_a_machine_of_twice_the_speed_halves_the_time() -> None:
    plan = _plan("aqlm-2x8")
    pieces = list(_plan("aqlm-2x8", sizes=SEVEN_B))
    assert plan.on_another_machine(pieces, 2) == pytest.approx(plan.on_another_machine(pieces, 1) / 2)
    assert plan.on_another_machine(pieces, 1) > 5 * plan.total


def test_every_level_has_a_rate_and_a_size() -> None:
    sizes = [level_bytes(HALF_B, level) for level in LEVELS]
    assert sizes == sorted(sizes)  # LEVELS goes from the smallest to the largest
    for level in LEVELS:
        assert all(isinstance(piece, Piece) and piece.seconds > 0 for piece in _plan(level))


def test_more_of_everything_takes_more_memory() -> None:
    def memory(sizes: Sizes, **changes: int) -> int:
        return memory_of(sizes, options("q8"), table=1 << 28, batch=changes.get("batch", 2048))

    assert memory(HALF_B) < 4 << 30  # what a machine of 8 GB can give
    assert memory(HALF_B) < memory(HALF_B, batch=16384)
    assert memory(SEVEN_B) > 2 * memory(HALF_B)


@pytest.mark.parametrize(
    ("level", "tight", "tuning"),
    [("spqr-3", False, "none"), ("spqr-3", True, "none"), ("aqlm-2x8", True, "none"), ("aqlm-2x8", True, "block")],
)
def test_the_memory_that_was_said_is_not_exceeded(level: str, tight: bool, tuning: str, tmp_path: Path) -> None:
    """In a process of its own, with a budget to the byte: as it would be without one, and the least there is."""
    pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")
    if sys.platform != "linux":
        pytest.skip("the peak of a process is read from /proc")
    wide = {**CONFIG, "hidden_size": 512, "intermediate_size": 4096, "num_attention_heads": 8, "head_dim": 64}
    wide |= {"vocab_size": 8192, "num_key_value_heads": 8}
    if tuning != "none":  # the backward of a text is what counts, and it takes long
        wide |= {"intermediate_size": 2048, "num_hidden_layers": 1}
    source = write_model(tmp_path / "source", wide)
    chosen = {"tokens": 8 * 512, "sequence": 512, "tuning": tuning}
    roomy, least = (inspect(source, options(level, **chosen, memory=m)).memory for m in (8 << 30, 1))
    assert least < roomy or tuning != "none"
    needed = least if tight else roomy
    code = """
import sys
from pathlib import Path
from backend.quantize import compress
from tests.unit.quantize import compressing as small
compress.read_texts = small.random_texts
chosen = small.options(sys.argv[3], memory=int(sys.argv[4]), tokens=4096, sequence=512, tuning=sys.argv[5])
small.run(Path(sys.argv[1]), Path(sys.argv[2]), chosen)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out"), level, str(needed), tuning]
    peak = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) * 1024
    assert peak <= needed, (peak / 1e6, needed / 1e6)
    if tight:
        with pytest.raises(MemoryShortageError, match=rf"Allow it {-(-least >> 20)}M") as caught:
            run(source, tmp_path / "less", options(level, **chosen, memory=needed - 1))
        assert ("without tuning" in caught.value.remedy) == (tuning != "none")


@pytest.mark.parametrize("level", [*LEVELS])
def test_builds_are_as_large_as_was_said(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")
    from backend.quantize import compress
    from tests.unit.quantize.compressing import random_texts

    monkeypatch.setattr(compress, "read_texts", random_texts)
    source = write_model(tmp_path / "source", CONFIG)
    estimate = inspect(source, options(level))
    built = run(source, tmp_path / "out", options(level))
    linears = sum(row.bits * row.weights / 8 for row in built.rows)
    assert linears <= estimate.bytes
    assert estimate.bytes < 1.6 * linears + (64 << 10) * 16  # tiny matrices are mostly codebooks
    assert estimate.levels[0].level == level
    assert estimate.threads == 1
    assert estimate.disk > 2 * estimate.bytes
    assert estimate.seconds > 0
    assert estimate.seconds_7b > 0


def test_a_tied_table_is_counted_once(tmp_path: Path) -> None:
    estimate = inspect(write_model(tmp_path / "source", QWEN), options("q8"))
    twice = inspect(write_model(tmp_path / "two", {**QWEN, "tie_word_embeddings": False}), options("q8"))
    assert twice.bytes - estimate.bytes == table_bytes(_tiny(False), "q8", "q8") - table_bytes(_tiny(True), "q8", "q8")


def _tiny(tied: bool) -> Sizes:
    return Sizes(((64, (64,)),), 1, 64, 96, 64, tied)


def test_levels() -> None:
    assert level_recipe("aqlm-1x8").bits == 1
    assert level_recipe("aqlm-3x8").number == 3
    assert level_for("aqlm-2x8", 64) == "aqlm-2x8"
    assert level_for("aqlm-2x8", 60) == "q8"
    assert level_for("spqr-3", 72) == "q8"


def test_what_is_protected() -> None:
    groups = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
    assert protected(groups, ("down",), 24.6)
    assert not protected(groups, ("down",), 5.0)
    assert not protected(groups, ("o",), 24.6)
