"""`CudaExecutor`: a recorded program on torch and our Triton kernels.

Weights live on the device; steps are torch operations apart from the packed linears. Decoding one token is captured as
a CUDA graph, one for each power-of-two length of the cache: a decode step of a 1.5B model is some 400 launches, and
launching them one by one costs more than the work. The same code runs eagerly on a CPU device, which is how the tests
run it, with the kernels under Triton's interpreter (TRITON_INTERPRET=1).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from kernels import tree
from kernels.cuda.placed import Placed
from kernels.cuda.weights import embedding, linear
from kernels.program import (
    Add,
    Attention,
    Embed,
    Floats,
    LinearAdd,
    Linears,
    Program,
    RmsNorm,
    Rope,
    Step,
    SwiGlu,
)

#: The shortest cache that a graph is captured for.
_LEAST_GRAPH = 256


class CudaExecutor:
    """See `kernels.program.Executor`.

    Args:
        capacity: positions of the cache.
        device: where; None is the first CUDA device.
        dtype: compute dtype; float16 on CUDA unless told, float32 on a CPU.
        placed: its weights, which several executors of one program share; None: all of them are brought to the device.
    """

    def __init__(
        self,
        program: Program,
        *,
        capacity: int,
        max_rows: int = 512,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        placed: Placed | None = None,
    ) -> None:
        self.device = device or torch.device("cuda")
        self.dtype = dtype or (torch.float16 if self.device.type == "cuda" else torch.float32)
        self._placed = placed or Placed(program, self.device, self.dtype)
        self._ring = self._placed.ring
        self.capacity, self.max_rows = capacity, max_rows
        self._program = program
        self._length = 0
        self._provisional = 0
        self._hidden: torch.Tensor | None = None
        self._abort = threading.Event()
        self._constants: dict[int, torch.Tensor] = {}
        self._caches: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for step in program.steps:
            self._place(step)
        self._graphs: dict[int, _DecodeGraph] = {}

    @property
    def length(self) -> int:
        """Committed tokens in the cache."""
        return self._length

    @property
    def kv_bytes(self) -> int:
        """Bytes of the whole cache."""
        return sum(k.nbytes + v.nbytes for k, v in self._caches.values())

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int], parents: Sequence[int], wanted: Sequence[int]) -> Floats:
        """See `kernels.program.Executor.forward`."""
        n = len(tokens)
        if n > self.max_rows or self._length + n > self.capacity:
            raise ValueError(f"{n} nodes behind {self._length} tokens: the cache has {self.capacity} positions")
        positions, mask, chain = tree.positions_and_mask(parents, self._length)
        if self._abort.is_set():
            raise InterruptedError
        ids = torch.as_tensor(np.asarray(tokens, np.int64), device=self.device)
        # a pass that waits for the link gains nothing from a graph, and its copies would have to be part of it
        if n == 1 and self.device.type == "cuda" and self._ring is None:
            final, logits = self._graph().run(ids, self._length)
            logits = logits[: len(wanted)]
        else:
            seen = torch.from_numpy(_visible(mask, n, self._length, chain)).to(self.device)
            cells = torch.arange(self._length, self._length + n, device=self.device)
            rows = torch.as_tensor(np.asarray(wanted, np.int64), device=self.device)
            places = torch.as_tensor(positions.astype(np.int64), device=self.device)
            final, logits = self._pass(ids, places, cells, seen, self._length + n, rows)
        self._hidden, self._provisional = final, n
        return logits.float().cpu().numpy()

    def hidden(self) -> Floats:
        """See `kernels.program.Executor.hidden`."""
        if self._hidden is None:
            raise ValueError("nothing was computed yet")
        return self._hidden.float().cpu().numpy()

    @torch.inference_mode()
    def commit(self, path: Sequence[int]) -> None:
        """See `kernels.program.Executor.commit`."""
        if any(not 0 <= node < self._provisional for node in path):
            raise ValueError("a path names nodes of the last forward")
        if list(path) != list(range(len(path))):  # a gather reads all before it writes any
            source = torch.as_tensor(np.asarray(path, np.int64) + self._length, device=self.device)
            for k, v in self._caches.values():
                k[:, self._length : self._length + len(path)] = k[:, source]
                v[:, self._length : self._length + len(path)] = v[:, source]
        self._length += len(path)
        self._provisional = 0

    def rewind(self, length: int) -> None:
        """See `kernels.program.Executor.rewind`."""
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot rewind {self._length} tokens to {length}")
        self._length, self._provisional = length, 0

    def abort(self, flag: bool) -> None:
        """See `kernels.program.Executor.abort`."""
        if flag:
            self._abort.set()
        else:
            self._abort.clear()

    # loading

    def _place(self, step: Step) -> None:
        """Brings what a step needs beside its weights to the device."""
        if isinstance(step, RmsNorm):
            self._constants[id(step)] = torch.from_numpy(step.weight.copy()).to(self.device)
        elif isinstance(step, Rope):
            self._constants[id(step)] = torch.from_numpy(step.inverse_frequencies.copy()).to(self.device)
        elif isinstance(step, Attention):
            shape = (step.k.width // step.head_dim, self.capacity, step.head_dim)
            self._caches[step.layer] = (
                torch.zeros(shape, dtype=self.dtype, device=self.device),
                torch.zeros(shape, dtype=self.dtype, device=self.device),
            )

    # computing

    def _pass(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        cells: torch.Tensor,
        seen: torch.Tensor,
        extent: int,
        wanted: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All steps. seen: (n, extent) bool. Returns all rows' hidden states and the wanted rows' logits."""
        values: dict[int, torch.Tensor] = {}
        final = logits = torch.empty(0)
        ring = self._ring
        if ring is not None:
            ring.begin()
        for number, step in enumerate(self._program.steps):
            if self._abort.is_set():
                raise InterruptedError
            if ring is not None:
                ring.take(number)
            if isinstance(step, Embed):
                values[step.out.index] = embedding(ids, self._placed[step.table]) * step.scale
            elif isinstance(step, RmsNorm):
                values[step.out.index] = self._rms_norm(values[step.x.index], step)
            elif isinstance(step, Linears):
                for packed, out in zip(step.weights, step.outs, strict=True):
                    values[out.index] = linear(values[step.x.index], self._placed[packed])
            elif isinstance(step, LinearAdd):
                added = linear(values[step.x.index], self._placed[step.weight])
                values[step.residual.index] = values[step.residual.index] + added
            elif isinstance(step, Rope):
                values[step.x.index] = self._rope(values[step.x.index], positions, step)
            elif isinstance(step, Attention):
                values[step.out.index] = self._attention(values, step, positions, cells, seen, extent)
            elif isinstance(step, SwiGlu):
                values[step.out.index] = functional.silu(values[step.gate.index]) * values[step.up.index]
            elif isinstance(step, Add):
                values[step.x.index] = values[step.x.index] + values[step.y.index]
            else:
                final = values[step.final.index]
                logits = linear(final[wanted], self._placed[step.head])
            if ring is not None:
                ring.done(number)
        return final, logits

    def _rms_norm(self, x: torch.Tensor, step: RmsNorm) -> torch.Tensor:
        weight = self._constants[id(step)]
        runs = x.float().reshape(x.shape[0], -1, weight.shape[0])
        normed = runs * torch.rsqrt(runs.square().mean(-1, keepdim=True) + step.eps) * weight
        return normed.reshape(x.shape).to(self.dtype)

    def _rope(self, x: torch.Tensor, positions: torch.Tensor, step: Rope) -> torch.Tensor:
        angles = positions[:, None].float() * self._constants[id(step)][None, :]
        cos = (angles.cos() * step.attention_factor)[:, None, :]
        sin = (angles.sin() * step.attention_factor)[:, None, :]
        half = angles.shape[1]
        heads = x.float().reshape(x.shape[0], -1, step.head_dim)
        a, b, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
        return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1).reshape(x.shape).to(self.dtype)

    def _attention(
        self,
        values: dict[int, torch.Tensor],
        step: Attention,
        positions: torch.Tensor,
        cells: torch.Tensor,
        seen: torch.Tensor,
        extent: int,
    ) -> torch.Tensor:
        k_cache, v_cache = self._caches[step.layer]
        n = positions.shape[0]
        k_cache[:, cells] = values[step.k.index].reshape(n, -1, step.head_dim).transpose(0, 1)
        v_cache[:, cells] = values[step.v.index].reshape(n, -1, step.head_dim).transpose(0, 1)
        if step.window:
            # a committed cell's position is its index; a provisional node's is its own
            at = torch.arange(extent, device=self.device)
            at = at.scatter(0, cells, positions)
            seen = seen & (positions[:, None] - at[None, :] < step.window)
        q = values[step.q.index].reshape(n, -1, step.head_dim).transpose(0, 1)
        groups = q.shape[0] // k_cache.shape[0]
        out = functional.scaled_dot_product_attention(
            q[None],
            k_cache[:, :extent].repeat_interleave(groups, 0)[None],
            v_cache[:, :extent].repeat_interleave(groups, 0)[None],
            attn_mask=seen[None, None],
            scale=step.scale,
        )
        return out[0].transpose(0, 1).reshape(n, -1)

    def _graph(self) -> _DecodeGraph:
        """The graph for the present length: its extent is the next power of two."""
        extent = min(self.capacity, max(_LEAST_GRAPH, 1 << self._length.bit_length()))
        if extent not in self._graphs:
            self._graphs[extent] = _DecodeGraph(self, extent)
        return self._graphs[extent]


class _DecodeGraph:
    """One decode step, captured for a fixed extent of the cache; token, position and mask are inputs on the device."""

    def __init__(self, executor: CudaExecutor, extent: int) -> None:
        device = executor.device
        self._token = torch.zeros(1, dtype=torch.int64, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._cells = torch.arange(extent, device=device)
        wanted = torch.zeros(1, dtype=torch.int64, device=device)

        def step() -> tuple[torch.Tensor, torch.Tensor]:
            seen = self._cells[None, :] <= self._position
            return executor._pass(self._token, self._position, self._position, seen, extent, wanted)

        # The warm-up passes write one cell. Position `length` is the one that the first replay writes anyway.
        self._position.fill_(executor.length)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._final, self._logits = step()

    def run(self, token: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        self._token.copy_(token)
        self._position.fill_(position)
        self._graph.replay()
        return self._final, self._logits


def _visible(mask: npt.NDArray[np.uint64], n: int, length: int, chain: bool) -> npt.NDArray[np.bool_]:
    """(n, length + n) bool: all committed cells, and the provisional ones of the mask's bits."""
    seen = np.ones((n, length + n), bool)
    if chain:
        seen[:, length:] = np.tri(n, dtype=bool)
    else:
        bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")
        seen[:, length:] = bits[:, :n].astype(bool)
    return seen
