"""The ops of every level against the scalar level, without Python: for other processors, and under sanitizers."""
