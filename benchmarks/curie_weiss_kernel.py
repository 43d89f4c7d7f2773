"""Speed of the Curie-Weiss kernel, beside the textbook's loop over attempts.

    python benchmarks/curie_weiss_kernel.py

4096 spins at T = 1.1, h = 0.1, from m = 0. Attempts a second of one core:

- ours: whole systems, exact continuous time by uniformisation;
- patch: the same for a 16 x 16 patch in the frozen field of the rest, `rest` included;
- textbook: a random site, its rate with an exponential, one random number, the magnetisation kept
  up to date; in plain Python with a NumPy generator, and compiled with Numba.

Each figure is the median of several timings that alternate between the columns.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable

import numba
import numpy as np
from numba import njit

from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters
from macrodyn.systems.windows import cut_windows

SIDE, REPEATS, TEMPERATURE, FIELD = 64, 7, 1.1, 0.1


def textbook_numpy(spins: np.ndarray, attempts: int, rng: np.random.Generator) -> None:
    """Glauber attempts one after the other."""
    n, total = spins.size, int(spins.sum())
    for _ in range(attempts):
        i = rng.integers(n)
        cost = 2.0 * spins[i] * ((total - spins[i]) / n + FIELD)
        if rng.random() < 1.0 / (1.0 + math.exp(cost / TEMPERATURE)):
            total -= 2 * int(spins[i])
            spins[i] = -spins[i]


@njit
def textbook_numba(spins, attempts, seed):
    """The same, compiled."""
    np.random.seed(seed)  # noqa: NPY002 (the only generator inside compiled code)
    n, total = spins.size, spins.sum()
    for _ in range(attempts):
        i = np.random.randint(n)  # noqa: NPY002
        cost = 2.0 * spins[i] * ((total - spins[i]) / n + FIELD)
        if np.random.random() < 1.0 / (1.0 + math.exp(cost / TEMPERATURE)):  # noqa: NPY002
            total -= 2 * spins[i]
            spins[i] = -spins[i]


def measure() -> dict[str, float]:
    """Medians of attempts a second of one core."""
    system = CurieWeiss(CurieWeissParameters(temperature=TEMPERATURE, field=FIELD))
    states = system.initial_states(np.zeros((8, 1)), (SIDE, SIDE), seeds(1, "start", index=8))
    patch = PatchGeometry((16, 16), halo=0)
    origins = Tiling((SIDE, SIDE), patch.shape).origins()
    flat = states[0].reshape(-1).astype(np.int64)

    def whole(repeat: int) -> float:
        system.evolve(states, 50.0, seeds(2, repeat, index=len(states)))
        return 50.0 * states.size

    def patches(repeat: int) -> float:
        windows, around = cut_windows(system, states, origins, patch)
        keys = seeds(3, repeat, index=len(windows))
        system.evolve_patch(windows, patch, 20.0, keys, around=around)
        return 20.0 * windows.size

    def plain(repeat: int) -> float:
        textbook_numpy(flat.copy(), 20_000, np.random.default_rng(repeat))
        return 20_000.0

    def compiled(repeat: int) -> float:
        textbook_numba(flat.copy(), 1_000_000, repeat)
        return 1_000_000.0

    columns: dict[str, Callable[[int], float]] = {
        "ours": whole,
        "patch": patches,
        "NumPy": plain,
        "Numba": compiled,
    }
    samples: dict[str, list[float]] = {name: [] for name in columns}
    for repeat in range(REPEATS + 1):
        for name, work in columns.items():
            start = time.perf_counter()
            done = work(repeat)
            if repeat:  # the first compiles
                samples[name].append(done / (time.perf_counter() - start))
    return {name: float(np.median(rates)) for name, rates in samples.items()}


def main() -> None:
    """Print the table."""
    numba.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; Numba {numba.__version__}")
    rates = measure()
    print(f"n = {SIDE * SIDE}; medians of {REPEATS} timings; attempts a second of one core\n")
    for name, rate in rates.items():
        print(
            f"{name:>6} {rate:9.3g}   {1e9 / rate:8.1f} ns   ours / it {rates['ours'] / rate:7.1f}"
        )


if __name__ == "__main__":
    main()
