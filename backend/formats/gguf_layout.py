"""Where the tensors lie in the file: inside it, aligned, none over another, in the order that the engine demands."""

from __future__ import annotations

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import damaged, truncated
from backend.formats.gguf_header import GGUFHeader

__all__ = ["check_layout"]


def check_layout(header: GGUFHeader) -> None:
    """Checks one file's tensors against each other and against its size.

    Raises:
        InvalidModelFileError: two tensors share a name or bytes, or lie outside the file.
        UnsupportedModelError: gaps or another order, which the format allows and llama.cpp does not.
    """
    names = {tensor.name for tensor in header.tensors}
    if len(names) != len(header.tensors):
        raise damaged("Two of its tensors (blocks of weights) have the same name.")
    room = header.file_size - header.data_offset
    end = 0
    for tensor in sorted(header.tensors, key=lambda tensor: tensor.offset):
        if tensor.offset % header.alignment:
            raise damaged("A tensor (a block of weights) begins at an impossible place.", repr(tensor))
        if tensor.offset < end:
            raise damaged("Two of its tensors (blocks of weights) overlap.", repr(tensor))
        end = tensor.offset + tensor.bytes
        if end > room:
            raise truncated(f"{tensor} ends at {end} of {room} bytes of data")
    expected = 0
    for tensor in header.tensors:
        if tensor.offset != expected:
            raise UnsupportedModelError(
                "This model is in a variant of GGUF that cannot be opened here.",
                why="Its weights do not follow one another in the order of its table of contents.",
                remedy="Choose another file of this model.",
                details=f"{tensor}: expected {expected}",
            )
        expected += tensor.bytes + (-tensor.bytes % header.alignment)
