"""The quick packer on models of a few kilobytes."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import (
    ConflictError,
    DiskFullError,
    InvalidModelFileError,
    InvalidRequestError,
    StorageError,
    UnsupportedModelError,
)
from backend.formats.checkpoint import open_checkpoint
from backend.formats.pack import PackCheckpoint
from backend.quantize import quick
from backend.quantize.quick import Progress, pack_model
from backend.quantize.recipes import SCHEMES
from kernels import reference
from tests.formats.tiny_gguf import write_tiny_gguf
from tests.formats.tiny_hf import CONFIG, weights, write_folder

#: squared relative error that random weights allow; 2x8 has 300 groups and 256 codewords here, so next to none
LIMITS = {"spqr-3": 0.03, "spqr-4": 0.008, "q8": 1e-4, "q4": 0.02}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "source", weights())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_linear_is_near_its_source_and_its_error_is_stated(source: Path, tmp_path: Path, scheme: str) -> None:
    packed = pack_model(source, tmp_path / "out", scheme, threads=2)
    assert packed.path == tmp_path / "out.nutshell"
    build, original = open_checkpoint(packed.path), weights()
    assert {row.module for row in packed.linears} == set(build.linears())
    for row in packed.linears:
        weight = original[f"{row.module}.weight"]
        decoded = reference.dequantize(build.linear(row.module))[: weight.shape[0], : weight.shape[1]]
        error = np.square(weight - decoded).sum() / np.square(weight).sum()
        assert row.error == pytest.approx(error, rel=0.01, abs=1e-6), row.module
        small = row.module in ("lm_head", "model.embed_tokens")
        assert error < LIMITS.get(row.scheme if small else scheme, 0.05), row.module
    for name in build.arrays():
        np.testing.assert_array_equal(build.array(name), original[name])
    assert set(build.arrays()) == {name for name, values in original.items() if values.ndim == 1}


def test_the_build_says_that_it_is_data_free_and_what_it_is(source: Path, tmp_path: Path) -> None:
    packed = pack_model(source, tmp_path / "out", "aqlm-2x8")
    about = PackCheckpoint(packed.path).metadata
    assert about["data_free"] is True
    assert about["scheme"] == "aqlm-2x8"
    assert about["source"] == "source"
    assert "no calibration data" in about["method"]
    rows = [row for row in packed.linears if row.module.startswith("model.layers.")]
    assert packed.block_bits == pytest.approx(
        sum(row.bits * row.weights for row in rows) / sum(row.weights for row in rows)
    )
    assert packed.bytes == packed.path.stat().st_size


@pytest.mark.parametrize(
    ("scheme", "head", "embedding", "expected"),
    [
        ("aqlm-3x8", None, None, ("q4", "q4")),
        ("spqr-3", None, None, ("q4", "q4")),
        ("spqr-4", None, None, ("q8", "q8")),
        ("q4", "q4", None, ("q4", "q4")),
        ("q4", "f16", "q8", ("f16", "q8")),
    ],
)
def test_head_and_embedding_are_stored_as_told(
    source: Path, tmp_path: Path, scheme: str, head: str | None, embedding: str | None, expected: tuple[str, str]
) -> None:
    build = open_checkpoint(pack_model(source, tmp_path / "out", scheme, head=head, embedding=embedding).path)
    assert (build.linear("lm_head").scheme, build.linear("model.embed_tokens").scheme) == expected


def test_a_tied_table_is_stored_once_unless_the_head_shall_differ(tmp_path: Path) -> None:
    tied = {**CONFIG, "tie_word_embeddings": True}
    tensors = {name: values for name, values in weights().items() if name != "lm_head.weight"}
    folder = write_folder(tmp_path / "source", tensors, tied)
    once = open_checkpoint(pack_model(folder, tmp_path / "once", "q8").path)
    assert "lm_head" not in once.linears()
    twice = open_checkpoint(pack_model(folder, tmp_path / "twice", "q8", head="q4", embedding="q8").path)
    assert twice.linear("lm_head").scheme == "q4"
    assert twice.linear("model.embed_tokens").scheme == "q8"


def test_a_gguf_file_brings_its_tokenizer(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    build = open_checkpoint(pack_model(source, tmp_path / "out", "q4").path)
    files = build.tokenizer_files()
    assert json.loads(files["tokenizer.json"])["model"]["type"] == "BPE"
    assert build.config["model_type"] == "llama"


def test_progress_goes_from_nothing_to_everything(source: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    pack_model(source, tmp_path / "out", "q4", progress=told.append)
    assert told[0].done == 0
    assert [now.done for now in told] == sorted(now.done for now in told)
    assert len(told) == 16
    assert all(now.done < now.total for now in told)


def _nothing_left(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["source"]


def test_an_interruption_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    def interrupt(now: Progress) -> None:
        if now.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_model(source, tmp_path / "out", "q4", progress=interrupt)
    assert _nothing_left(tmp_path)


def test_a_disk_without_room_is_seen_before_the_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(quick.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match="free at"):
        pack_model(source, tmp_path / "out", "q4")
    assert _nothing_left(tmp_path)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, StorageError)])
def test_what_the_system_refuses_is_said_in_a_sentence(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(quick, "write_pack", refuse)
    with pytest.raises(kind):
        pack_model(source, tmp_path / "out", "q4")


def test_sources_that_cannot_be_packed(source: Path, tmp_path: Path) -> None:
    packed = pack_model(source, tmp_path / "out", "q4").path
    with pytest.raises(UnsupportedModelError, match="packed already"):
        pack_model(packed, tmp_path / "again", "q4")
    odd = write_folder(tmp_path / "odd", weights(), {**CONFIG, "model_type": "mamba"})
    with pytest.raises(UnsupportedModelError, match="mamba"):
        pack_model(odd, tmp_path / "again", "q4")
    setting = write_folder(tmp_path / "setting", weights(), {**CONFIG, "final_logit_softcapping": 30.0})
    with pytest.raises(UnsupportedModelError, match="final_logit_softcapping"):
        pack_model(setting, tmp_path / "again", "q4")
    router = write_folder(tmp_path / "router", weights() | {"model.layers.0.mlp.router.weight": np.eye(4, 64)})
    with pytest.raises(UnsupportedModelError, match=r"model\.layers\.0\.mlp\.router"):
        pack_model(router, tmp_path / "again", "q4")
    assert not (tmp_path / "again.nutshell").exists()


@pytest.mark.parametrize("scheme", ["aqlm-2x8", "spqr-3", "q4"])
def test_weights_beyond_half_precision_are_refused_by_name(tmp_path: Path, scheme: str) -> None:
    tensors = weights()
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = 1e6
    folder = write_folder(tmp_path / "source", tensors)
    with pytest.raises(InvalidModelFileError, match=r"model\.layers\.1\.mlp\.up_proj"):
        pack_model(folder, tmp_path / "out", scheme)
    assert _nothing_left(tmp_path)


def test_what_is_there_is_replaced_only_by_force(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "qwen-1.5b-q4"
    path = pack_model(source, out, "q4").path
    assert path.name == "qwen-1.5b-q4.nutshell"
    before = path.read_bytes()
    with pytest.raises(ConflictError, match="--force"):
        pack_model(source, out, "q8")
    assert path.read_bytes() == before
    pack_model(source, path, "q8", force=True)
    assert path.read_bytes() != before


def test_wishes_that_make_no_sense(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="aqlm-2x8, "):
        pack_model(source, tmp_path / "out", "q5")
    with pytest.raises(InvalidRequestError):
        pack_model(source, tmp_path / "out", "q4", head="aqlm-2x8")
    with pytest.raises(InvalidRequestError, match="no folder"):
        pack_model(source, tmp_path / "nowhere" / "out", "q4")


def test_two_roundings_of_one_table_are_stored_once_from_the_head(tmp_path: Path) -> None:
    tensors = weights()
    head = tensors["lm_head.weight"]
    tensors["model.embed_tokens.weight"] = head + np.float32(0.004) * np.sign(head)
    build = open_checkpoint(
        pack_model(write_folder(tmp_path / "source", tensors), tmp_path / "out", "q4", head="f32").path
    )
    assert "lm_head" not in build.linears()
    np.testing.assert_array_equal(reference.dequantize(build.linear("model.embed_tokens"))[:, :64], head)
