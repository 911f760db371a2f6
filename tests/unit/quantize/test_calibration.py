"""What a model reads while it is compressed: chosen by a seed, and never what it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import InvalidRequestError
from backend.quantize.calibration import Calibration, calibration_tokens
from backend.quantize.calibration.personal import lines_of, personal
from backend.quantize.calibration.shipped import is_validation, shipped
from backend.quantize.evaluation_texts import CODE_MODULES, held_out
from backend.quantize.options import Options

START = 7


class Letters:
    """A token for each character; every text begins with START."""

    def encode(self, text: str, *, special: bool) -> Sequence[int]:
        assert not special
        return [START, *(ord(letter) for letter in text)]


def chosen(**options: object) -> Calibration:
    return calibration_tokens(
        Letters(),
        Options(("q8",), **{"tokens": 4096, "sequence": 256, **options}),  # type: ignore[arg-type]
    )


def text_of(tokens: np.ndarray) -> str:  # type: ignore[type-arg]
    return "\n".join("".join(map(chr, row[1:])) for row in tokens)


@pytest.fixture(scope="module")
def plain() -> Calibration:
    return chosen(tokens=16384)


def test_shapes_kinds_and_the_beginning_of_every_text(plain: Calibration) -> None:
    assert plain.tokens.shape == (64, 256)
    assert plain.validation.shape == (8, 256)
    assert plain.tokens.dtype == np.int32
    assert (plain.tokens[:, 0] == START).all()
    assert (plain.validation[:, 0] == START).all()
    assert {source.kind for source in plain.sources} == {"code", "manual", "prose"}


def test_a_seed_gives_one_choice(plain: Calibration) -> None:
    again, other = chosen(tokens=16384), chosen(tokens=16384, seed=1)
    assert again.digest == plain.digest
    assert again.sources == plain.sources
    assert other.digest != plain.digest


def test_it_is_never_what_quality_is_measured_on() -> None:
    measured = lines_of(held_out("code").content) | lines_of(held_out("prose").content)
    for kind in ("code", "manual", "prose"):
        for document in shipped(kind):
            name = document.name.removeprefix("python/").removesuffix(".py")
            assert name.split("/")[0] not in (*CODE_MODULES, "pydoc_data")
    big = chosen(tokens=1 << 17, sequence=1024)
    for part in (big.tokens, big.validation):
        lines = lines_of(text_of(part))
        # a few lines stand in many files ("raise NotImplementedError", licences)
        assert len(lines) > 100
        assert len(lines & measured) < len(lines) / 30


def test_our_own_texts_are_of_many_kinds_and_each_is_there_once() -> None:
    texts = [document.load() for document in shipped("prose")]
    whole = "".join(texts)
    assert 50_000 < len(whole) < 200_000
    assert all(100 < len(text) < 8000 for text in texts)
    lines = [line for text in texts for line in text.splitlines() if len(line) > 80]
    assert len(set(lines)) == len(lines)
    for script in "ßéñãłжの的한عहğ":
        assert whole.count(script) >= 2, script
    for kind in ("User: ", "Dear ", "```rust", "| ---", '{"name"', "^2", "Traceback"):
        assert kind in whole, kind


def test_validation_is_of_other_files() -> None:
    names = {document.name for kind in ("code", "prose") for document in shipped(kind)}
    kept = {name for name in names if is_validation(name)}
    assert len(names) / 16 < len(kept) < len(names) / 4
    big = chosen(tokens=1 << 15)
    assert not {source.name for source in big.sources} & kept
    assert not lines_of(text_of(big.tokens)) & lines_of(text_of(big.validation))


def test_texts_of_the_person_are_half_and_can_be_all(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"note {i}.md").write_text(f"Zwölf Boxkämpfer jagen Viktor {i} über den Deich.\n" * 60, "utf-8")
    mixed, own = chosen(texts=(tmp_path,)), chosen(texts=(tmp_path,), own_text_only=True)
    theirs = sum("Boxk" in text_of(row[None]) for row in mixed.tokens)
    assert theirs == len(mixed.tokens) // 2
    assert all("Boxk" in text_of(row[None]) for row in own.tokens)
    assert all("Boxk" in text_of(row[None]) for row in own.validation)
    assert {source.kind for source in own.sources} == {"yours"}
    numbers = [
        {
            text.split("Viktor ")[1].split()[0]
            for text in text_of(part).split("\n")
            if "Viktor " in text and text.split("Viktor ")[1].split()
        }
        for part in (own.tokens, own.validation)
    ]
    assert not numbers[0] & numbers[1]


def test_one_file_is_cut_in_two(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("".join(f"entry {i:05} of the log, as written\n" for i in range(2000)))
    own = chosen(texts=(file,), own_text_only=True, tokens=1024)
    assert not lines_of(text_of(own.tokens)) & lines_of(text_of(own.validation))


def test_what_is_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plain text\n" * 200)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 not opened")
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0\0" * 100)
    (tmp_path / "latin").write_bytes("ä ö ü ß ".encode("latin-1") * 300)
    (tmp_path / "nothing.md").write_text("  \n")
    (tmp_path / ".hidden.txt").write_text("secret\n" * 300)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("[core]\n" * 300)
    (tmp_path / "library.py").write_text(held_out("code").content[:20_000])
    held = frozenset(lines_of(held_out("code").content))
    documents, skipped = personal([tmp_path], held)
    assert [Path(document.name).name for document in documents] == ["a.txt"]
    assert skipped == {"not text": 3, "empty": 1, "quality is measured on it": 1}


def test_lines_that_quality_is_measured_on_are_cut_out_of_a_longer_text(tmp_path: Path) -> None:
    foreign = [line for line in held_out("code").content.splitlines() if len(line) > 60][:40]
    ours = [f"of our own, and there is only one line that is number {number}" for number in range(400)]
    (tmp_path / "mixed.py").write_text("\n".join([*ours[:200], *foreign, "short", *ours[200:]]))
    held = frozenset(lines_of(held_out("code").content))
    (document,), skipped = personal([tmp_path], held)
    assert document.load() == "\n".join([*ours[:200], "short", *ours[200:]])
    assert skipped == {"lines that quality is measured on": 40}
    found = chosen(texts=(tmp_path,), own_text_only=True, tokens=2048)
    assert dict(found.skipped) == {"lines that quality is measured on": 40}
    assert not lines_of(text_of(found.tokens)) & held


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "x.png").write_bytes(b"\0")])
def test_a_folder_without_text_is_refused_with_a_sentence(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path)
    with pytest.raises(InvalidRequestError, match="no text in what you chose") as error:
        chosen(texts=(tmp_path,))
    assert error.value.why
    assert error.value.remedy


def test_a_path_that_is_not_there_and_too_little_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="There is no text"):
        chosen(texts=(tmp_path / "gone",))
    (tmp_path / "short.txt").write_text("hello world")
    with pytest.raises(InvalidRequestError, match="too little"):
        chosen(texts=(tmp_path,), own_text_only=True)
