from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.hf_spqr_writer import write_hf_spqr
from backend.formats.packing import packer
from tests.formats.hostile import hostile, sentence
from tests.formats.plain_packing import SpqrParts
from tests.formats.test_hf_dense import use_all
from tests.formats.tiny_hf import CONFIG, weights, write_folder

pytestmark = pytest.mark.usefixtures("plain_packing")
MODULE = "model.layers.0.self_attn.q_proj"
Array = npt.NDArray[Any]


def random_parts(
    out: int = 48, columns: int = 64, outliers: int = 40, seed: int = 0, permuted: bool = True
) -> SpqrParts:
    rng = np.random.default_rng(seed)
    where = np.sort(rng.choice(out * columns, outliers, replace=False))
    return SpqrParts(
        bits=3,
        codes=rng.integers(0, 8, (out, columns), np.uint8),
        scale_codes=rng.integers(0, 8, (out, columns // 16), np.uint8),
        zero_codes=rng.integers(0, 8, (out, columns // 16), np.uint8),
        statistics=rng.standard_normal((out // 16, columns // 16, 4)).astype(np.float16),
        outlier_rows=np.concatenate([[0], np.cumsum(np.bincount(where // columns, minlength=out))]).astype(np.int32),
        outlier_cols=(where % columns).astype(np.uint16),
        outlier_vals=rng.standard_normal(outliers).astype(np.float16),
        perm=rng.permutation(columns).astype(np.uint32) if permuted else None,
    )


def matrix_of(parts: SpqrParts) -> npt.NDArray[np.float64]:
    """The weights in the order of the inputs, from the parts."""
    out, columns = parts.codes.shape
    found = np.zeros((out, columns))
    for o in range(out):
        for j in range(columns):
            ss, sz, zs, zz = (float(x) for x in parts.statistics[o // 16, j // 16])
            s = ss * (int(parts.scale_codes[o, j // 16]) - zs)
            z = sz * (int(parts.zero_codes[o, j // 16]) - zz)
            found[o, j] = s * (int(parts.codes[o, j]) - z)
        for i in range(parts.outlier_rows[o], parts.outlier_rows[o + 1]):
            found[o, parts.outlier_cols[i]] += float(parts.outlier_vals[i])
    if parts.perm is None:
        return found
    ordered = np.zeros_like(found)
    ordered[:, parts.perm] = found
    return ordered


def decode(tensors: dict[str, Array], out: int, columns: int) -> npt.NDArray[np.float64]:
    """From the four tensors of a file, bit by bit as hf_spqr.md says; shares nothing with the program."""
    words = [int(w) & (1 << 64) - 1 for w in tensors["dense_weights"]]
    offsets, packed = [int(x) for x in tensors["row_offsets"]], tensors["col_vals"]
    perm = []
    for word in tensors["in_perm"]:
        perm += [int(word) & 0xFFFF, int(word) >> 16 & 0xFFFF]
    found = np.zeros((out, columns))
    for tile_row in range(out // 16):
        for tile in range(columns // 16):
            first = (tile_row * (columns // 16) + tile) * 16
            rows = words[first : first + 16]
            assert all(word >> 62 == 0 for word in rows)
            raw = bytes(rows[2 * f] >> 54 & 0xFF for f in range(8))
            assert raw == bytes(rows[2 * f + 1] >> 54 & 0xFF for f in range(8))
            ss, sz, zs, zz = (float(x) for x in np.frombuffer(raw, "<f2"))
            for k, word in enumerate(rows):
                s, z = ss * ((word & 7) - zs), sz * ((word >> 3 & 7) - zz)
                for l in range(16):  # noqa: E741
                    found[16 * tile_row + k, perm[16 * tile + l]] = s * ((word >> 6 + 3 * l & 7) - z)
    blocks = len(offsets) == out // 16 + 1
    for row in range(len(offsets) - 1):
        for j, i in enumerate(range(offsets[row], offsets[row + 1])):
            word = int(packed[i]) & 0xFFFFFFFF
            value = float(np.array([word >> 16], np.uint16).view(np.float16)[0])
            found[16 * row + j % 16 if blocks else row, perm[word & 0xFFFF]] += value
    return found


def folder_of(path: Path, tensors: dict[str, Array], **settings: Any) -> Path:
    plain = weights(dtype=np.float16)
    plain.pop(MODULE + ".weight")
    config = {
        **CONFIG,
        "quantization_config": {"quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16, **settings},
    }
    return write_folder(path, plain | {f"{MODULE}.{name}": array for name, array in tensors.items()}, config)


def written(path: Path, parts: SpqrParts, bias: Array | None = None) -> dict[str, Array]:
    """What the writer makes of the parts: the tensors of its file."""
    from safetensors.numpy import load_file

    write_hf_spqr(path, CONFIG, [(MODULE, packer("spqr").pack(parts, bias=bias))], [], {})
    return {name.removeprefix(MODULE + "."): array for name, array in load_file(path / "model.safetensors").items()}


@pytest.mark.parametrize(("outliers", "permuted"), [(40, True), (0, True), (7, False), (1500, True)])
def test_what_is_written_decodes_by_the_page(tmp_path: Path, outliers: int, permuted: bool) -> None:
    parts = random_parts(outliers=outliers, permuted=permuted)
    tensors = written(tmp_path / "m", parts)
    assert {name: array.dtype.str for name, array in tensors.items()} == {
        "dense_weights": "<i8",
        "row_offsets": "<i4",
        "col_vals": "<i4" if outliers else "<f4",
        "in_perm": "<i4",
    }
    assert np.allclose(decode(tensors, 48, 64), matrix_of(parts), atol=1e-6)


@pytest.mark.parametrize(("outliers", "permuted"), [(40, True), (0, True), (7, False)])
def test_reads_what_it_writes(tmp_path: Path, outliers: int, permuted: bool) -> None:
    parts = random_parts(outliers=outliers, permuted=permuted)
    bias = np.arange(48, dtype=np.float32)
    written(tmp_path / "m", parts, bias)
    checkpoint = open_checkpoint(tmp_path / "m")
    packed = checkpoint.linear(MODULE)
    assert (packed.scheme, packed.parameters) == ("spqr", {"bits": 3})
    found = packed.buffers["parts"]
    for name in (
        "codes",
        "scale_codes",
        "zero_codes",
        "statistics",
        "outlier_rows",
        "outlier_cols",
        "outlier_vals",
        "perm",
    ):
        assert np.array_equal(getattr(found, name), getattr(parts, name)), name
    assert np.array_equal(packed.buffers["bias"], bias)
    assert checkpoint.has(MODULE + ".weight")
    assert checkpoint.config["quantization_config"]["shapes"] == {
        f"{MODULE}.dense_weights.shape": 48 * 4,
        f"{MODULE}.row_offsets.shape": 49,
        f"{MODULE}.col_vals.shape": outliers,
        f"{MODULE}.in_perm.shape": 32,
    }


def _in_blocks(parts: SpqrParts) -> dict[str, Array]:
    """Outliers as PTCSR: blocks of 16 rows, interleaved, shorter rows filled up with zeros."""
    words: list[int] = []
    offsets = [0]
    for block in range(len(parts.codes) // 16):
        rows = []
        for o in range(16 * block, 16 * block + 16):
            span = slice(parts.outlier_rows[o], parts.outlier_rows[o + 1])
            rows.append(
                [
                    int(v) << 16 | int(c)
                    for c, v in zip(parts.outlier_cols[span], parts.outlier_vals[span].view(np.uint16), strict=True)
                ]
            )
        for depth in range(max(map(len, rows))):
            words += [row[depth] if depth < len(row) else 0 for row in rows]
        offsets.append(len(words))
    return {
        "row_offsets": np.array(offsets, np.int32),
        "col_vals": np.array(words, np.uint32).view(np.int32),
    }


def test_outliers_in_blocks_of_rows(tmp_path: Path) -> None:
    parts = random_parts()
    tensors = written(tmp_path / "a", parts) | _in_blocks(parts)
    assert np.allclose(decode(tensors, 48, 64), matrix_of(parts), atol=1e-6)
    found = open_checkpoint(folder_of(tmp_path / "m", tensors)).linear(MODULE).buffers["parts"]
    for name in ("outlier_rows", "outlier_cols", "outlier_vals"):
        assert np.array_equal(getattr(found, name), getattr(parts, name)), name


def test_a_file_without_an_order_of_columns(tmp_path: Path) -> None:
    parts = random_parts(permuted=False)
    tensors = written(tmp_path / "a", parts)
    tensors.pop("in_perm")
    found = open_checkpoint(folder_of(tmp_path / "m", tensors)).linear(MODULE).buffers["parts"]
    assert found.perm is None
    assert np.array_equal(found.codes, parts.codes)


def test_other_schemes_become_f16(tmp_path: Path) -> None:
    head = np.random.default_rng(1).standard_normal((96, 64)).astype(np.float16)
    linears = [
        (MODULE, packer("spqr").pack(random_parts(), bias=None)),
        ("lm_head", packer("dense").pack(head.astype(np.float32), "f32", bias=None)),
    ]
    norm = np.ones(64, np.float32)
    write_hf_spqr(tmp_path / "m", CONFIG, linears, [("model.norm.weight", norm)], {"tokenizer.json": b"{}"})
    checkpoint = open_checkpoint(tmp_path / "m")
    assert np.array_equal(checkpoint.linear("lm_head").buffers["data"], head)
    assert np.array_equal(checkpoint.array("model.norm.weight"), norm)
    plain = checkpoint.config["quantization_config"]["modules_to_not_convert"]
    assert {"lm_head", "lm_head.weight", "model.norm.weight"} == set(plain)


@pytest.mark.parametrize(("change", "value"), [("bits", 4), ("codes", np.zeros((40, 64), np.uint8))])
def test_what_the_published_layout_cannot_hold(tmp_path: Path, change: str, value: Any) -> None:
    parts = random_parts()
    setattr(parts, change, value)
    with pytest.raises(UnsupportedModelError) as caught:
        written(tmp_path / "m", parts)
    sentence(caught.value)
    assert not list(tmp_path.iterdir())


def _set(array: Array, at: int, value: Any) -> Array:
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("dense_weights", lambda a: a[:-16], "contradict"),
        ("dense_weights", lambda a: a[:0], "contradict"),
        ("dense_weights", lambda a: a.astype(np.float32), "wrong types"),
        ("dense_weights", lambda a: a | 1 << 62, "not those of this format"),
        ("dense_weights", lambda a: _set(a, 3, int(a[3]) ^ 1 << 54), "scales contradict"),
        ("dense_weights", lambda a: a | 0xFF << 54, "not numbers"),
        ("row_offsets", lambda a: a[:-1], "contradict"),
        ("row_offsets", lambda a: a[:0], "contradict"),
        ("row_offsets", lambda a: _set(a, 0, 1), "outliers contradicts"),
        ("row_offsets", lambda a: _set(a, -1, 1000), "outliers contradicts"),
        ("row_offsets", lambda a: _set(a, 5, -1), "outliers contradicts"),
        ("row_offsets", lambda a: _set(a, 5, 41), "outliers contradicts"),
        ("row_offsets", lambda a: a.astype(np.int64), "wrong types"),
        ("col_vals", lambda a: a[:-1], "outliers contradicts"),
        ("col_vals", lambda a: _set(a, 0, 64), "outside"),
        ("col_vals", lambda a: _set(a, 0, 0x7C00 << 16), "not numbers"),
        ("col_vals", lambda a: a.astype(np.float32), "wrong types"),
        ("in_perm", lambda a: _set(a, 0, 0), "order of its columns"),
        ("in_perm", lambda a: a[:-1], "contradict"),
        ("bias", lambda _: np.zeros(47, np.float16), "bias"),
        ("bias", lambda _: np.full(48, np.nan, np.float16), "not numbers"),
    ],
)  # fmt: skip
def test_refuses(tmp_path: Path, name: str, change: Any, word: str) -> None:
    tensors = written(tmp_path / "a", random_parts())
    tensors[name] = change(tensors.get(name))
    with pytest.raises(ModelError) as caught:
        open_checkpoint(folder_of(tmp_path / "m", tensors)).linear(MODULE)
    assert isinstance(caught.value, InvalidModelFileError | UnsupportedModelError)
    assert word in str(sentence(caught.value)), caught.value.details


@pytest.mark.parametrize("settings", [{"bits": 4}, {"beta1": 8}, {"beta2": "16"}, {"bits": None}])
def test_refuses_other_variants(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = folder_of(tmp_path / "m", written(tmp_path / "a", random_parts()), **settings)
    with pytest.raises(UnsupportedModelError, match="SpQR") as caught:
        open_checkpoint(path)
    sentence(caught.value)


def test_500_damaged_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", written(tmp_path / "a", random_parts()))
    assert 5 < hostile(folder / "model.safetensors", 500, 41, lambda _: use_all(folder)) < 400


def test_300_damaged_contents(tmp_path: Path) -> None:
    """Bytes of the four tensors, one at a time."""
    rng = np.random.default_rng(42)
    folder = folder_of(tmp_path / "m", written(tmp_path / "a", random_parts()))
    path = folder / "model.safetensors"
    data = path.read_bytes()
    checkpoint = open_checkpoint(folder)
    spans = [
        (t.start, t.bytes)
        for name in ("dense_weights", "row_offsets", "col_vals", "in_perm")
        for t in [checkpoint._shards.info(f"{MODULE}.{name}")]  # type: ignore[attr-defined]
    ]
    checkpoint.close()
    for _ in range(300):
        start, size = spans[rng.integers(len(spans))]
        damaged = bytearray(data)
        damaged[start + int(rng.integers(size))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            open_checkpoint(folder).linear(MODULE)
        except InvalidModelFileError as error:
            sentence(error)
