"""Packing and unpacking of linears, one module per scheme (../cpu/layout.md)."""
