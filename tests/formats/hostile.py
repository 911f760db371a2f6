"""Damages safetensors files, and holds that what comes of it is a sentence."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.safetensors import BYTES


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def sentence(error: ModelError) -> ModelError:
    for part in (error.what, error.why, error.remedy):
        assert part.endswith("."), part
        assert part.isprintable(), part
    return error


_EVIL = [0, 1, -1, 7, 8, 9, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 1.5, "8", None, [], {}, True, 10**400]


def _mutate(data: bytes, rng: random.Random) -> bytes:
    """Flipped bits, cut ends, and JSON that is sound but says something else."""
    length = int.from_bytes(data[:8], "little")
    kind = rng.randrange(5)
    damaged = bytearray(data)
    if kind == 0:
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(min(len(data), 8 + length))] ^= 1 << rng.randrange(8)
        return bytes(damaged)
    if kind == 1:
        return data[: rng.randrange(len(data))]
    if kind == 2:
        damaged[:8] = rng.choice((0, 1, length - 1, length + 1, len(data), 1 << 31, 1 << 63)).to_bytes(8, "little")
        return bytes(damaged)
    header = json.loads(data[8 : 8 + length])
    name = rng.choice(list(header))
    if kind == 3 or name == "__metadata__":
        key = rng.choice(["dtype", "shape", "data_offsets"])
        if isinstance(header[name].get(key), list) and header[name][key] and rng.random() < 0.7:
            header[name][key][rng.randrange(len(header[name][key]))] = rng.choice(_EVIL)
        else:
            header[name][key] = rng.choice([*_EVIL, *BYTES])
    else:
        other = rng.choice(list(header))
        header[name] = header[other] if rng.random() < 0.5 else rng.choice(_EVIL)
    text = json.dumps(header, separators=(",", ":")).encode()
    return container(text.ljust(length), data[8 + length :])  # the data stays where it was, if there is room


def hostile(path: Path, n: int, seed: int, use: Callable[[Path], None]) -> int:
    """Calls `use` on damaged copies of a file, in place; returns how many it took. Anything but a sentence fails."""
    data = path.read_bytes()
    rng = random.Random(seed)
    accepted, slowest = 0, 0.0
    for number in range(n):
        path.write_bytes(_mutate(data, rng))
        start = time.process_time()
        try:
            use(path)
            accepted += 1
        except (InvalidModelFileError, UnsupportedModelError) as error:
            sentence(error)
        except Exception as error:
            raise AssertionError(f"mutation {number}") from error
        slowest = max(slowest, time.process_time() - start)
    path.write_bytes(data)
    assert slowest < 0.5
    return accepted
