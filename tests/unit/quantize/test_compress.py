"""The compressor from end to end, on models of a few kilobytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")
import torch

from backend.api.errors import (
    ConflictError,
    DiskFullError,
    InvalidModelFileError,
    InvalidRequestError,
    MemoryShortageError,
    NutshellError,
    UnsupportedModelError,
)
from backend.formats.checkpoint import open_checkpoint
from backend.formats.pack import PackCheckpoint
from backend.hub.stores import from_folder
from backend.quantize import compress as module
from backend.quantize import gate, prepare, run_blocks, run_tuning
from backend.quantize.evaluation_text import refuse_learned
from backend.quantize.graph import open_graph
from backend.quantize.layer import relative_error
from backend.quantize.options import Progress
from backend.quantize.states import States, Texts
from backend.quantize.store import Pieces, Store
from backend.quantize.torch_blocks import BlockWeights, load_block, run_block, table_rows, tail_hidden
from backend.quantize.tuning.end_to_end import TunedModel
from kernels import reference
from tests.formats.tiny_hf import CONFIG, write_folder
from tests.unit.quantize import compressing
from tests.unit.quantize.compressing import QWEN, options, run, write_model

READ_TEXTS = module.read_texts
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 64}
LEVELS = ("aqlm-1x8", "aqlm-2x8", "aqlm-3x8", "spqr-3", "aqlm-4x8", "spqr-4", "q8")


@pytest.fixture(autouse=True)
def _random_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_texts", compressing.random_texts)


@pytest.fixture(params=["llama", "qwen2"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_model(tmp_path / "source", CONFIG if request.param == "llama" else QWEN)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_model(tmp_path / "source")


class Stopper:
    """Stops after so many words; keeps all of them."""

    def __init__(self, after: int = 1 << 30) -> None:
        self.after = after
        self.told: list[Progress] = []

    def __call__(self, now: Progress) -> bool:
        self.told.append(now)
        return len(self.told) <= self.after


# -- what comes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_build_of_every_level(source: Path, tmp_path: Path, level: str) -> None:
    built = run(source, tmp_path / "out", options(level))
    assert built.path == tmp_path / "out.nutshell"
    build, original = open_checkpoint(built.path), open_checkpoint(source)
    assert {row.module for row in built.rows} == set(build.linears())
    for row in built.rows:
        table = row.module.endswith(("embed_tokens", "lm_head"))
        packed, dense = build.linear(row.module), original.linear(row.module)
        assert row.level == (packed.scheme if table else level)
        assert ("bias" in packed.buffers) == ("bias" in dense.buffers)
        if "bias" in dense.buffers:
            np.testing.assert_array_equal(packed.buffers["bias"], dense.buffers["bias"])
        weight = reference.dequantize(dense)
        away = np.square(weight - reference.dequantize(packed)).sum() / np.square(weight).sum()
        if level != "aqlm-1x8":  # one bit leaves much to make up for, and the weights that do are others
            assert away < 0.6  # the inputs are random, so weights tell of outputs
        assert row.error is not None
        assert row.error < 0.5
    for name in original.arrays():
        np.testing.assert_array_equal(build.array(name), original.array(name))
    about = PackCheckpoint(built.path).metadata
    assert about["data_free"] is False
    assert about["levels"] == [level]
    assert about["calibration"]["tokens"] == 768
    assert len(about["calibration"]["sha256"]) == 64
    assert about["checked"]["perplexity"] == built.perplexity
    assert "free" not in about
    assert not (tmp_path / "out.nutshell.work").exists()
    assert built.bytes == built.path.stat().st_size


def test_more_bits_are_nearer(llama: Path, tmp_path: Path) -> None:
    errors = []
    for level in ("aqlm-1x8", "spqr-3", "spqr-4", "q8"):
        built = run(llama, tmp_path / level, options(level))
        errors.append(np.mean([row.error for row in built.rows if row.level == level]))
    assert errors == sorted(errors, reverse=True)


def test_a_gguf_file_with_its_tokenizer(tiny_gguf: Path, tmp_path: Path) -> None:
    built = run(tiny_gguf, tmp_path / "out", options("aqlm-2x8", head="q8", embedding="q4"))
    build = open_checkpoint(built.path)
    assert json.loads(build.tokenizer_files()["tokenizer.json"])["model"]["type"] == "BPE"
    assert build.linear("lm_head").scheme == "q8"
    assert build.linear("model.embed_tokens").scheme == "q4"


def test_linears_that_write_massive_activations_are_kept(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_blocks, "protected", lambda groups, group, ratio: "layers.1.mlp.down_proj" in group[0])
    built = run(llama, tmp_path / "out", options("aqlm-2x8"))
    kept = [row for row in built.rows if row.protected]
    assert [(row.module, row.level) for row in kept] == [("model.layers.1.mlp.down_proj", "spqr-4")]
    assert open_checkpoint(built.path).linear(kept[0].module).scheme == "spqr"
    assert PackCheckpoint(built.path).metadata["protected"] == [kept[0].module]
    assert any("4 bits" in note for note in built.notes)
    # levels that do no harm stay, and one that is asked for too stands for both
    store = run(llama, tmp_path / "store", options("spqr-4", "aqlm-2x8", "spqr-3"))
    found = [(row.level, row.protected) for row in store.rows if row.module == kept[0].module]
    assert found == [("spqr-4", False), ("spqr-3", False)]
    free = run(llama, tmp_path / "free", options("aqlm-2x8", protect=False))
    assert not any(row.protected for row in free.rows)


def test_tuned_blocks_are_better_and_resumed(llama: Path, tmp_path: Path) -> None:
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "stopped", "plain")]
    for place in places:
        place.parent.mkdir()
    chosen = options("aqlm-1x8", tuning="block")
    steps = Stopper()
    tuned = run(llama, places[0], chosen, steps)
    assert "tune" in {step.stage for step in steps.told}
    for stage, layer in (("tune", 0), ("tune", 1), ("write", 2)):
        with pytest.raises(InterruptedError):
            run(llama, places[1], chosen, lambda now, at=(stage, layer): at != (now.stage, now.layer))
    run(llama, places[1], chosen)
    assert places[0].read_bytes() == places[1].read_bytes()
    plain = run(llama, places[2], options("aqlm-1x8"))
    first = "model.layers.0.mlp.down_proj"
    one, other = (open_checkpoint(built.path).linear(first).buffers for built in (tuned, plain))
    assert not np.array_equal(one["codebooks"], other["codebooks"])
    norm = "model.layers.0.input_layernorm.weight"
    assert not np.array_equal(open_checkpoint(tuned.path).array(norm), open_checkpoint(plain.path).array(norm))
    assert PackCheckpoint(tuned.path).metadata["tuning"] == "block"


@pytest.mark.parametrize("tuning", ["p", "pv"])
def test_tuning_of_the_whole_is_resumed_and_in_the_file(llama: Path, tmp_path: Path, tuning: str) -> None:
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "stopped", "block")]
    for place in places:
        place.parent.mkdir()
    chosen = options("aqlm-1x8", tuning=tuning)
    steps = Stopper()
    run(llama, places[0], chosen, steps)
    for stage, layer in (("tune", 1), ("tune", 2), ("write", 2)):
        with pytest.raises(InterruptedError):
            run(llama, places[1], chosen, lambda now, at=(stage, layer): at != (now.stage, now.layer))
    run(llama, places[1], chosen)
    assert places[0].read_bytes() == places[1].read_bytes()
    run(llama, places[2], options("aqlm-1x8", tuning="block"))
    whole, block = (PackCheckpoint(place) for place in (places[0], places[2]))
    assert whole.metadata["tuning"] == tuning
    names = [name for name in whole.linears() if name.startswith("model.layers")]
    same = [
        np.array_equal(whole.linear(name).buffers["codebooks"], block.linear(name).buffers["codebooks"])
        for name in names
    ]
    # numbers that do not help on validation are not kept: then all of them are as they were
    assert len(set(same)) == 1


@pytest.mark.parametrize("tuning", ["p", "pv"])
def test_what_tuning_of_the_whole_gives_is_what_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: str
) -> None:
    given: dict[str, Any] = {}

    def tune(graph: Any, packed: Any, norms: Any, biases: Any, heads: Any, *lessons: Any, **rest: Any) -> TunedModel:
        read = [([*lesson.inputs], [*lesson.targets]) for lesson in lessons]  # their files go with the work
        given.update(packed=packed, norms=norms, biases=biases, lessons=read, settings=rest["settings"], heads=heads)
        return TunedModel(packed, {name: norm + 0.5 for name, norm in norms.items()}, 1.0, 0.5)

    monkeypatch.setattr(run_tuning, "tune_model", tune)
    build = open_checkpoint(run(source, tmp_path / "out", options("aqlm-1x8", tuning=tuning)).path)
    assert (given["settings"].codes is not None) == (tuning == "pv")
    assert {*given["norms"]} == {*build.arrays()}
    for name, norm in given["norms"].items():
        np.testing.assert_allclose(build.array(name), norm.numpy() + 0.5, rtol=1e-6)
    for name, packed in given["packed"].items():
        np.testing.assert_array_equal(build.linear(name).buffers["codebooks"], packed.buffers["codebooks"])
        assert ("bias" in packed.buffers) == (name in given["biases"])
    train, validation = given["lessons"]
    assert [len(part) for part in (*train, *validation)] == [36, 36, 2, 2]  # three times the calibration's
    assert given["heads"].source.shape == given["heads"].build.shape == (96, 64)
    states = torch.stack([*train[1], *validation[1]])
    torch.testing.assert_close(states, _last(source), rtol=1e-4, atol=1e-4)


def _last(source: Path) -> torch.Tensor:
    """What the head of the source reads for the texts that `random_texts` gives."""
    checkpoint = open_checkpoint(source)
    graph = open_graph(checkpoint)
    tokens = np.random.default_rng(0).integers(0, 96, (38, 64), dtype=np.int32)
    x = torch.from_numpy(reference.dequantize(checkpoint.linear("model.embed_tokens"))[tokens])
    for block in graph.blocks:
        x = run_block(block, load_block(checkpoint, block), x)
    return tail_hidden(graph, x)


def test_what_was_said_is_told_beside_what_it_took(llama: Path, tmp_path: Path) -> None:
    """Once a block is done the rest is known; a run that goes on says it of what was left."""
    whole = run(llama, tmp_path / "a", options("aqlm-2x8"))
    assert whole.planned is not None
    assert whole.predicted is not None
    assert 0 < whole.predicted < 10 * whole.seconds
    _stop_in_last_block(llama, tmp_path, options("aqlm-2x8"))
    rest = run(llama, tmp_path / "out", options("aqlm-2x8"))
    assert rest.planned is None
    assert rest.predicted is not None


def test_progress(llama: Path, tmp_path: Path) -> None:
    steps = Stopper()
    run(llama, tmp_path / "out", options("spqr-3"), steps)
    stages = list(dict.fromkeys(step.stage for step in steps.told))
    assert stages == ["check", "calibrate", "quantize", "write", "measure"]
    assert len([step for step in steps.told if step.error is not None]) == 16
    assert all(0 <= step.done <= step.total for step in steps.told)
    assert all(step.memory > 1 << 20 for step in steps.told)
    assert steps.told[-1].seconds_left == 0
    assert all(step.rate < 1000 for step in steps.told)
    assert {step.level for step in steps.told if step.module.startswith("model.layers")} == {"spqr-3"}


@pytest.mark.parametrize("levels", [("aqlm-2x8",), ("aqlm-1x8", "q8")])
def test_a_run_that_goes_on_says_the_errors_of_what_was_done(
    llama: Path, tmp_path: Path, levels: tuple[str, ...]
) -> None:
    _stop_in_last_block(llama, tmp_path, options(*levels))
    steps = Stopper()
    built = run(llama, tmp_path / "out", options(*levels), steps)
    said = {(step.module, step.level): step.error for step in steps.told if step.error is not None}
    assert len(said) == len([step for step in steps.told if step.error is not None])  # each of them once
    for row in built.rows:
        assert said[row.module, row.level] == row.error


# -- what a block reads ------------------------------------------------------------------------------------------------


def test_with_one_level_a_block_reads_what_the_compressed_ones_give(source: Path, tmp_path: Path) -> None:
    _stop_in_last_block(source, tmp_path, options("aqlm-1x8"))
    folder = tmp_path / "out.nutshell.work"
    last = open_checkpoint(source).config["num_hidden_layers"] - 1
    checkpoint = open_checkpoint(source)
    graph = open_graph(checkpoint)
    texts = _texts(folder)
    store = _peeked(folder)
    ours, theirs = (_embedded(checkpoint, store, texts, packed=packed) for packed in (True, False))
    for number, block in enumerate(graph.blocks[:last]):
        weights = load_block(checkpoint, block)
        theirs = run_block(block, weights, theirs)
        for name in block.linears:
            weights.put(name, store[name])
        ours = run_block(block, weights, ours)
        assert number < last
    count = len(texts.tokens)
    got = States(Pieces(folder / f"input-{last}.level"), range(len(texts.all)))
    torch.testing.assert_close(torch.stack(list(got)), ours, rtol=1e-4, atol=1e-4)
    kept = States(Pieces(folder / f"original-{last}.level"), range(count, len(texts.all)))
    torch.testing.assert_close(torch.stack(list(kept)), theirs[count:], rtol=1e-4, atol=1e-4)
    assert float((ours - theirs).square().mean()) > 1e-3  # one bit is not nothing


def test_with_several_levels_a_block_reads_what_the_source_gives(llama: Path, tmp_path: Path) -> None:
    _stop_in_last_block(llama, tmp_path, options("aqlm-1x8", "q8"))
    folder = tmp_path / "out.nutshell.work"
    checkpoint = open_checkpoint(llama)
    block = open_graph(checkpoint).blocks[0]
    texts = _texts(folder)
    x = _embedded(checkpoint, {}, texts, packed=False)
    got = States(Pieces(folder / "input-1.level"), range(len(texts.all)))
    expected = run_block(block, load_block(checkpoint, block), x)
    torch.testing.assert_close(torch.stack(list(got)), expected, rtol=1e-4, atol=1e-4)


def test_errors_are_those_of_the_stored_weights_on_calibration_inputs_only(llama: Path, tmp_path: Path) -> None:
    built = run(llama, tmp_path / "out", options("spqr-3", "q8"))
    checkpoint = open_checkpoint(llama)
    graph = open_graph(checkpoint)
    tokens = np.random.default_rng(0).integers(0, CONFIG["vocab_size"], (14, 64), dtype=np.int32)  # `random_texts`
    x = _embedded(checkpoint, {}, Texts(tokens[:12], tokens[:0]), packed=False)
    sums: dict[str, torch.Tensor] = {}

    def watch(group: tuple[str, ...], inputs: torch.Tensor) -> None:
        sums.update((name, inputs.T @ inputs / len(inputs)) for name in group)

    weights: BlockWeights = load_block(checkpoint, graph.blocks[0])
    run_block(graph.blocks[0], weights, x, watch=watch)
    build = open_checkpoint(built.path, position=0.0)
    for row in built.rows:
        if row.level == "spqr-3" and "layers.0" in row.module:
            packed = build.linear(row.module)
            expected = relative_error(weights.linears[row.module], packed, sums[row.module])
            assert row.error == pytest.approx(expected, rel=1e-3)


def _stop_in_last_block(source: Path, tmp_path: Path, chosen: Any) -> None:
    last = json.loads((source / "config.json").read_text())["num_hidden_layers"] - 1
    with pytest.raises(InterruptedError):
        run(source, tmp_path / "out", chosen, lambda now: not (now.layer == last and now.module.endswith("q_proj")))


def _texts(folder: Path) -> Texts:
    pieces = Pieces(folder / "calibration.level")
    return Texts(pieces.get("tokens"), pieces.get("validation"))


def _peeked(folder: Path) -> dict[str, Any]:
    run = json.loads((folder / "work.json").read_text())["run"]
    store = Store(folder, run)
    found = {}
    for path in folder.glob("*@*.level"):
        name, _, level = path.name.removesuffix(".level").rpartition("@")
        stored = store.get(name, level)
        assert stored is not None
        found[name] = stored.packed
    store.close()
    return found


def _embedded(checkpoint: Any, store: dict[str, Any], texts: Texts, *, packed: bool) -> torch.Tensor:
    table = store["model.embed_tokens"] if packed else checkpoint.linear("model.embed_tokens")
    return torch.from_numpy(reference.dequantize(table)[texts.all])


@pytest.mark.parametrize("scheme", ["q4", "q8", "f16", "f32"])
def test_rows_of_a_table_without_the_others(scheme: str, tmp_path: Path) -> None:
    from backend.quantize.recipes import HEAD_SCHEMES, encode, recipe_named
    from kernels.packing import dense

    weight = np.random.default_rng(0).standard_normal((301, 96), dtype=np.float32)
    table = encode(dense.pack(weight, "f32"), recipe_named(scheme, HEAD_SCHEMES), None, "t").packed  # type: ignore[arg-type]
    rows = np.array([0, 63, 64, 65, 200, 299, 300])
    np.testing.assert_array_equal(table_rows(table, rows), reference.dequantize(table)[rows])


# -- going on ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        (QWEN, {"levels": ["aqlm-2x8"], "threads": 2}),
        (CONFIG, {"levels": ["spqr-3", "aqlm-1x8"], "threads": 1}),
    ],
)
def test_killed_five_times_it_ends_with_the_same_bits(
    tmp_path: Path, config: dict[str, Any], chosen: dict[str, Any]
) -> None:
    source = write_model(tmp_path / "source", config)
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "killed")]
    for place in places:
        place.parent.mkdir()
    words = _child(source, places[0], chosen)
    assert words[-1] == "end"
    dice = random.Random(5)
    for _ in range(5):
        _child(source, places[1], chosen, kill_after=dice.randrange(1, len(words)))
        assert {entry.path for entry in from_folder(places[1].parent)} <= {places[1]}  # listed: whole or not
        if places[1].exists():  # it ran on while it was killed
            break
    else:
        assert _child(source, places[1], chosen)[-1] == "end"
    assert places[0].read_bytes() == places[1].read_bytes()


def _child(source: Path, out: Path, chosen: dict[str, Any], kill_after: int | None = None) -> list[str]:
    command = [sys.executable, "-m", "tests.unit.quantize.compressing", str(source), str(out), json.dumps(chosen)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    words: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        words.append(line.strip())
        if len(words) == kill_after:
            child.kill()  # SIGKILL: nothing is tidied
    child.stdout.close()
    child.wait()
    return words


def test_stopped_at_every_step_it_ends_with_the_same_bits(llama: Path, tmp_path: Path) -> None:
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "stopped")]
    for place in places:
        place.parent.mkdir()
    steps = Stopper()
    whole = run(llama, places[0], options("aqlm-2x8"), steps)
    for step in dict.fromkeys((step.stage, step.layer, step.module) for step in steps.told[3:]):
        with pytest.raises(InterruptedError):
            run(
                llama, places[1], options("aqlm-2x8"), lambda now, step=step: step != (now.stage, now.layer, now.module)
            )
        assert not places[1].exists()
    built = run(llama, places[1], options("aqlm-2x8"))
    assert places[0].read_bytes() == places[1].read_bytes()
    assert [row.error for row in built.rows] == [row.error for row in whole.rows]


def test_a_damaged_file_of_the_work_is_made_again(llama: Path, tmp_path: Path) -> None:
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "damaged")]
    for place in places:
        place.parent.mkdir()
    run(llama, places[0], options("aqlm-2x8"))
    _stop_in_last_block(llama, places[1].parent, options("aqlm-2x8"))
    for name in ("model.layers.0.mlp.up_proj@aqlm-2x8", "input-1"):
        path = places[1].with_name("out.nutshell.work") / f"{name}.level"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    run(llama, places[1], options("aqlm-2x8"))
    assert places[0].read_bytes() == places[1].read_bytes()


def test_an_end_between_the_name_and_the_tidying_is_an_end(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(llama, tmp_path / "out", options("q8"))
    before = (tmp_path / "out.nutshell").read_bytes()
    run(llama, tmp_path / "out", options("q8"))
    assert (tmp_path / "out.nutshell").read_bytes() == before
    assert not (tmp_path / "out.nutshell.work").exists()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("left", [0, 1, 3, 100])
def test_a_kill_in_the_tidying_or_behind_it_costs_nothing(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """The same call once more finds that its build is there, whatever became of the work folder."""
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(llama, tmp_path / "out", options("q8"))
    out, folder = tmp_path / "out.nutshell", tmp_path / "out.nutshell.work"
    files = sorted(folder.iterdir(), key=lambda path: path.name != "work.json")  # the manifest goes first
    for path in files[: len(files) - left] if left < 100 else []:
        path.unlink()
    if not left:
        folder.rmdir()
    before = out.stat().st_mtime_ns, out.read_bytes()
    made = run(llama, tmp_path / "out", options("q8"))
    assert (out.stat().st_mtime_ns, out.read_bytes()) == before
    assert not folder.exists()
    assert len(made.rows) == 16
    assert made.perplexity is not None
    assert "finished before" in made.notes[0]


def test_a_build_of_other_options_is_in_the_way(llama: Path, tmp_path: Path) -> None:
    first = run(llama, tmp_path / "out", options("q8"))
    for other in (options("q8", seed=1), options("spqr-3"), options("q8", head="f16")):
        with pytest.raises(ConflictError):
            run(llama, tmp_path / "out", other)
    assert run(llama, tmp_path / "out", options("q8", seed=1), force=True).rows[0].error is not None
    again = run(llama, tmp_path / "out", options("q8"), restart=True, force=True)  # asked for: made once more
    assert again.rows == first.rows or again.rows[0].error == first.rows[0].error


def test_a_resumed_run_keeps_its_text_and_its_threads(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options("q8", threads=0)
    monkeypatch.setattr(prepare, "default_threads", lambda: 2)
    _stop_in_last_block(llama, tmp_path, chosen)
    monkeypatch.setattr(prepare, "default_threads", lambda: 1)  # a container with fewer cores

    def other(_: object) -> None:
        raise AssertionError("the text is known")

    monkeypatch.setattr(module, "read_texts", other)
    seen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run(llama, tmp_path / "out", chosen)
    assert seen == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 1}, "seed"), ({"tokens": 640}, "tokens"), ({"head": "q8"}, "head"), ({"protect": False}, "protection")],
)
def test_other_options_do_not_mix(llama: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    _stop_in_last_block(llama, tmp_path, options("aqlm-2x8"))
    with pytest.raises(ConflictError, match=f"{words}.*--restart"):
        run(llama, tmp_path / "out", options("aqlm-2x8", **change))
    built = run(llama, tmp_path / "out", options("aqlm-2x8", **change), restart=True)
    assert built.path.is_file()


def test_a_source_that_changed_meanwhile_is_refused(llama: Path, tmp_path: Path) -> None:
    _stop_in_last_block(llama, tmp_path, options("aqlm-2x8"))
    write_folder(llama, compressing.model(seed=1))
    with pytest.raises(ConflictError, match="files of the model"):
        run(llama, tmp_path / "out", options("aqlm-2x8"))


# -- what is refused before the work -----------------------------------------------------------------------------------


def _refused(source: Path, tmp_path: Path, kind: type[NutshellError], words: str, chosen: Any = None) -> None:
    there = sorted(path.name for path in tmp_path.iterdir())
    steps = Stopper()
    with pytest.raises(kind, match=words) as caught:
        run(source, tmp_path / "out", chosen or options("aqlm-2x8"), steps)
    assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == there
    assert not any(step.stage == "quantize" for step in steps.told)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    weights = compressing.model()
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = np.nan
    _refused(write_folder(tmp_path / "source", weights), tmp_path, InvalidModelFileError, "number")


def test_an_architecture_that_is_not_known(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source")
    (source / "config.json").write_text(json.dumps({**CONFIG, "model_type": "mamba"}))
    _refused(source, tmp_path, UnsupportedModelError, "mamba")


def test_a_shard_that_is_half_there(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", compressing.model(), shards=3)
    shard = sorted(source.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1000])
    _refused(source, tmp_path, InvalidModelFileError, "incomplete|ends|whole|unfinished|cut")
    shard.unlink()
    _refused(source, tmp_path, InvalidModelFileError, "missing")


def test_a_folder_without_text(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_texts", READ_TEXTS)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "picture.png").write_bytes(b"\x89PNG\0\0")
    chosen = options("q8", texts=(tmp_path / "texts",), own_text_only=True)
    kind = type(open_checkpoint(tiny_gguf))
    real = kind.linear

    def linear(checkpoint: Any, name: str) -> Any:
        assert ".layers." not in name, "a block was read before the folder"
        return real(checkpoint, name)

    monkeypatch.setattr(kind, "linear", linear)
    _refused(tiny_gguf, tmp_path, InvalidRequestError, "text", chosen)


def test_texts_of_the_person_are_read_and_named(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_texts", READ_TEXTS)
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("\n".join(f"{name} says {number} and {number**2}." for number in range(900)))
    chosen = options("q8", texts=(tmp_path / "one.txt", tmp_path / "two.txt"), own_text_only=True)
    built = run(tiny_gguf, tmp_path / "out", chosen)
    calibration = PackCheckpoint(built.path).metadata["calibration"]
    assert calibration["tokens"] == 768
    assert all(".txt" in source for source in calibration["sources"])
    assert calibration["texts"] == [str(tmp_path / name) for name in ("one.txt", "two.txt")]
    assert calibration["skipped"] == {}
    assert calibration["validation_tokens"] == 128
    with pytest.raises(InvalidRequestError, match=r"made with one\.txt"):
        refuse_learned(tmp_path / "one.txt", built.path)
    refuse_learned(tmp_path / "three.txt", built.path)
    refuse_learned(tmp_path / "one.txt", tiny_gguf)


def test_a_disk_that_is_too_small(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    _refused(llama, tmp_path, DiskFullError, "free at")


def test_memory_that_is_too_small(llama: Path, tmp_path: Path) -> None:
    _refused(llama, tmp_path, MemoryShortageError, "--memory", options("q8", memory=64 << 20))


def test_a_build_is_no_source(llama: Path, tmp_path: Path) -> None:
    built = run(llama, tmp_path / "first", options("q8"))
    _refused(built.path, tmp_path, UnsupportedModelError, "packed already")


def test_a_name_that_is_taken(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out.nutshell").write_bytes(b"mine")
    _refused(llama, tmp_path, ConflictError, "--force")
    assert (tmp_path / "out.nutshell").read_bytes() == b"mine"
    assert run(llama, tmp_path / "out", options("q8"), force=True).bytes > 1000


@pytest.mark.parametrize(
    ("levels", "change", "words"),
    [
        (("aqlm-9x9",), {}, "no level"),
        ((), {}, "one at least"),
        (("q8", "q8"), {}, "once"),
        (("q8", "spqr-3"), {"tuning": "block"}, "single level"),
        (("q8",), {"tokens": 10}, "too little"),
        (("q8",), {"texts": (Path("/no/such/text"),)}, "no text"),
        (("q8",), {"head": "aqlm-2x8"}, "no scheme"),
        (("q8",), {"tuning": "much"}, "tuning"),
    ],
)
def test_options_that_do_not_work(
    llama: Path, tmp_path: Path, levels: tuple[str, ...], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        run(llama, tmp_path / "out", options(*levels, **change))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# -- the last check ----------------------------------------------------------------------------------------------------


def test_file_and_source_are_measured_alike(source: Path, tmp_path: Path) -> None:
    built = run(source, tmp_path / "out", options("q8", head="f16", embedding="f16"))
    assert built.perplexity == pytest.approx(built.perplexity_source, rel=0.02)
    assert built.notes == ()


def test_a_ruined_build_says_so(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "build_loss", lambda *_, **__: 9.5)
    built = run(llama, tmp_path / "out", options("q8"))
    assert any("surprising" in note for note in built.notes)
    assert "surprising" in PackCheckpoint(built.path).metadata["warning"]


def test_verdicts() -> None:
    assert gate.verdict(2.0, 1.5) == ""
    assert "3.3 times" in gate.verdict(2.7, 1.5)
    assert "ruined" in gate.verdict(9.0, 1.5)
    assert "ruined" in gate.verdict(float("nan"), 1.5)


def test_loss_of_logits() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)) + 7
    assert gate.loss_of(logits, np.array([0, 2])) == pytest.approx(-np.log(0.5) - np.log(0.8), rel=1e-6)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"tuning": "block"}])
@pytest.mark.parametrize("levels", [("aqlm-1x8",), ("spqr-3", "q8")])
def test_holding_less_changes_no_bit(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: tuple[str, ...], chosen: dict[str, Any]
) -> None:
    if chosen and len(levels) > 1:
        pytest.skip("several levels are not tuned")
    places = [tmp_path / name / "out.nutshell" for name in ("held", "lean")]
    for place, lean in zip(places, (False, True), strict=True):
        place.parent.mkdir()
        monkeypatch.setattr(prepare, "_fitting", lambda *_, lean=lean: (prepare.BATCH, lean, 0))
        run(source, place, options(*levels, **chosen))
    assert places[0].read_bytes() == places[1].read_bytes()


def test_a_run_that_goes_on_keeps_its_batch(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was begun with little memory, and goes on with much: the bits are those of little."""
    places = [tmp_path / name / "out.nutshell" for name in ("whole", "stopped")]
    sizes: list[int] = []

    def forward(block: Any, weights: Any, x: torch.Tensor, **more: Any) -> torch.Tensor:
        sizes.append(x.shape[0])
        return run_block(block, weights, x, **more)

    real = prepare._fitting
    monkeypatch.setattr(run_blocks, "run_block", forward)
    for place in places:
        place.parent.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(prepare, "_fitting", lambda *_: (64, True, 0))
            if place is places[0]:
                run(llama, place, options("q8"))
            else:
                with pytest.raises(InterruptedError):
                    run(llama, place, options("q8"), lambda now: now.layer < 1)
    assert set(sizes) == {1}
    monkeypatch.setattr(prepare, "_fitting", real)
    run(llama, places[1], options("q8"))
    assert set(sizes) == {1}
    assert places[0].read_bytes() == places[1].read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """256k tokens are 268 MB of hidden states in each generation, 537 with the next one; none of them is held.

    Without `trim` the allocator keeps 220 to 310 MB of holes, with it 40 to 80.
    """
    source = write_model(tmp_path / "source", {**CONFIG, **WIDE})
    code = """
import sys
from pathlib import Path
from backend.quantize import compress
from tests.unit.quantize import compressing as small
compress.read_texts = small.random_texts
small.run(Path(sys.argv[1]), Path(sys.argv[2]), small.options("q8", tokens=int(sys.argv[3]), sequence=256))
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
    peaks = []
    for tokens in (4 << 10, 256 << 10):
        command = [sys.executable, "-c", code, str(source), str(tmp_path / f"{tokens}"), str(tokens)]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) / 1024)
    assert peaks[1] - peaks[0] < 150, peaks
