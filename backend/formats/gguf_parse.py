"""From bytes to a `GGUFHeader`: the grammar of the file, with every count checked before it is used."""

from __future__ import annotations

from pathlib import Path

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import Cursor, damaged, split_strings, truncated
from backend.formats.gguf_header import DEFAULT_ALIGNMENT, GGUFArray, GGUFHeader, TensorInfo, Value
from backend.formats.gguf_tables import REMOVED_TENSOR_TYPES, SCALAR_FORMATS, TENSOR_TYPES, ValueType
from backend.formats.sniff import SNIFF_BYTES, not_gguf

__all__ = ["MAX_ELEMENT_BYTES", "parse"]

MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 16
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 4 << 20
MAX_ELEMENT_BYTES = 1 << 16
#: strings of all arrays together; the largest known files have 0.8 million, and each costs 0.15 us
MAX_STRINGS = 1_500_000
#: shorter arrays become tuples in `metadata`, longer ones a `GGUFArray`
INLINE_NUMBERS = 1024
INLINE_STRINGS = 64


def parse(path: Path, cursor: Cursor) -> GGUFHeader:
    """One file's header, its tensors not yet checked against each other; it keeps the cursor's buffer for the checks.

    Raises:
        InvalidModelFileError, UnsupportedModelError: with the reason in a sentence.
    """
    cursor.need(min(SNIFF_BYTES, cursor.size))
    if cursor.buffer[:4] != b"GGUF":
        raise not_gguf(path, cursor.buffer[:SNIFF_BYTES], cursor.size)
    cursor.skip(4)
    version = cursor.u32()
    _check_version(version)
    tensor_count, key_count = cursor.u64(), cursor.u64()
    # The smallest entries: a key of one letter with a one-byte value, and a tensor of one dimension.
    if key_count * 14 > cursor.remaining or tensor_count * 33 > cursor.remaining:
        raise truncated(f"{key_count} keys and {tensor_count} tensors in {cursor.remaining} bytes")
    if key_count > MAX_KEYS or tensor_count > MAX_TENSORS:
        raise damaged(
            "It announces more entries than any known model has.", f"{key_count} keys, {tensor_count} tensors"
        )
    metadata, value_types, arrays = _metadata(cursor, key_count)
    alignment = _alignment(metadata, value_types)
    tensors = _tensors(cursor, tensor_count)
    data_offset = cursor.position + (-cursor.position % alignment)
    if tensors and data_offset > cursor.size:
        raise truncated(f"tensor data would begin at {data_offset} of {cursor.size}")
    return GGUFHeader(
        path=path,
        version=version,
        metadata=metadata,
        value_types=value_types,
        arrays=arrays,
        tensors=tensors,
        file_size=cursor.size,
        data_offset=data_offset,
        alignment=alignment,
        parts=(path,),
        total_bytes=cursor.size,
        buffer=cursor.buffer,
    )


def _check_version(version: int) -> None:
    if version in (2, 3):
        return
    what = "This model is in a variant of GGUF that cannot be opened here."
    if version == 1:
        why, remedy = (
            "It is version 1, which was in use for some weeks in 2023.",
            "Look for a newer file of this model.",
        )
    elif version & 0xFFFF == 0 and version:
        why = "Its numbers are stored in big-endian order, made for another kind of processor."
        remedy = "Look for the usual (little-endian) file of this model."
    elif 3 < version < 100:
        why, remedy = f"It is version {version}; versions 2 and 3 are known.", "Look for a newer version of Nutshell."
    else:
        raise damaged("Its version number makes no sense.", f"version {version}")
    raise UnsupportedModelError(what, why=why, remedy=remedy)


def _metadata(cursor: Cursor, count: int) -> tuple[dict[str, Value], dict[str, int], dict[str, GGUFArray]]:
    metadata: dict[str, Value] = {}
    types: dict[str, int] = {}
    arrays: dict[str, GGUFArray] = {}
    budget = MAX_STRINGS
    for _ in range(count):
        key = _name(cursor.string(MAX_KEY_BYTES, "name"), "A setting")
        if key in metadata:
            raise damaged("A setting stands in it twice.", key)
        kind = types[key] = cursor.u32()
        if kind == ValueType.ARRAY:
            array = arrays[key] = GGUFArray(cursor.u32(), cursor.u64(), cursor.position)
            metadata[key] = _array(cursor, key, array, budget)
            budget -= array.count if array.element_type == ValueType.STRING else 0
        elif kind == ValueType.STRING:
            metadata[key] = cursor.string(MAX_STRING_BYTES, "text").decode(errors="replace")
        elif kind in SCALAR_FORMATS:
            value = cursor.scalar(*SCALAR_FORMATS[kind])
            metadata[key] = value != 0 if kind == ValueType.BOOL else value
        else:
            raise damaged("A setting has a kind of value that does not exist.", f"{key}: type {kind}")
    return metadata, types, arrays


def _name(raw: bytes, what: str) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise damaged(f"{what} has an unreadable name.", repr(raw[:80])) from error
    if not name or not name.isprintable():
        raise damaged(f"{what} has an unreadable name.", repr(raw[:80]))
    return name


def _array(cursor: Cursor, key: str, array: GGUFArray, budget: int) -> Value:
    """Moves over an array; its values where it is short, else `array`."""
    kind, count = array.element_type, array.count
    if kind == ValueType.ARRAY:
        raise UnsupportedModelError(
            "This model is in a variant of GGUF that cannot be opened here.",
            why="A setting holds lists inside a list, which the engine does not read.",
            remedy="Choose another file of this model.",
            details=key,
        )
    if kind == ValueType.STRING:
        if count * 8 > cursor.remaining:
            raise truncated(f"{key}: {count} strings in {cursor.remaining} bytes")
        if count > budget:
            raise damaged("A list in its header is far too long.", f"{key}: {count} strings")
        cursor.skip_strings(count, MAX_ELEMENT_BYTES)
        if count > INLINE_STRINGS:
            return array
        return tuple(item.decode(errors="replace") for item in split_strings(cursor.buffer, array.offset, count))
    if kind not in SCALAR_FORMATS:
        raise damaged("A list holds a kind of value that does not exist.", f"{key}: type {kind}")
    letter, width = SCALAR_FORMATS[kind]
    if count * width > cursor.remaining:
        raise truncated(f"{key}: {count} values in {cursor.remaining} bytes")
    if count > INLINE_NUMBERS:
        cursor.skip(count * width)
        return array
    numbers = tuple(cursor.scalar(letter, width) for _ in range(count))
    return tuple(number != 0 for number in numbers) if kind == ValueType.BOOL else numbers


def _alignment(metadata: dict[str, Value], types: dict[str, int]) -> int:
    if "general.alignment" not in metadata:
        return DEFAULT_ALIGNMENT
    value = metadata["general.alignment"]
    if types["general.alignment"] != ValueType.UINT32 or not isinstance(value, int):
        raise damaged("It does not say properly how its data is laid out.", f"general.alignment = {value!r}")
    if value < 1 or value & (value - 1) or value > 1 << 20:
        raise damaged("It does not say properly how its data is laid out.", f"general.alignment = {value}")
    if value < DEFAULT_ALIGNMENT:  # the engine maps the file and asserts 32-byte addresses
        raise UnsupportedModelError(
            "This model is in a variant of GGUF that cannot be opened here.",
            why=f"Its data is packed to {value} bytes where the engine needs {DEFAULT_ALIGNMENT}.",
            remedy="Choose another file of this model.",
        )
    return value


def _tensors(cursor: Cursor, count: int) -> tuple[TensorInfo, ...]:
    tensors = []
    for _ in range(count):
        name = _name(cursor.string(MAX_KEY_BYTES, "name"), "A tensor (a block of weights)")
        if len(name.encode()) > 63:  # the engine's own limit
            raise damaged("A tensor (a block of weights) has a name that is too long.", name)
        dimensions = cursor.u32()
        if not 1 <= dimensions <= 4:
            raise damaged("A tensor (a block of weights) has an impossible shape.", f"{name}: {dimensions} dimensions")
        shape = tuple(cursor.u64() for _ in range(dimensions))
        kind, offset = cursor.u32(), cursor.u64()
        tensors.append(_tensor(name, shape, kind, offset))
    return tuple(tensors)


def _tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> TensorInfo:
    elements = 1
    for length in shape:
        elements *= length
    if not 1 <= elements < 1 << 63:
        raise damaged("A tensor (a block of weights) has an impossible shape.", f"{name}: {shape}")
    if kind not in TENSOR_TYPES:
        if kind in REMOVED_TENSOR_TYPES:
            raise UnsupportedModelError(
                "This model is too old for the engine.",
                why="Its weights are stored in a way that the engine gave up.",
                remedy="Look for a newer file of this model.",
                details=f"{name}: type {kind}",
            )
        raise damaged("A tensor (a block of weights) has a type that is not known.", f"{name}: type {kind}")
    layout = TENSOR_TYPES[kind]
    if shape[0] % layout.block:
        raise damaged(
            "A tensor (a block of weights) has rows that do not fit its type.", f"{name}: {shape} {layout.name}"
        )
    return TensorInfo(name, shape, kind, offset, elements, elements // layout.block * layout.bytes)
