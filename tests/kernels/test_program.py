"""Recorded programs."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.packing import dense
from kernels.program import Program, Value


def _program() -> Program:
    table = dense.pack(np.eye(16, dtype=np.float32), "f32")
    program = Program()
    x = program.embed(table)
    gate, up = program.linears(x, table, table)
    program.linear_add(program.swiglu(gate, up), table, x)
    program.output(program.rms_norm(x, np.ones(16, np.float32), 1e-5), table)
    return program


def test_a_program_in_order_is_accepted() -> None:
    _program().check()


@pytest.mark.parametrize("step", range(4))
def test_a_step_taken_away_is_noticed_by_the_one_that_reads_it(step: int) -> None:
    program = _program()
    del program.steps[step if step < 3 else -2]  # the embedding, the linears, SwiGLU, the norm
    with pytest.raises(ValueError, match="reads a value that no step before it wrote"):
        program.check()


def test_a_value_of_nowhere_is_refused() -> None:
    program = _program()
    program.add(Value(99, 16), Value(0, 16))
    with pytest.raises(ValueError, match="Add reads a value"):
        program.check()
