"""The kernels of `macrodyn.systems.ising.kernels` on an NVIDIA GPU: one thread a block of spins.

What advances a block is not written again here: the CPU's Python functions are compiled for the
GPU. Uniformisation gives the same bits as on the CPU, for it uses integers alone and the number of
attempts is drawn on the CPU. The n-fold way takes the same flips in the same order, since its sums
and products are rounded alike; the logarithm in its waiting times may differ in the last bit, so
that elapsed times agree to rounding, and a flip that falls on the end of the duration to within
rounding may be made on one device and not on the other.

Uniformisation keeps its random words in global memory, word by word across the threads, so that the
threads of a warp, which go through them together, read and write neighbouring words.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np
from numba.core import config
from numba.cuda import libdevice
from numpy.typing import NDArray

from macrodyn.systems.ising import kernels

_SIMULATED = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
cuda: Any = import_module("numba.cuda")  # its types are not those of the code that it compiles
_log = logging.getLogger("macrodyn")

_THREADS = 128  # of a CUDA block
_BLOCK_BYTES = 1 << 29  # most bytes of spins on the GPU at a time
_WORKSPACE_BYTES = 1 << 29  # most bytes of workspace on the GPU


def _rounded_product(a, b):  # type: ignore[no-untyped-def]
    return libdevice.dmul_rn(a, b)


def _compile_for_device() -> dict[str, Any]:
    """Compile the CPU's functions for the GPU, each calling the others' GPU versions."""
    compiled: dict[str, Any] = {}
    for function in kernels.DEVICE_FUNCTIONS:
        python = function.py_func
        scope = {**python.__globals__, **compiled}
        ported = FunctionType(python.__code__, scope, python.__name__, python.__defaults__)
        compiled[python.__name__] = cuda.jit(device=True)(ported)
        # The simulator knows no instructions of GPUs, and rounds like a CPU without them.
        if python is kernels.product.py_func and not _SIMULATED:
            compiled[python.__name__] = cuda.jit(device=True)(_rounded_product)
    return compiled


_device = _compile_for_device()
_mirror, _accepts_few = _device["mirror"], _device["accepts_few"]
_make_attempts, _nfold_way = _device["make_attempts"], _device["nfold_way"]
_CLASSES = kernels.CLASSES


@cuda.jit
def _prepare(  # type: ignore[no-untyped-def]
    blocks, width, periodic, place, ghosts, rates, automatic, few
):
    """Set the rims of periodic blocks, and say which accept few attempts."""
    b = cuda.grid(1)
    if b < blocks.shape[0]:
        if periodic:
            _mirror(blocks[b], place, ghosts)
        if automatic:
            few[b] = _accepts_few(blocks[b], width, place, rates)


@cuda.jit
def _uniformise(  # type: ignore[no-untyped-def]
    blocks, width, place, ghosts, thresholds, which, attempts, keys, words, flips
):
    """Uniformisation of the blocks ``which``; ``words`` is a workspace [WORDS, threads]."""
    t = cuda.grid(1)
    if t < which.size:
        x = blocks[which[t]]
        corner = x[0]
        flips[t] = _make_attempts(
            x, width, place, ghosts, thresholds, attempts[t], keys[t], words[:, t]
        )
        x[0] = corner


@cuda.jit
def _nfold(  # type: ignore[no-untyped-def]
    blocks, width, place, ghosts, site_at, rates, duration, events, which, keys, work, flips, times
):
    """The n-fold way of the blocks ``which``; ``work`` is a workspace [threads, 12 n + 10]."""
    t = cuda.grid(1)
    if t < which.size:
        x = blocks[which[t]]
        corner = x[0]
        n, row = place.size, work[t]
        end = _CLASSES * n
        flips[t], times[t] = _nfold_way(
            x,
            width,
            place,
            ghosts,
            site_at,
            rates,
            duration,
            events,
            keys[t],
            row[:end],
            row[end : end + _CLASSES],
            row[end + _CLASSES : end + _CLASSES + n],
            row[end + _CLASSES + n :],
        )
        x[0] = corner


@dataclass(frozen=True, kw_only=True)
class _Lattice:
    """What all blocks of a batch share, on the GPU; `kernels` says what the arrays hold."""

    width: int
    sites: int
    place: Any
    ghosts: Any
    site_at: Any
    rates: Any
    thresholds: Any

    @classmethod
    def upload(cls, height: int, width: int, periodic: bool, rates: NDArray) -> _Lattice:
        place, ghosts, site_at = kernels.site_tables(height - 2, width - 2, periodic)
        return cls(
            width=width,
            sites=len(place),
            place=cuda.to_device(place),
            ghosts=cuda.to_device(ghosts),
            site_at=cuda.to_device(site_at),
            rates=cuda.to_device(rates),
            thresholds=cuda.to_device(kernels.flip_thresholds(rates)),
        )


def advance(
    blocks: NDArray,
    periodic: bool,
    rates: NDArray,
    duration: float,
    events: int,
    keys: NDArray,
    algorithm: int,
) -> tuple[NDArray, NDArray, NDArray]:
    """Advance a batch of padded blocks in place; see `kernels.advance`.

    Spins and workspaces on the GPU stay below 1 GiB, whatever the batch.
    """
    batch, height, width = blocks.shape
    lattice = _Lattice.upload(height, width, periodic, rates)
    elapsed = np.full(batch, duration, dtype=np.float64)
    updates = np.empty(batch, dtype=np.int64)
    flips = np.empty(batch, dtype=np.int64)
    for part in _slices(batch, _BLOCK_BYTES // (height * width)):
        x = cuda.to_device(np.ascontiguousarray(blocks[part]).reshape(-1, height * width))
        use_nfold = _use_nfold(x, lattice, periodic, events, algorithm)
        for which in _choose(~use_nfold, 4 * kernels.WORDS):
            out = which + part.start
            # Drawn here, as the law of their number takes a logarithm.
            updates[out] = kernels.draw_attempts(duration * lattice.sites, keys[out])
            flips[out] = _run_uniformisation(x, lattice, which, updates[out], keys[out])
        for which in _choose(use_nfold, 4 * _nfold_integers(lattice.sites)):
            out = which + part.start
            flips[out], elapsed[out] = _run_nfold(x, lattice, which, duration, events, keys[out])
            updates[out] = flips[out]
        blocks[part] = x.copy_to_host().reshape(-1, height, width)
    return elapsed, updates, flips


def _use_nfold(
    x: Any, lattice: _Lattice, periodic: bool, events: int, algorithm: int
) -> NDArray[np.bool_]:
    """Set periodic rims, and choose the algorithm of each block as the CPU does."""
    automatic = algorithm == kernels.AUTOMATIC and events < 0
    few = cuda.to_device(np.full(x.shape[0], events >= 0 or algorithm == kernels.NFOLD))
    _launch(
        _prepare,
        x.shape[0],
        x,
        lattice.width,
        periodic,
        lattice.place,
        lattice.ghosts,
        lattice.rates,
        automatic,
        few,
    )
    return few.copy_to_host()


def _run_uniformisation(
    x: Any, lattice: _Lattice, which: NDArray, attempts: NDArray, keys: NDArray
) -> NDArray:
    """Flips of the blocks ``which``, [len(which)]."""
    flips = cuda.device_array(len(which), dtype=np.int64)
    _launch(
        _uniformise,
        len(which),
        x,
        lattice.width,
        lattice.place,
        lattice.ghosts,
        lattice.thresholds,
        cuda.to_device(which),
        cuda.to_device(attempts),
        cuda.to_device(keys),
        cuda.device_array((kernels.WORDS, len(which)), dtype=np.uint32),
        flips,
    )
    return flips.copy_to_host()


def _run_nfold(
    x: Any, lattice: _Lattice, which: NDArray, duration: float, events: int, keys: NDArray
) -> tuple[NDArray, NDArray]:
    """Flips and elapsed times of the blocks ``which``, [len(which)] each."""
    flips = cuda.device_array(len(which), dtype=np.int64)
    times = cuda.device_array(len(which), dtype=np.float64)
    _launch(
        _nfold,
        len(which),
        x,
        lattice.width,
        lattice.place,
        lattice.ghosts,
        lattice.site_at,
        lattice.rates,
        duration,
        events,
        cuda.to_device(which),
        cuda.to_device(keys),
        cuda.device_array((len(which), _nfold_integers(lattice.sites)), dtype=np.int32),
        flips,
        times,
    )
    return flips.copy_to_host(), times.copy_to_host()


def _nfold_integers(sites: int) -> int:
    """Workspace of one block: members of the classes, their numbers, and two tables of sites."""
    return _CLASSES * sites + _CLASSES + 2 * sites


def _slices(length: int, most: int) -> Iterator[slice]:
    """Cut a range into slices of at most ``most``, but not less than one."""
    step = max(most, 1)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _choose(chosen: NDArray[np.bool_], bytes_each: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of the chosen blocks, as many at a time as there is workspace for."""
    which = np.flatnonzero(chosen)
    for part in _slices(len(which), _WORKSPACE_BYTES // bytes_each):
        yield which[part]


def _launch(kernel: Any, threads: int, *arguments: Any) -> None:
    with warnings.catch_warnings():
        # A small batch leaves most of a GPU idle: no reason to say so at every launch.
        warnings.filterwarnings("ignore", message="Grid size")
        kernel[-(-threads // _THREADS), min(_THREADS, threads)](*arguments)


@cache
def is_usable() -> bool:
    """Whether there is a GPU that runs the kernels and agrees with the CPU; logs why not, once."""
    reason = "Numba finds no CUDA device or toolkit (macrodyn[cuda] installs the toolkit)"
    if cuda.is_available():
        try:
            if _agrees_with_cpu():
                return True
            reason = "a trial on the GPU gave other spins than on the CPU"
        except Exception as error:  # whatever is wrong with this node's driver
            reason = f"a trial on the GPU failed: {type(error).__name__}: {error}"
    _log.warning("Ising spins evolve on the CPU, with the same results, not on a GPU: %s", reason)
    return False


def _agrees_with_cpu() -> bool:
    """Whether both algorithms, compiled and run, give the CPU's spins on a few small blocks."""
    rates = kernels.flip_rates(2.5, 0.1)
    keys = np.arange(1, 4, dtype=np.uint64)
    for events, algorithm in ((-1, kernels.UNIFORMISATION), (12, kernels.NFOLD)):
        here = np.ones((3, 6, 7), dtype=np.int8)
        there = here.copy()
        expected = kernels.advance(here, True, rates, 2.0, events, keys, algorithm)
        results = advance(there, True, rates, 2.0, events, keys, algorithm)
        # Times may differ by rounding.
        alike = np.allclose(results[0], expected[0], rtol=1e-12, atol=0.0)
        same = all(np.array_equal(a, b) for a, b in zip(results[1:], expected[1:], strict=True))
        if not (alike and same and np.array_equal(here, there)):
            return False
    return True
