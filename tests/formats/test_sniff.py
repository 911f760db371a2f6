from __future__ import annotations

import os
import socket
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.gguf import read_header

SAFETENSORS = struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(10)


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    for part in (caught.value.what, caught.value.why, caught.value.remedy):
        assert part.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("data", "kind", "word"),
    [
        (b"", InvalidModelFileError, "empty"),
        (bytes(5000), InvalidModelFileError, "zeros"),
        (b"GG", InvalidModelFileError, "text"),
        (b"GGUF", InvalidModelFileError, "incomplete"),
        (b"\x01\x02\xfe", InvalidModelFileError, "3 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", InvalidModelFileError, "pointer"),
        (b"<!DOCTYPE html>\n<html></html>", InvalidModelFileError, "web page"),
        (b"\xef\xbb\xbf  <html>", InvalidModelFileError, "web page"),
        (b"\x80\x04\x95\x00\x00", UnsupportedModelError, "pickle"),
        (b"\x80\x02}q\x00.", UnsupportedModelError, "pickle"),
        (SAFETENSORS, UnsupportedModelError, "safetensors"),
        (b"tjgg\x03\0\0\0", UnsupportedModelError, "GGML"),
        (b"lmgg\x03\0\0\0", UnsupportedModelError, "GGML"),
        (b"\x1f\x8b\x08\0", InvalidModelFileError, "gzip"),
        (b'{"error": "Entry not found"}', InvalidModelFileError, "JSON"),
        (b"Entry not found", InvalidModelFileError, "text"),
        ("Zu wenig Platz – später".encode() * 200, InvalidModelFileError, "text"),
        (b"\x7fELF\x02", InvalidModelFileError, "program"),
        (b"MZ\x90\0", InvalidModelFileError, "program"),
        (b"\x89PNG\r\n", InvalidModelFileError, "picture"),
        (b"%PDF-1.7", InvalidModelFileError, "PDF"),
        (b"\x89HDF\r\n", UnsupportedModelError, "HDF5"),
        (bytes(range(256)) * 20, InvalidModelFileError, "does not begin"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_says_what_the_file_is(tmp_path: Path, data: bytes, kind: type[ModelError], word: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    error = refusal(path)
    assert type(error) is kind
    assert word in str(error)


def test_a_pytorch_checkpoint_is_told_from_another_archive(tmp_path: Path) -> None:
    for name, word, kind in (
        ("archive/data.pkl", "PyTorch", UnsupportedModelError),
        ("readme.md", "ZIP", InvalidModelFileError),
    ):
        with zipfile.ZipFile(tmp_path / "m.gguf", "w") as archive:
            archive.writestr(name, "text")
        error = refusal(tmp_path / "m.gguf")
        assert type(error) is kind
        assert word in error.why


@pytest.mark.parametrize(
    "name", ["m.gguf.part", "m.gguf.crdownload", "m.gguf.downloadInProgress", "0a1b.incomplete", "sha256-00-partial-3"]
)
def test_unfinished_downloads(tiny_gguf: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(tiny_gguf.read_bytes())
    assert "unfinished" in str(refusal(tmp_path / name))


def test_missing_and_folder(tmp_path: Path) -> None:
    assert "not there" in str(refusal(tmp_path / "none.gguf"))
    assert "folder" in str(refusal(tmp_path))
    assert "not there" in str(refusal(tmp_path / "a" / "b.gguf"))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes in the file system are a thing of POSIX")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "pipe" in str(refusal(tmp_path / "pipe.gguf"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "pipe" in str(refusal(tmp_path / "s"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions differ")
def test_a_file_that_may_not_be_read(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    error = refusal(tiny_gguf)
    assert "cannot be read" in error.what
    assert "Permission denied" in error.why
