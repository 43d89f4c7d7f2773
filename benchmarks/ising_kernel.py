"""Speed of the Ising kernels, beside the textbook's kinetic Monte Carlo.

    python benchmarks/ising_kernel.py

Every state of the 64x64 lattice is equilibrated first. One row a temperature:

- attempts: spin updates a second of one core by uniformisation;
- flips a second of one core, by uniformisation and by the n-fold way;
- textbook: all n rates are computed anew for each flip, in NumPy (vectorised over the lattice),
  and, to tell the algorithm from the language, the same compiled with Numba;
- the ratio of our faster kernel's flips to those of each textbook.

Each figure is the median of several timings that alternate between the kernels.
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

from macrodyn.streams import seeds
from macrodyn.systems.ising import Ising, IsingParameters, kernels

SIDE, REPEATS = 64, 7
CASES = [(2.5, 0.1), (1.5, 0.1)]


def textbook_numpy(
    spins: np.ndarray, parameters: tuple, flips: int, rng: np.random.Generator
) -> float:
    """Kinetic Monte Carlo that recomputes all rates for each flip; returns the time passed."""
    temperature, field = parameters
    s = spins.astype(np.float64)
    elapsed = 0.0
    for _ in range(flips):
        neighbours = np.roll(s, 1, 0) + np.roll(s, -1, 0) + np.roll(s, 1, 1) + np.roll(s, -1, 1)
        w = 1.0 / (1.0 + np.exp(2.0 * s * (neighbours + field) / temperature))
        cumulative = np.cumsum(w)
        site = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        elapsed += rng.exponential() / cumulative[-1]
        s.flat[min(site, s.size - 1)] *= -1.0
    spins[:] = s
    return elapsed


@njit
def textbook_numba(spins, temperature, field, flips, seed):
    """The same, compiled, the rates looked up in a table."""
    np.random.seed(seed)  # noqa: NPY002 (the only generator inside compiled code)
    rows, columns = spins.shape
    table = np.empty((2, 5))
    for up in range(2):
        for k in range(5):
            table[up, k] = 1.0 / (
                1.0 + math.exp(2.0 * (2 * up - 1) * (2 * k - 4 + field) / temperature)
            )
    cumulative = np.empty(rows * columns)
    elapsed = 0.0
    for _ in range(flips):
        total = 0.0
        for r in range(rows):
            up_row, down_row = (r - 1) % rows, (r + 1) % rows
            for c in range(columns):
                left = spins[r, c - 1] if c > 0 else spins[r, columns - 1]
                right = spins[r, c + 1] if c + 1 < columns else spins[r, 0]
                k = (spins[up_row, c] + spins[down_row, c] + left + right + 4) >> 1
                total += table[(spins[r, c] + 1) >> 1, k]
                cumulative[r * columns + c] = total
        site = np.searchsorted(cumulative, np.random.random() * total)  # noqa: NPY002
        site = min(site, rows * columns - 1)
        elapsed -= math.log(1.0 - np.random.random()) / total  # noqa: NPY002
        spins[site // columns, site % columns] *= -1
    return elapsed


def timed(work: Callable[[int], float]) -> Callable[[int], float]:
    """Turn work that returns how much it did into its rate a second."""

    def rate(repeat: int) -> float:
        start = time.perf_counter()
        done = work(repeat)
        return done / (time.perf_counter() - start)

    return rate


def measure(temperature: float, field: float) -> dict[str, float]:
    """Medians of all rates, a second of one core, at one temperature."""
    system = Ising(IsingParameters(temperature=temperature, field=field))
    start = system.initial_states(np.full(4, 0.7), (SIDE, SIDE), seeds(1, "start", index=4))
    states = system.evolve(start, 300.0, seeds(2, "start", index=4))
    padded = np.zeros((len(states), SIDE + 2, SIDE + 2), dtype=np.int8)
    padded[:, 1:-1, 1:-1] = states[:, 0]
    rates = kernels.flip_rates(temperature, field)
    sites = SIDE * SIDE

    def ours(algorithm: int, duration: float, column: int) -> Callable[[int], float]:
        def work(repeat: int) -> float:
            keys = seeds(3, algorithm, repeat, index=len(padded))
            result = kernels.advance(padded.copy(), True, rates, duration, -1, keys, algorithm)
            return float(result[column].sum())

        return timed(work)

    def numpy_flips(repeat: int) -> float:
        textbook_numpy(
            states[0, 0].copy(), (temperature, field), 1000, np.random.default_rng(repeat)
        )
        return 1000.0

    def numba_flips(repeat: int) -> float:
        textbook_numba(states[0, 0].copy(), temperature, field, 5000, repeat)
        return 5000.0

    # The n-fold way builds its classes anew in every call: that is counted in.
    flipping = acceptance(padded, rates)
    duration = 2e6 / (sites * len(padded))
    rows = {
        "attempts": ours(kernels.UNIFORMISATION, 10 * duration, 1),
        "uniformisation": ours(kernels.UNIFORMISATION, 10 * duration, 2),
        "n-fold": ours(kernels.NFOLD, duration / flipping, 2),
        "numpy": timed(numpy_flips),
        "numba": timed(numba_flips),
    }
    for row in rows.values():
        row(0)  # compile
    samples = {name: [] for name in rows}
    for repeat in range(REPEATS):
        for name, row in rows.items():
            samples[name].append(row(repeat + 1))
    return {"acceptance": flipping, **{n: float(np.median(v)) for n, v in samples.items()}}


def acceptance(padded: np.ndarray, rates: np.ndarray) -> float:
    """Mean rate of the sites: the share of attempts that flip."""
    s = padded[:, 1:-1, 1:-1].astype(int)
    neighbours = sum(np.roll(s, step, axis) for axis in (1, 2) for step in (-1, 1))
    return float(rates[5 * ((s + 1) // 2) + (neighbours + 4) // 2].mean())


def main() -> None:
    """Print the table."""
    numba.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; Numba {numba.__version__}")
    print(f"L = {SIDE}, n = {SIDE * SIDE}; medians of {REPEATS} timings; per second of one core\n")
    print(
        f"{'T':>4} {'h':>4} {'acceptance':>10} {'attempts':>10} | {'flips:':>6} "
        f"{'uniformis.':>10} {'n-fold':>9} {'NumPy':>9} {'Numba':>9} | "
        f"{'ours/NumPy':>10} {'ours/Numba':>10}"
    )
    for temperature, field in CASES:
        r = measure(temperature, field)
        best = max(r["uniformisation"], r["n-fold"])
        print(
            f"{temperature:4.1f} {field:4.1f} {r['acceptance']:10.4f} {r['attempts']:10.3g} | "
            f"{'':6} {r['uniformisation']:10.3g} {r['n-fold']:9.3g} {r['numpy']:9.3g} "
            f"{r['numba']:9.3g} | {best / r['numpy']:10.0f} {best / r['numba']:10.1f}"
        )


if __name__ == "__main__":
    main()
