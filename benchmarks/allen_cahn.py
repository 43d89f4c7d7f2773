"""Speed of the Allen-Cahn kernel, beside plain NumPy and the bandwidth of the memory.

    python benchmarks/allen_cahn.py [--short]

Steps of the classical Runge-Kutta scheme on a square, from the same ring. Microseconds of the
processor, which other work on its cores changes little, for a step of one field:

- ours: the kernel of `macrodyn.systems.allen_cahn.kernels`, one sweep a step; on all cores as well,
  a field each, which is as much where the cores do not hinder each other;
- stages: the same scheme, compiled as well, a sweep through the whole field for each stage;
- NumPy: the scheme as it is written, with slices for the neighbours.

A field is read and written once a step, what is between stays in the cache: 8 bytes a site and step
in float32, 16 in float64. That over the time is set beside the bandwidth of a triad a = b + s c,
measured here too, on arrays of a field's size, in the cache, and on long ones, in memory. Far below
both, computing is what takes the time. Sweeps for each stage read and write 17 numbers a site and
step instead of 2. Each figure is the median of several timings that alternate between the columns.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numba
import numpy as np
from numba import njit

from macrodyn.systems.allen_cahn import AllenCahnParameters, kernels
from macrodyn.systems.allen_cahn.rings import rings

COURANT = 0.3
NUMPY_STEPS = 10
LONG = 1 << 24  # numbers of an array that no cache holds


@njit(inline="always")
def rate(u, row, column, c):
    """What a stage adds at a site of a field with a rim."""
    x = u[row, column]
    pairs = (u[row - 1, column] + u[row + 1, column]) + (u[row, column - 1] + u[row, column + 1])
    return c[0] * pairs + x * (c[1] - c[2] * (x * x))


@njit
def close(u):
    """Set the rim of a field to what stands beside it."""
    u[0], u[-1] = u[1], u[-2]
    for row in range(u.shape[0]):
        u[row, 0], u[row, -1] = u[row, 1], u[row, -2]


@njit
def stages(u, c, third, steps):
    """Advance a field with a rim, stage by stage; a third of the slopes' sum is kept."""
    side = u.shape[0] - 2
    point, other, total = u.copy(), u.copy(), np.zeros_like(u)
    inside = range(1, side + 1)
    for _ in range(steps):
        close(u)
        for row in inside:
            for column in inside:
                half = rate(u, row, column, c[0])
                point[row, column] = u[row, column] + half
                total[row, column] = third * half
        close(point)
        for row in inside:
            for column in inside:
                half = rate(point, row, column, c[1])
                other[row, column] = u[row, column] + half
                total[row, column] += third * (half + half)
        close(other)
        for row in inside:
            for column in inside:
                whole = rate(other, row, column, c[2])
                point[row, column] = u[row, column] + whole
                total[row, column] += third * whole
        close(point)
        for row in inside:
            for column in inside:
                u[row, column] += total[row, column] + rate(point, row, column, c[3])


@njit
def triad(a, b, c, scale, repeats):
    """STREAM's triad."""
    for _ in range(repeats):
        for i in range(a.size):
            a[i] = b[i] + scale * c[i]


def numpy_steps(u: np.ndarray, width: float, steps: int) -> np.ndarray:
    """Advance a field in NumPy."""
    number, side = u.dtype.type, len(u)
    coupling, steep, dt = number(side**2), number(width**-2), number(COURANT / side**2)

    def rates(x: np.ndarray) -> np.ndarray:
        p = np.pad(x, 1, "edge")
        neighbours = p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2]
        return coupling * (neighbours - 4 * x) + steep * (x - x * x * x)

    for _ in range(steps):
        k1 = rates(u)
        k2 = rates(u + dt / 2 * k1)
        k3 = rates(u + dt / 2 * k2)
        k4 = rates(u + dt * k3)
        u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return u


def timed(work: Callable[[], object], units: int) -> Callable[[], float]:
    """Turn work into the seconds of the processor that each of its units takes."""

    def cost() -> float:
        start = time.process_time()
        work()
        return (time.process_time() - start) / units

    return cost


def bandwidth(length: int, repeats: int, dtype: type[np.floating]) -> Callable[[], float]:
    """Seconds a byte of the triad on arrays of a length."""
    a, b, c = (np.full(length, value, dtype) for value in (0.0, 1.0, 2.0))
    return timed(lambda: triad(a, b, c, dtype(0.5), repeats), 3 * a.nbytes * repeats)


def measure(side: int, dtype: type[np.floating], steps: int, repeats: int) -> dict[str, float]:
    """Medians of all columns: seconds a step, and seconds a byte of the triads."""
    width = AllenCahnParameters().width
    cores = numba.config.NUMBA_NUM_THREADS
    start = rings(np.array([[0.35, 0.12]]), side, width, 0.0, np.zeros(1, np.uint64))[0]
    field, third = start.astype(dtype), dtype(1.0 / 3.0)
    dt = np.array([COURANT / side**2])
    c = kernels.coefficients(dt, width**-2, float(side**2), dtype)
    many = np.tile(start.reshape(1, -1), (cores, 1))
    records = np.empty((cores, 1, side**2))
    rim = np.pad(field, 1, "edge")

    def ours(fields: int) -> Callable[[], float]:
        def work() -> None:
            numba.set_num_threads(fields)
            kernels.advance(many[:fields], side, np.array([steps]), c, third, records[:fields])

        return timed(work, fields * steps)

    columns = {
        "ours": ours(1),
        "all cores": ours(cores),
        "stages": timed(lambda: stages(rim.copy(), c[0], third, steps), steps),
        "NumPy": timed(lambda: numpy_steps(field, width, NUMPY_STEPS), NUMPY_STEPS),
        "cache": bandwidth(side**2, 200, dtype),
        "memory": bandwidth(LONG, 1, dtype),
    }
    samples: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(repeats + 1):
        for name, column in columns.items():
            samples[name].append(column())
    # The first repeat compiles.
    return {name: float(np.median(values[1:])) for name, values in samples.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="one size and few repeats")
    short = parser.parse_args().short
    cases = [(200, np.float32), (200, np.float64), (400, np.float32), (100, np.float32)]
    steps, repeats = (50, 3) if short else (200, 15)
    print(f"{platform.machine()}, {os.cpu_count()} cores; Numba {numba.__version__}")
    print(f"medians of {repeats} timings of {steps} steps; us of the processor a step; GB/s\n")
    print(
        f"{'side':>4} {'numbers':>8} | {'ours':>6} {'cores':>6} {'stages':>7} {'NumPy':>7} | "
        f"{'stages/ours':>11} {'NumPy/ours':>10} | {'field':>6} {'cache':>6} {'memory':>6}"
    )
    for side, dtype in cases[: 1 if short else None]:
        r = measure(side, dtype, steps, repeats)
        us = {name: 1e6 * r[name] for name in ("ours", "all cores", "stages", "NumPy")}
        moved = 2e-9 * side**2 * np.dtype(dtype).itemsize / r["ours"]
        print(
            f"{side:4} {dtype.__name__:>8} | {us['ours']:6.1f} {us['all cores']:6.1f} "
            f"{us['stages']:7.1f} {us['NumPy']:7.0f} | {us['stages'] / us['ours']:11.1f} "
            f"{us['NumPy'] / us['ours']:10.1f} | {moved:6.1f} {1e-9 / r['cache']:6.1f} "
            f"{1e-9 / r['memory']:6.1f}"
        )


if __name__ == "__main__":
    main()
