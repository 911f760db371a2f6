"""What loads teach the planner, in the real engine process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from app.benchmarks import plan as bench
from app.cli import run_command
from backend.config.paths import Paths
from backend.planner.learned import Learned
from tests.journeys.person import Person, play

pytestmark = [pytest.mark.journey, pytest.mark.model]


def test_an_answer_teaches_what_the_model_takes(home: Paths, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        person.brief(40)
        answer = await person.answered("Tell me a story of a lighthouse, a storm and a jar.")
        assert answer.stats is not None
        assert answer.stats.completion_tokens == 40
        await person.until(home.learned.exists)

    play(qapp, act)
    (one,) = Learned(home.learned).all()
    assert one.engine == "llama.cpp"
    assert one.token_s > 0
    assert 0.6 < one.predicted / one.measured < 1.6


def test_predictions_are_measured_and_get_better(
    home: Paths, smollm2_pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "_CONTEXTS", (512,))
    assert run_command(["bench", "plan", "--build", str(smollm2_pack), "--json"]) == 0
    out = capsys.readouterr().out
    assert "configuration" in out
    found = json.loads(out.splitlines()[-1])
    first, second = found["rows"]
    assert [first["memory_known_from"], second["memory_known_from"]] == ["", "model"]
    assert second["predicted_mb"] == pytest.approx(second["measured_mb"], rel=0.05)  # the bar of the plan
    assert first["predicted_mb"] == pytest.approx(first["measured_mb"], rel=0.25)
    assert found["memory_error_max"] <= 0.05
    assert not home.learned.exists()  # what a benchmark sees stays in its own folder
