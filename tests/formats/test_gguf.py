from __future__ import annotations

import struct
import time
from pathlib import Path

import llama_cpp
import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats import gguf_tables
from backend.formats.gguf import read_header, read_strings
from backend.formats.gguf_split import split_name
from tests.formats.mutate import anatomy
from tests.formats.tiny_gguf import CONTROL, N_CTX, TEMPLATE, vocabulary, write_tiny_gguf


def refused(path: Path, kind: type[ModelError] = InvalidModelFileError) -> str:
    """The words of the refusal, which must be sentences for a person."""
    with pytest.raises(kind) as caught:
        read_header(path)
    assert caught.value.code == kind.code
    for part in (caught.value.what, caught.value.why, caught.value.remedy):
        assert part.endswith("."), part
        assert part.isprintable()
        assert "!" not in part
        assert str(path.parent) not in part
    return str(caught.value)


def test_reads_what_is_in_the_file(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert (header.name, header.architecture, header.quantization) == ("Tiny", "llama", "Q8_0")
    assert (header.version, header.licence, header.layers, header.context_length) == (3, "apache-2.0", 2, N_CTX)
    assert header.chat_template == TEMPLATE
    assert header.file_size == header.total_bytes == tiny_gguf.stat().st_size
    assert header.parameters == 2 * 283 * 64 + 5 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128)
    assert header.data_offset + sum(t.bytes + -t.bytes % 32 for t in header.tensors) == header.file_size
    assert header.parts == (tiny_gguf,)


def test_long_lists_are_read_only_when_asked(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert not isinstance(header.metadata["tokenizer.ggml.tokens"], tuple)
    assert header.buffer == b""
    assert read_strings(header, "tokenizer.ggml.tokens") == vocabulary()[0]
    assert read_strings(header, "tokenizer.ggml.merges")[0] == "Ġ t"
    with pytest.raises(KeyError):
        read_strings(header, "general.name")
    with pytest.raises(KeyError):
        read_strings(header, "tokenizer.ggml.token_type")


def test_a_sentencepiece_vocabulary_is_accepted(tmp_path: Path) -> None:
    assert read_header(write_tiny_gguf(tmp_path / "spm.gguf", kind="llama")).architecture == "llama"


@pytest.mark.model
def test_the_built_in_model_is_read_in_50_ms(smollm2: Path) -> None:
    read_header(smollm2)
    times = []
    for _ in range(5):
        start = time.process_time()  # other programs run beside the tests
        header = read_header(smollm2)
        times.append(time.process_time() - start)
    assert min(times) < 0.05
    assert (header.parameters, header.quantization, header.layers) == (134_515_008, "Q4_1", 30)
    assert read_strings(header, "tokenizer.ggml.tokens")[:3] == CONTROL


def test_without_a_file_type_the_largest_share_of_bytes_names_the_quantization(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", changes={"general.file_type": None})
    assert read_header(path).quantization == "Q8_0"
    assert read_header(write_tiny_gguf(path, changes={"general.file_type": 15})).quantization == "Q4_K_M"
    assert read_header(write_tiny_gguf(path, changes={"general.file_type": 1024 + 7})).quantization == "Q8_0"


def test_a_name_is_one_line_without_control_characters(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", changes={"general.name": "A\n\x1b[31m model\u202e" + "x" * 500})
    name = read_header(path).name
    assert name.isprintable()
    assert len(name) == 200
    assert read_header(write_tiny_gguf(path, changes={"general.name": None})).name == "a"


def test_architectures_and_types_are_those_of_the_engine() -> None:
    library = b"".join(
        p.read_bytes() for p in (Path(llama_cpp.__file__).parent / "lib").glob("*llama*.*") if p.is_file()
    )
    names = gguf_tables.CHAT_ARCHITECTURES | set(gguf_tables.NOT_FOR_CHAT)
    assert library
    missing = {name for name in names if name.encode() + b"\0" not in library}  # linkers merge ends of strings
    assert not missing
    assert not gguf_tables.CHAT_ARCHITECTURES & set(gguf_tables.NOT_FOR_CHAT)
    assert gguf_tables.SAME_HEAD_SIZES | gguf_tables.WHOLE_HEAD_ROTATED <= gguf_tables.CHAT_ARCHITECTURES


def test_tensor_types_have_the_sizes_that_the_gguf_package_knows() -> None:
    import gguf

    for kind, (block, size) in gguf.constants.GGML_QUANT_SIZES.items():
        ours = gguf_tables.TENSOR_TYPES[kind.value]
        assert (ours.name, ours.block, ours.bytes) == (kind.name, block, size)


# What the engine's process would end over, or could not use


@pytest.mark.parametrize(
    "changes",
    [
        {"llama.block_count": 0},
        {"llama.block_count": 513},
        {"llama.context_length": 0},
        {"llama.context_length": 1 << 30},
        {"llama.context_length": "many"},
        {"llama.context_length": True},
        {"llama.context_length": None},
        {"llama.embedding_length": 0},
        {"llama.attention.head_count": 0},
        {"llama.attention.head_count": 3},
        {"llama.attention.head_count": [4, 4, 4]},
        {"llama.attention.head_count_kv": 3},
        {"llama.attention.head_count_kv": [2, 3]},
        {"llama.attention.key_length": 8},
        {"llama.attention.value_length": 8},
        {"llama.rope.dimension_count": 8},
        {"llama.attention.layer_norm_rms_epsilon": -1.0},
        {"llama.attention.layer_norm_rms_epsilon": float("nan")},
        {"llama.rope.freq_base": float("inf")},
        {"llama.expert_count": 4},
        {"llama.expert_count": 2000, "llama.expert_used_count": 2},
        {"llama.expert_used_count": 1},
        {"llama.expert_count": 8, "llama.expert_used_count": 9},
        {"llama.expert_count": 8, "llama.expert_used_count": 2, "llama.expert_group_count": 3},
        {"llama.nextn_predict_layers": 2},
        {"llama.feed_forward_length": -1.0},
        {"tokenizer.ggml.tokens": ["a", "b"]},
        {"tokenizer.ggml.tokens": [*vocabulary()[0][:-1], "Ġt"]},
        {"tokenizer.ggml.tokens": [*vocabulary()[0][:-2], "", "[EMPTY_281]"]},
        {"tokenizer.ggml.tokens": [*vocabulary()[0][:-1], "Ġt\0cut"]},
        {"tokenizer.ggml.tokens": None},
        {"tokenizer.ggml.tokens": 7},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.merges": [1, 2]},
        {"tokenizer.ggml.scores": [0.0]},
        {"tokenizer.ggml.token_type": [0.0] * 283},
        {"tokenizer.ggml.token_type": [1] * 282},
        {"tokenizer.ggml.bos_token_id": 283},
        {"tokenizer.ggml.eos_token_id": (1 << 32) - 1},
        {"tokenizer.ggml.eos_token_id": "two"},
        {"general.architecture": None},
        {"general.alignment": 48},
        {"general.alignment": 0},
        {"general.alignment": "32"},
    ],
    ids=repr,
)
def test_settings_that_contradict_each_other(tmp_path: Path, changes: dict[str, object]) -> None:
    refused(write_tiny_gguf(tmp_path / "a.gguf", changes=changes))


def test_a_vocabulary_that_cannot_spell_every_byte(tmp_path: Path) -> None:
    tokens = [token.replace("<0x41>", "<other>") for token in vocabulary("llama")[0]]
    words = refused(write_tiny_gguf(tmp_path / "a.gguf", kind="llama", changes={"tokenizer.ggml.tokens": tokens}))
    assert "spell" in words
    tokens = [token.replace("<0x41>", "A") for token in vocabulary("llama")[0]]
    read_header(write_tiny_gguf(tmp_path / "a.gguf", kind="llama", changes={"tokenizer.ggml.tokens": tokens}))


def test_special_tokens_that_do_no_harm_may_be_out_of_range(tmp_path: Path) -> None:
    """Some files on the web have a padding token behind the last one; the engine then uses its default."""
    read_header(write_tiny_gguf(tmp_path / "a.gguf", changes={"tokenizer.ggml.padding_token_id": 283}))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"general.type": "adapter"}, "LoRA"),
        ({"general.type": "mmproj"}, "mmproj"),
        ({"clip.has_vision_encoder": True}, "mmproj"),
        ({"general.type": "imatrix"}, "measurements"),
        ({"general.type": "poem"}, "poem"),
        ({"general.architecture": "bert"}, "numbers"),
        ({"general.architecture": "clip"}, "mmproj"),
        ({"general.architecture": "t5"}, "rewrites"),
        ({"general.architecture": "llada"}, "word by word"),
        ({"general.architecture": "eagle3"}, "guesses"),
        ({"general.architecture": "frobnicator"}, "frobnicator"),
        ({"general.architecture": "llama\0"}, "llama"),
        ({"llama.rope.scaling.type": "elastic"}, "context"),
        ({"tokenizer.ggml.model": "no_vocab"}, "vocabulary"),
        ({"tokenizer.ggml.model": None}, "vocabulary"),
        ({"tokenizer.ggml.model": "bert"}, "bert"),
        ({"general.alignment": 8}, "8"),
    ],
    ids=repr,
)
def test_good_files_that_are_not_for_chat_here(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    path = write_tiny_gguf(tmp_path / "a.gguf", changes=changes)
    assert word in refused(path, UnsupportedModelError)
    if "general.type" in changes:  # other uses may read them
        assert read_header(path, chat=False).tensors


def test_only_a_vocabulary(tiny_gguf: Path, tmp_path: Path) -> None:
    data = tiny_gguf.read_bytes()
    first = anatomy(data).tensors[0][0]
    path = tmp_path / "vocab.gguf"
    path.write_bytes(data[:8] + struct.pack("<Q", 0) + data[16:first])
    assert "vocabulary" in refused(path, UnsupportedModelError)


# Bytes


def changed(tiny: Path, tmp_path: Path, offset: int, value: bytes) -> Path:
    data = bytearray(tiny.read_bytes())
    data[offset : offset + len(value)] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("version", "word"), [(1, "version 1"), (3 << 24, "big-endian"), (4, "version 4"), (2 << 24, "big-endian")]
)
def test_versions(tiny_gguf: Path, tmp_path: Path, version: int, word: str) -> None:
    path = changed(tiny_gguf, tmp_path, 4, struct.pack("<I", version))
    assert word in refused(path, UnsupportedModelError)


def test_version_2_is_read_and_nonsense_is_damage(tiny_gguf: Path, tmp_path: Path) -> None:
    assert read_header(changed(tiny_gguf, tmp_path, 4, struct.pack("<I", 2))).version == 2
    refused(changed(tiny_gguf, tmp_path, 4, struct.pack("<I", 0)))
    refused(changed(tiny_gguf, tmp_path, 4, struct.pack("<I", 12345)))


def test_every_shorter_file_is_incomplete(tiny_gguf: Path, tmp_path: Path) -> None:
    data = tiny_gguf.read_bytes()
    path = tmp_path / "short.gguf"
    for length in [*range(4, 64), *range(64, len(data), 997), len(data) - 33]:
        path.write_bytes(data[:length])
        assert "incomplete" in refused(path)


def test_counts_are_not_believed(tiny_gguf: Path, tmp_path: Path) -> None:
    parts = anatomy(tiny_gguf.read_bytes())
    for offset in (*parts.counts, *parts.lengths[::9], *parts.dimensions):
        for value in (1 << 40, 1 << 63, (1 << 64) - 1):
            refused(changed(tiny_gguf, tmp_path, offset, struct.pack("<Q", value)))


def test_tensors_may_not_overlap_or_leave_the_file(tiny_gguf: Path, tmp_path: Path) -> None:
    offsets = anatomy(tiny_gguf.read_bytes()).offsets
    assert "overlap" in refused(changed(tiny_gguf, tmp_path, offsets[1], struct.pack("<Q", 0)))
    assert "impossible place" in refused(changed(tiny_gguf, tmp_path, offsets[1], struct.pack("<Q", 7)))
    assert "incomplete" in refused(changed(tiny_gguf, tmp_path, offsets[-1], struct.pack("<Q", 1 << 30)))
    refused(changed(tiny_gguf, tmp_path, offsets[-1], struct.pack("<Q", (1 << 64) - 32)))
    last = read_header(tiny_gguf).tensors[-1].offset
    longer = changed(tiny_gguf, tmp_path, offsets[-1], struct.pack("<Q", last + 32))
    with longer.open("ab") as file:
        file.write(bytes(32))
    refused(longer, UnsupportedModelError)  # a gap


def test_weights_of_a_type_that_cannot_be_multiplied(tiny_gguf: Path, tmp_path: Path) -> None:
    """F32 and I32 are of one size, so that only the type tells; the engine would abort at the first token."""
    data = tiny_gguf.read_bytes()
    header, parts = read_header(tiny_gguf), anatomy(data)
    index = next(i for i, tensor in enumerate(header.tensors) if tensor.name == "blk.0.attn_norm.weight")
    place = parts.offsets[index] - 4
    assert "type" in refused(changed(tiny_gguf, tmp_path, place, struct.pack("<I", 26)))
    assert "gave up" in refused(changed(tiny_gguf, tmp_path, place, struct.pack("<I", 4)), UnsupportedModelError)
    assert "not known" in refused(changed(tiny_gguf, tmp_path, place, struct.pack("<I", 43)))


def test_zeros_in_a_shape(tiny_gguf: Path, tmp_path: Path) -> None:
    for offset in anatomy(tiny_gguf.read_bytes()).dimensions:
        assert "shape" in refused(changed(tiny_gguf, tmp_path, offset, bytes(8)))


# Parts


def test_split_models_are_one(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", split_max_tensors=8)
    parts = sorted(tmp_path.iterdir())
    assert [p.name for p in parts] == [f"m-{i:05d}-of-00003.gguf" for i in (1, 2, 3)]
    header = read_header(parts[0])
    assert header.parts == tuple(parts)
    assert header.total_bytes == sum(p.stat().st_size for p in parts)
    assert header.parameters == read_header(write_tiny_gguf(tmp_path / "whole.gguf")).parameters
    assert parts[0].name in refused(parts[1])

    data = parts[1].read_bytes()
    parts[1].write_bytes(data[:-64])
    assert "incomplete" in refused(parts[0])
    parts[1].write_bytes(parts[2].read_bytes())
    assert "does not belong" in refused(parts[0])
    parts[1].unlink()
    assert parts[1].name in refused(parts[0])
    parts[2].unlink()
    assert "2 parts" in refused(parts[0])
    assert "renamed" in refused(parts[0].rename(tmp_path / "first.gguf"), UnsupportedModelError)


def test_split_names() -> None:
    name = split_name("a-00002-of-00010.gguf")
    assert name is not None
    assert (name.stem, name.index, name.count, name.part(1)) == ("a", 2, 10, "a-00001-of-00010.gguf")
    for wrong in ("a-00000-of-00010.gguf", "a-00011-of-00010.gguf", "a-1-of-2.gguf", "a.gguf", "a-00001-of-99999.gguf"):
        assert split_name(wrong) is None
