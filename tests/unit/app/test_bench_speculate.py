"""`nutshell bench speculate`: its prompts, and how its figures are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.benchmarks.speculate import Answer, answer, read_prompts, summary
from backend.api.errors import InvalidRequestError
from backend.speculative.decoder import DraftStats, Speculation
from tests.unit.speculative.toys import ToyModel

PROMPTS = Path(__file__).parents[2] / "data" / "speculation.json"


def test_there_are_six_classes_of_at_least_ten_different_prompts() -> None:
    classes = read_prompts(PROMPTS)
    assert set(classes) == {"code edit", "code completion", "summarise", "attachment", "chat prose", "story"}
    assert all(len(set(prompts)) >= 10 for prompts in classes.values())


@pytest.mark.parametrize("content", [None, "", "[]", '{"texts": {}, "prompts": [{"class": "a", "attach": "b"}]}'])
def test_what_is_not_a_file_of_prompts_is_a_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "prompts.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_prompts(path)


def test_the_figures_of_a_class() -> None:
    plain = Answer(11, "a", 0.5, 1.0, DraftStats(passes=10))
    drafted = Answer(11, "a", 0.6, 0.5, DraftStats(passes=4, drafted=12, accepted=6, draft_s=0.01))
    figures = summary([(plain, drafted), (plain, drafted)])
    assert figures["ratio"] == 2.0
    assert figures["tokens_per_pass"] == 2.5
    assert figures["acceptance"] == 0.5
    assert figures["ttft_ratio"] == 1.2
    assert figures["draft_share"] == 0.02
    assert figures["same"] == "2 of 2"


def test_an_answer_is_counted_and_timed() -> None:
    model = ToyModel()
    found = answer(model, Speculation(model, fixed=4), "25252", 30)
    assert found.tokens == 30
    assert found.drafts.passes + found.drafts.accepted == 29
    assert found.first_s > 0
    assert found.rest_s > 0
