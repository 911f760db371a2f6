"""Chooses the newest versions that fit pyproject.toml together, and writes the locks. For developers."""

from __future__ import annotations

import json
import subprocess
import tempfile
import tomllib
from pathlib import Path

from installer import locations
from installer.processes import environment
from installer.wheels import normal, pip, read_lock

#: what llama-cpp-python needs; it is built apart, so pip does not see it here
_OF_LLAMA = ["diskcache>=5.6.1", "jinja2>=2.11.3", "typing-extensions>=4.5", "numpy>=1.20"]
_BUILD = ["scikit-build-core", "nanobind", "cmake", "ninja"]
#: needed on one system only, by click, tqdm, pytest and keyring; pip on another system does not name it
_ELSEWHERE = {"colorama": '; sys_platform == "win32"', "pywin32-ctypes": '; sys_platform == "win32"'}
#: needed on Linux only, for keyring's Secret Service: 16 MB that the others need not fetch
_LINUX = {"secretstorage", "jeepney", "cryptography", "cffi", "pycparser"}

#: test tools that stand on torch: they use what `compression` brings, and are tried only where that is installed
_ON_COMPRESSION = "aqlm"

_HEADS = {
    "base": "What chat needs. No torch, no transformers, no pydantic: the window and the engine start without them.",
    "build": "What builds llama-cpp-python and our own kernels, in a folder of its own that is removed afterwards.",
    "compression": "What making models smaller needs on top of the base; torch itself is in torch.txt.",
    "test": "What the checks need on top of the base.",
}


def relock() -> int:
    """Resolves all parts at once, so that they agree, and writes one lock for each."""
    project = tomllib.loads((locations.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    chat = [need for need in project["project"]["dependencies"] if not need.startswith("llama-cpp-python")]
    extras = project["project"]["optional-dependencies"]
    wants = {
        "base": [*chat, *_OF_LLAMA, *project["build-system"]["requires"]],
        "build": _BUILD,
        "compression": extras["compression"],
        "test": extras["test"],
    }
    everything = _resolve([*(need for part in wants.values() for need in part), *_ELSEWHERE])
    limits = [f"{name}=={version}" for name, version in everything.items() if name != "torch"]
    (torch,) = read_lock("torch")
    base: dict[str, str] = {}
    with_torch: set[str] = set()
    for part, needs in wants.items():
        under = wants["base"] if part in {"compression", "test"} else []
        found = _resolve([*under, *(need for need in needs if not need.startswith(_ON_COMPRESSION))], limits)
        if part == "compression":
            with_torch = set(found)
        if part == "test":
            more = _resolve([*under, *wants["compression"], *needs], limits)
            found |= {name: version for name, version in more.items() if name not in with_torch}
        taken = base if part in {"compression", "test"} else {}
        found = {name: version for name, version in found.items() if name not in taken and name != torch.name}
        if part == "base":
            base = dict(found)
        lines = [
            f"{name}=={version}" + (' ; sys_platform == "linux"' if name in _LINUX and part != "build" else "")
            for name, version in found.items()
        ]
        if part != "build":
            lines += [f"{name}=={everything[name]} {marker}" for name, marker in _ELSEWHERE.items() if name not in base]
        if part == "base":
            base |= dict.fromkeys(_ELSEWHERE, "")
        text = f"# {_HEADS[part]}\n" + "".join(f"{line}\n" for line in sorted(set(lines)))
        (locations.LOCKS / f"{part}.txt").write_text(text, encoding="utf-8")
        print(f"{part}: {len(lines)} packages")
    return 0


def _resolve(needs: list[str], limits: list[str] | None = None) -> dict[str, str]:
    """What pip would install into an empty environment: name -> version."""
    with tempfile.TemporaryDirectory() as folder:
        report, constraints = Path(folder, "report.json"), Path(folder, "limits.txt")
        options = ["--quiet", "--dry-run", "--ignore-installed"]
        constraints.write_text("\n".join(limits or []), encoding="utf-8")
        subprocess.run(
            [*pip("install"), *options, "--report", str(report), "--constraint", str(constraints), *needs],
            check=True,
            env=environment(),
        )
        found = json.loads(report.read_bytes())["install"]
    return {normal(item["metadata"]["name"]): item["metadata"]["version"].split("+")[0] for item in found}
