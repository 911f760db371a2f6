"""Packing and unpacking of linears, one module per scheme (../cpu/layout.md)."""

#: Grows when the bytes of a scheme change, together with kLayout in kernels/cpu/types.h.
LAYOUT = 3
