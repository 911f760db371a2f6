"""The view model of compressions over a fake engine, and the words it is shown in."""

from __future__ import annotations

import pytest

from backend.api.compression import Answer, CompressionOptions, PlanCompression, Position
from backend.api.errors import NotFoundError
from backend.api.schemas import ErrorInfo
from tests.fakes.client import FakeClient
from tests.fakes.compression_client import fake_compression, fake_positions
from tests.ui.shell.support import Loop
from tests.ui.wizard.conftest import ORIGINAL
from ui.bridge.engine_link import EngineLink
from ui.viewmodels import compression_words as words
from ui.viewmodels.compression_session import CompressionSession


class Heard:
    """What the session said."""

    def __init__(self, session: CompressionSession) -> None:
        self.problems: list[ErrorInfo] = []
        self.ended: list[str] = []
        self.unfinished: list[str] = []
        session.problem.connect(self.problems.append)
        session.ended.connect(lambda one: self.ended.append(one.state))
        session.unfinished_found.connect(lambda one: self.unfinished.append(one.name))


@pytest.fixture
def session(link: EngineLink) -> CompressionSession:
    return CompressionSession(link)


def ready(loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession) -> None:
    link.attach(fake)
    session.refresh()
    loop.until(lambda: session.status is not None and session.sources is not None)


def plan(loop: Loop, session: CompressionSession) -> None:
    session.make_plan(PlanCompression(path=ORIGINAL.path), ORIGINAL.name)
    loop.until(lambda: session.plan is not None)


def start(loop: Loop, session: CompressionSession) -> None:
    plan(loop, session)
    assert session.plan is not None
    session.start(session.plan.source, ["aqlm-2x8"], CompressionOptions(), "Mine")
    loop.until(lambda: session.running is not None)


def test_only_the_status_is_read_unasked(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    link.attach(fake)
    loop.until(lambda: session.status is not None)
    assert fake.called("compression")
    assert not fake.called("compression_sources")
    assert session.installed


def test_a_refresh_before_the_engine_is_there_is_done_when_it_comes(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    session.refresh()
    link.attach(fake)
    loop.until(lambda: session.sources is not None)
    assert {one.reason for one in session.sources or []} == {"", "architecture", "damaged"}


def test_the_way_of_a_compression(loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession) -> None:
    heard = Heard(session)
    ready(loop, link, fake, session)
    start(loop, session)
    assert session.current is not None
    assert session.current.name == "Mine"
    assert session.fraction is None
    fake.compression_moved(0.5)
    loop.until(lambda: session.fraction == 0.5)
    assert session.progress is not None
    assert len(session.progress.errors) == 98
    fake.compression_ended()
    loop.until(lambda: heard.ended)
    assert heard.ended == ["finished"]
    assert session.current.result is not None
    assert session.job is None
    session.compare(session.current.id)
    loop.until(lambda: fake.called("compare_compression"))
    assert session.comparing
    fake.compared([Answer(prompt="Why?", source="a", build="b")])
    loop.until(lambda: session.answers)
    assert not session.comparing
    assert session.answers[0].build == "b"


def test_pause_go_on_and_delete(loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession) -> None:
    heard = Heard(session)
    ready(loop, link, fake, session)
    start(loop, session)
    fake.compression_moved(0.25)
    loop.until(lambda: session.fraction == 0.25)
    session.pause()
    assert session.stopping
    session.pause()  # once is enough
    loop.until(lambda: heard.ended == ["paused"])
    assert not session.stopping
    assert len(fake.called("pause_compression")) == 1
    [left] = session.unfinished
    assert words.state_words(left) == "Paused at 25 %"
    session.resume(left.id)
    loop.until(lambda: session.running is not None)
    session.delete(left.id)
    loop.until(lambda: session.status is not None and not session.status.compressions)
    assert session.shown == ""
    assert heard.ended == ["paused"]


def test_an_unfinished_one_is_told_once(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    heard = Heard(session)
    fake.compressions = [fake_compression("left", state="interrupted"), fake_compression("kept", state="paused")]
    ready(loop, link, fake, session)
    session.refresh()
    session.refresh()
    loop.until(lambda: len(fake.called("compression")) >= 3)
    loop.turn(5)
    assert heard.unfinished == ["left"]
    assert {one.name for one in session.unfinished} == {"left", "kept"}


def test_one_that_runs_already_is_followed(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    record = fake_compression(done=400.0)
    record.job = "j" * 32
    fake.compressions = [record]
    link.attach(fake)
    loop.until(lambda: session.running is not None)
    assert session.fraction == pytest.approx(400 / 1620)
    fake.compression_moved(0.5)
    loop.until(lambda: session.fraction == 0.5)
    fake.compression_ended("failed", ErrorInfo(code="disk_full", what="The disk is full."))
    heard = Heard(session)
    loop.until(lambda: heard.ended == ["failed"])


def test_a_plan_that_is_not_waited_for_does_not_come(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    ready(loop, link, fake, session)
    session.make_plan(PlanCompression(path=ORIGINAL.path), ORIGINAL.name)
    assert session.planning == ORIGINAL.name
    session.forget_plan()
    loop.until(lambda: fake.called("plan_compression"))
    loop.turn(5)
    assert (session.plan, session.planning) == (None, "")


def test_refusals(loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession) -> None:
    heard = Heard(session)
    ready(loop, link, fake, session)
    session.make_plan(PlanCompression(path="nowhere"), "nowhere")
    loop.until(lambda: session.plan_error is not None)
    assert session.planning == ""
    fake.failures["resume_compression"] = NotFoundError("It is gone.")
    session.resume("0" * 32)
    loop.until(lambda: heard.problems)
    assert heard.problems[0].what == "It is gone."


def test_a_dead_engine_stops_the_waiting(
    loop: Loop, link: EngineLink, fake: FakeClient, session: CompressionSession
) -> None:
    ready(loop, link, fake, session)
    start(loop, session)
    fake.die()
    link.detach("The engine stopped.")
    assert session.job is None
    assert not session.ready


# Words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3, "less than a minute"), (60, "about a minute"), (250, "about 4 minutes"), (1620, "about 25 minutes"),
        (5300, "about 90 minutes"), (5500, "about 1.5 hours"), (7200, "about 2 hours"), (40000, "about 11 hours"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("tok_s", "said"), [(0, ""), (4.14, "about 4.1 tok/s"), (41.3, "about 41 tok/s"), (173, "about 170 tok/s")]
)
def test_speeds(tok_s: float, said: str) -> None:
    assert words.speed(tok_s) == said


def test_quality_gets_weaker_in_steps() -> None:
    said = [words.quality_words(growth) for growth in (0.0, 0.015, 0.06, 0.2, 0.6, 3.0)]
    assert len(set(said)) == 6
    assert words.quality_words(None) == "Not known yet"
    assert words.quality_words(0.0) == words.quality_words(0.003)


def test_expectations_are_marked_as_such() -> None:
    for position in fake_positions():
        assert words.loss_words(position).startswith("Expected")
    assert "not" not in words.loss_words(Position(level="spqr-3", bytes=1, loss_low=2.0, loss_high=9.0))
    assert "measured" in words.loss_words(Position(level="spqr-3", bytes=1))


@pytest.mark.parametrize("limit", ["run_memory", "work_memory", "budget", "disk"])
def test_every_limit_has_its_sentence_with_both_sizes(limit: str) -> None:
    position = Position(level="q8", bytes=1, verdict="no", limit=limit, needed=9_400_000_000, there=6_100_000_000)  # type: ignore[arg-type]
    assert "9.4 GB" in words.limit_words(position)
    assert "6.1 GB" in words.limit_words(position)
