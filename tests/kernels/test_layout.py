"""A native module of another layout is refused: it would read weights as something else, without an error."""

from __future__ import annotations

import importlib

import pytest

from kernels import cpu
from kernels.cpu import _native
from kernels.packing import LAYOUT


def test_the_native_module_has_the_layout_of_the_packing() -> None:
    assert _native.layout == LAYOUT


def test_another_layout_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "layout", LAYOUT - 1)
    with pytest.raises(ImportError, match="build them again"):
        importlib.reload(cpu)
