"""`nutshell bench speculate`: its prompts, and how its figures are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.benchmarks.disk import DiskWatch
from app.benchmarks.speculate import read_prompts, summary
from app.benchmarks.turns import Answer, answer
from backend.api.errors import InvalidRequestError
from backend.speculative.decoder import Speculation
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
    good = Answer(40, 4.0, 2.0, passes=16, drafted=60, accepted=24, bookkeeping_s=0.02, model_s=0.5)
    poor = Answer(10, 1.0, 2.0, passes=8, drafted=4, accepted=2, parted=[0.01, 0.2])
    figures = summary([good, good, poor])
    assert (figures["ratio"], figures["worst"], figures["total"]) == (2.0, 0.5, 1.5)
    assert figures["tokens_per_pass"] == 2.25
    assert figures["acceptance"] == round(50 / 124, 3)
    assert figures["bookkeeping"] == round(0.04 / 6, 4)
    assert figures["draft_model"] == round(1 / 6, 4)
    assert (figures["parted"], figures["widest_tie"]) == (2, 0.2)


@pytest.mark.parametrize("tokens", [1, 23, 24, 60])
def test_an_answer_is_written_twice_and_leaves_the_cache_of_plain_decoding(tokens: int) -> None:
    model = ToyModel(n_ctx=200)
    found = answer(model, Speculation(model, fixed=4), "25252", tokens)
    assert found.tokens == tokens
    assert found.passes + found.accepted == tokens
    assert found.passes < tokens or tokens == 1
    assert found.plain_s > 0
    assert found.drafted_s > 0
    assert not found.parted
    plain = ToyModel(n_ctx=200)
    answer(plain, Speculation(plain), "25252", tokens)
    assert plain.cache == model.cache
    assert len(model.cache) == 5 + tokens


def test_an_answer_ends_where_the_context_is_full() -> None:
    model = ToyModel(n_ctx=40)
    found = answer(model, Speculation(model, fixed=4), "25252", 500)
    assert 30 <= found.tokens <= 35


class Disk:
    """A stream of 1 GB that gives `alone` bytes a second in passes of nothing else."""

    pass_bytes, ring_bytes, direct = 10**9, 20_000_000, True

    def __init__(self, *alone: float) -> None:
        self.alone = list(alone)
        self.read, self.busy = 0, 0.0

    def counts(self) -> tuple[int, float, float]:
        return self.read, self.busy, self.busy / 2

    def pass_through(self) -> None:
        self.stream(self.alone[0])

    def stream(self, rate: float) -> None:
        self.read += self.pass_bytes
        self.busy += self.pass_bytes / rate


def test_the_share_of_the_disk_is_that_of_its_rate_at_the_same_time() -> None:
    disk: Any = Disk(2e9)
    watch = DiskWatch(disk)
    for rate, after in ((1.35e9, 1e9), (1.8e9, 3e9), (2.0e9, 2e9)):
        disk.stream(rate)
        disk.alone = [after]
        watch.look()
    disk.alone = [2e9]
    watch.look()  # an answer without reads does not count
    found = watch.found()
    assert found["of_disk"] == 0.9  # 1.35 of 1.5, 1.8 of 2.0, 2.0 of 2.5
    assert found["of_disk_worst"] == 0.8
    assert (found["disk_mb_s"], found["streaming_mb_s"]) == (2000.0, 1800.0)
    assert found["capped_mb_s"] is None


def test_a_stream_that_is_held_is_measured_by_what_it_is_held_at() -> None:
    disk: Any = Disk(2e9)
    watch = DiskWatch(disk, 1e9)
    disk.stream(0.95e9)
    watch.look()
    assert watch.found()["of_disk"] == 0.95
    assert watch.found()["capped_mb_s"] == 1000.0
