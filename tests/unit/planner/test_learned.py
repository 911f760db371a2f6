"""What loads teach: nearest first, never piled up, bounded, and no damage to the file stops anything."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from backend.api.schemas import LoadedModel, ModelEntry, Sampling, TurnStats
from backend.planner.learned import Correction, Learned, Observation, Passed
from backend.planner.observing import Observer, Seen, observation
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.speed import Rates, pass_seconds
from backend.planner.subject import subject_of_file

MB = 1 << 20
PROBED = Rates(ram=20e9, disk=1e9)


def _seen(model: str = "a", scheme: str = "q4", engine: str = "native", **more: float) -> Observation:
    facts = {"predicted": 100 * MB, "measured": 110 * MB, "read": 50 * MB, "token_s": 0.01, "besides": 0.0}
    facts |= {"multiplying": 0.0, "prefill": 4e10, **more}
    return Observation(engine=engine, scheme=scheme, model=model, threads=2, **facts)  # type: ignore[arg-type]


@pytest.fixture
def learned(tmp_path: Path) -> Learned:
    return Learned(tmp_path / "folder" / "learned.json")


def test_nothing_is_known_at_first(learned: Learned) -> None:
    assert learned.about("native", "q4", "a") == Correction()


def test_the_nearest_is_believed(learned: Learned) -> None:
    learned.add(_seen("a", "q4", measured=110 * MB))
    learned.add(_seen("b", "aqlm-2x8", measured=130 * MB, token_s=0.02))
    same = learned.about("native", "q4", "a")
    assert (same.memory, same.of_memory, same.of_speed) == (10 * MB, "model", "model")
    assert same.rates(PROBED) == Rates(ram=50 * MB / 0.01, disk=1e9, fixed=0.0)
    other = learned.about("native", "aqlm-2x8", "new")
    assert (other.memory, other.of_memory, other.of_speed) == (30 * MB, "scheme", "scheme")
    assert other.rates(PROBED).ram == 50 * MB / 0.02
    assert learned.about("native", "spqr-3", "new").of_memory == "engine"
    assert learned.about("llama.cpp", "q4", "a") == Correction()


def test_a_speed_that_was_not_seen_does_not_count(learned: Learned) -> None:
    learned.add(_seen("a", token_s=0.0, prefill=0.0))
    learned.add(_seen("b", token_s=0.02, prefill=2e10))
    found = learned.about("native", "q4", "a")
    assert (found.of_memory, found.of_speed) == ("model", "scheme")
    assert (found.rates(PROBED).ram, found.core) == (50 * MB / 0.02, 2e10)


def test_what_is_not_reading_says_nothing_of_the_memory_s_speed(learned: Learned) -> None:
    learned.add(_seen("a", besides=0.002))
    assert learned.about("native", "q4", "a").rates(PROBED).ram == pytest.approx(50 * MB / 0.008)
    learned.add(_seen("b", "other", besides=0.05))  # reckoned on a slower processor: more than it took in all
    assert learned.about("native", "other", "b").rates(PROBED).ram == pytest.approx(50 * MB / 0.005)


def test_nothing_learned_leaves_what_was_probed() -> None:
    assert Correction().rates(PROBED) is PROBED


@pytest.mark.parametrize(
    ("pass_", "ram", "slower"),
    [
        (Passed(0.05, 10**9, 0.02), 20e9, 1.0),  # it waited for the memory, which is as slow as probed
        (Passed(0.10, 10**9, 0.02), 10e9, 1.0),
        (Passed(0.12, 10**9, 0.08), 20e9, 1.5),  # it waited for arithmetic; of the memory it says nothing
        (Passed(0.04, 10**9, 0.05), 25e9, 0.8),  # quicker than either was thought to be
        (Passed(0.03, 10**9, 0.04), 10**9 / 0.03, 0.75),
        (Passed(0.06, 10**9, 0.06), 20e9, 1.0),
    ],
)
def test_a_pass_teaches_what_it_waited_for(pass_: Passed, ram: float, slower: float) -> None:
    found = Correction(passes=(pass_,), of_speed="scheme").rates(PROBED)
    assert (found.ram, found.slower) == (pytest.approx(ram), pytest.approx(slower))
    again = pass_seconds(pass_.read, 0, 0, found, pass_.multiplying)
    assert again == pytest.approx(pass_.seconds)  # and seen again it is predicted


def test_a_model_that_computes_says_little_of_one_that_reads() -> None:
    """On cores that take twice as long as ours: a type that is quick to unpack waits for the memory all the same."""
    learned = Correction(passes=(Passed(0.2, 10**9, 0.1),), of_speed="engine").rates(PROBED)
    assert pass_seconds(10**9, 0, 0, learned, 0.02) == pytest.approx(0.05)
    assert pass_seconds(10**9, 0, 0, learned, 0.04) == pytest.approx(0.08)


@pytest.mark.parametrize("field", ["besides", "multiplying"])
def test_a_file_from_before_it_was_kept_is_passed_over(learned: Learned, tmp_path: Path, field: str) -> None:
    learned.add(_seen())
    file = tmp_path / "folder" / "learned.json"
    file.write_text(file.read_text().replace(f'"{field}":0.0,', ""))
    assert learned.all() == []


def test_one_odd_load_changes_little_and_old_ones_are_forgotten(learned: Learned) -> None:
    for number in range(12):
        learned.add(_seen("a", measured=(400 if number == 5 else 104) * MB))
    assert learned.about("native", "q4", "a").memory == 4 * MB
    assert len(learned.all()) == 8
    for number in range(300):
        learned.add(_seen(f"m{number}"))
    assert len(learned.all()) == 200


def test_a_correction_is_never_more_than_half_of_the_prediction(learned: Learned) -> None:
    learned.add(_seen("a", measured=900 * MB))
    assert learned.about("native", "q4", "a").memory == 50 * MB


@pytest.mark.parametrize("content", [b"", b"{", b'[{"engine": 3}]', b"\xff\x00"])
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(content)
    learned = Learned(path)
    assert learned.all() == []
    learned.add(_seen())
    assert len(learned.all()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Learned(tmp_path / "file" / "learned.json").add(_seen())


def test_a_load_that_took_more_makes_the_next_prediction_higher(tiny_pack: Path, learned: Learned) -> None:
    subject = subject_of_file(tiny_pack)
    machine = Machine(cores=2, memory_total=1 << 40, memory_free=1 << 40, rates=Rates(ram=1e9))
    before = plan(subject, machine, Wishes(context=512, kv="f16"))
    held = before.memory.total + 7 * MB
    seen = Seen(read=400, read_s=0.5, token_s=0.004)
    learned.add(observation(subject, 2, 512, "f16", held, seen, used=512))
    known = learned.about("native", subject.scheme, subject.name)
    wishes = Wishes(context=512, kv="f16", filled=1.0, prompt=400, learned=known)
    after = plan(subject, machine, wishes)
    assert after.memory.total == held
    assert after.speed.tokens == pytest.approx(250)
    assert (after.speed.low, after.speed.high) == (pytest.approx(200), pytest.approx(300))
    assert after.speed.prefill == pytest.approx(800)
    # seen again with the correction at work: it is compared with the uncorrected prediction, and does not grow
    learned.add(observation(subject, 2, 512, "f16", held, seen, used=512))
    assert learned.about("native", subject.scheme, subject.name).memory == 7 * MB


def test_a_file_from_before_disks_were_kept_is_read(learned: Learned, tmp_path: Path) -> None:
    learned.add(_seen())
    file = tmp_path / "folder" / "learned.json"
    file.write_text(file.read_text().replace(',"disk":false,"draft":"","speedup":0.0', ""))
    assert "disk" not in file.read_text()
    assert learned.all() == [_seen()]


def test_only_cells_in_use_count_in_our_engine(tiny_pack: Path) -> None:
    subject = subject_of_file(tiny_pack)
    few, many = (observation(subject, 1, 2048, "f16", 0, Seen(), used=used).predicted for used in (64, 2048))
    assert few < many


def _loaded(path: Path, **more: object) -> LoadedModel:
    entry = ModelEntry(id="tiny", name="tiny", path=str(path), source="file", bytes=path.stat().st_size)
    facts: dict[str, object] = {"n_ctx": 512, "n_threads": 2, "n_gpu_layers": 0, "n_vocab": 300, "sampling": Sampling()}
    facts |= {"weight_bytes": 1, "kv_bytes": 1, "load_s": 0.1, "kv": "f16", **more}
    return LoadedModel(entry=entry, **facts)  # type: ignore[arg-type]


class TestObserver:
    @pytest.fixture
    def observer(self, learned: Learned) -> Observer:
        self.asked_on: list[str] = []

        def held(model: Path) -> int:
            assert model.is_file()
            self.asked_on.append(threading.current_thread().name)
            return 123 * MB

        return Observer(learned, held)

    def test_the_first_telling_answer_of_a_load_is_noted(
        self, tiny_pack: Path, learned: Learned, observer: Observer
    ) -> None:
        loaded = _loaded(tiny_pack)
        observer.answered(loaded, TurnStats(completion_tokens=5, tok_s=100.0))
        observer.answered(loaded, TurnStats(prompt_tokens=50, completion_tokens=40, tok_s=100.0, context_used=90))
        observer.answered(loaded, TurnStats(prompt_tokens=50, completion_tokens=40, tok_s=10.0, context_used=90))
        observer.close()
        (one,) = learned.all()
        assert (one.measured, one.token_s, one.prefill) == (123 * MB, 0.01, 0.0)
        assert self.asked_on[0] != threading.current_thread().name

    def test_a_disk_teaches_nothing_of_the_memory(self, tiny_pack: Path, learned: Learned, observer: Observer) -> None:
        loaded = replace(_loaded(tiny_pack), streamed_bytes=8 * MB)
        observer.answered(loaded, TurnStats(prompt_tokens=50, completion_tokens=40, tok_s=16.0, speedup=2.0, passes=39))
        observer.close()
        subject = subject_of_file(tiny_pack)
        found = learned.about("native", subject.scheme, subject.name)
        assert found == Correction(disk=64 * MB)
        assert found.rates(PROBED) == dataclasses.replace(PROBED, disk=64 * MB)
        assert learned.about("native", subject.scheme, "another") == Correction()
        assert self.asked_on == []

    def test_guesses_before_the_disk_are_known_by_the_model_that_made_them(
        self, tiny_pack: Path, tiny_gguf: Path, learned: Learned, observer: Observer
    ) -> None:
        loaded = replace(_loaded(tiny_pack), streamed_bytes=8 * MB, draft_model=str(tiny_gguf), draft_bytes=MB)
        for speedup in (2.0, 5.0, 3.0):
            stats = TurnStats(completion_tokens=40, tok_s=16.0, speedup=speedup, accepted=9)
            observer.answered(replace(loaded), stats)
        observer.close()
        subject = subject_of_file(tiny_pack)
        known = learned.about("native", subject.scheme, subject.name)
        assert known.guessed == {subject_of_file(tiny_gguf).name: 3.0}

    @pytest.mark.parametrize("streamed", [0, 8 * MB])
    def test_guesses_with_no_figure_beside_them_teach_nothing(
        self, tiny_pack: Path, learned: Learned, observer: Observer, streamed: int
    ) -> None:
        loaded = replace(_loaded(tiny_pack), streamed_bytes=streamed)
        observer.answered(loaded, TurnStats(completion_tokens=40, tok_s=16.0, accepted=20))
        observer.close()
        assert learned.all() == []

    def test_guesses_are_taken_out_of_the_speed(self, tiny_pack: Path, learned: Learned, observer: Observer) -> None:
        stats = TurnStats(
            prompt_tokens=300, prefill_tok_s=600.0, completion_tokens=40, tok_s=100.0, speedup=2.0, context_used=340
        )
        observer.answered(_loaded(tiny_pack), stats)
        observer.close()
        (one,) = learned.all()
        assert one.token_s == 0.02
        # a little of the time was attention
        assert one.prefill == pytest.approx(600 * subject_of_file(tiny_pack).architecture.active / 2, rel=1e-3)
        assert one.prefill > 600 * subject_of_file(tiny_pack).architecture.active / 2

    def test_a_file_that_is_gone_is_no_error(self, tiny_pack: Path, learned: Learned, observer: Observer) -> None:
        loaded = _loaded(tiny_pack)
        loaded.entry.path = str(tiny_pack.with_name("gone.nutshell"))
        observer.answered(loaded, TurnStats(prompt_tokens=50, completion_tokens=40, tok_s=100.0, context_used=90))
        observer.close()
        assert learned.all() == []
