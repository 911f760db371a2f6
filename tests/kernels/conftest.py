import pytest


@pytest.fixture(params=["scalar", "avx2", "avx512", "neon"])
def level(request: pytest.FixtureRequest) -> str:
    """Each instruction set by its name; one that is not compiled or not supported here is skipped."""
    from kernels import cpu

    name: str = request.param
    if name not in cpu.levels():
        pytest.skip(f"no {name} here")
    return name
