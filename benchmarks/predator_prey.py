"""Speed of the predator-prey kernels, beside plain and batched NumPy.

    python benchmarks/predator_prey.py

The same equation with both integrators, from the same initial states. Nanoseconds of one core for
a step of one density at one site, noise included:

- ours: the batched kernels of `macrodyn.systems.predator_prey.kernels`, and their noise alone;
- single: one trajectory at a time in NumPy, its noise from a NumPy generator step by step;
- batched: the whole batch at once in NumPy;
- GPU: ours on a GPU where torch sees one, transfers included.

Both in NumPy are float32, as ours. Each figure is the median of several timings that alternate
between the columns.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from macrodyn.streams import seeds
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters
from macrodyn.systems.shared.noise import NormalNoise

REPEATS, STEPS, STEP, NOISE, A, B = 5, 50, 0.01, 0.02, 3.0, 0.4
SINGLES = 4  # trajectories of the column "single"
CASES = [  # integrator, sites, trajectories; on a GPU many more of them
    ("euler-maruyama", 200, 1000),
    ("euler-maruyama", 42, 5000),
    ("runge-kutta", 200, 1000),
    ("runge-kutta", 42, 5000),
]
GPU_FACTOR = 40


def drift(x: np.ndarray) -> np.ndarray:
    """Drift of states [..., 2, sites], D = 0."""
    u, v = x[..., 0, :], x[..., 1, :]
    jump = np.diff(v, axis=-1)
    out = np.empty_like(x)
    out[..., 0, :] = u * (1 - u - v)
    out[..., 1, :] = A * v * (u - B)
    out[..., 1, :-1] += jump
    out[..., 1, 1:] -= jump
    return out


def numpy_path(x: np.ndarray, integrator: str, rng: np.random.Generator) -> np.ndarray:
    """Advance states [..., 2, sites] by all steps in NumPy."""
    scale, h = np.float32(NOISE * STEP**0.5), np.float32(STEP)
    for _ in range(STEPS):
        kick = scale * rng.standard_normal(x.shape, dtype=np.float32)
        if integrator == "euler-maruyama":
            x = x + h * drift(x) + kick
        else:
            k1 = drift(x)
            k2 = drift(x + h / 2 * k1)
            k3 = drift(x + h / 2 * k2 + kick)
            k4 = drift(x + h * k3 + kick)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4) + kick
    return x


def timed(work: Callable[[int], object], values: int) -> Callable[[int], float]:
    """Turn work into the nanoseconds that each of its values takes."""

    def cost(repeat: int) -> float:
        start = time.perf_counter()
        work(repeat)
        return (time.perf_counter() - start) / values * 1e9

    return cost


def measure(integrator: str, sites: int, batch: int, gpu: bool) -> dict[str, float]:
    """Medians of all columns in nanoseconds."""
    system = PredatorPrey(PredatorPreyParameters(integrator=integrator, noise=NOISE, step=STEP))

    def start(number: int) -> np.ndarray:
        return system.initial_states(
            np.tile([0.5, 0.1], (number, 1)), (sites,), seeds(1, index=number)
        )

    def ours(device: str, number: int) -> Callable[[int], float]:
        states, there = start(number), type(system)(system.parameters, device=device)
        return timed(
            lambda repeat: there.evolve(states, STEPS * STEP, seeds(2, repeat, index=number)),
            STEPS * states.size,
        )

    def noise(repeat: int) -> None:
        chunk = max(1, 2**16 // (2 * sites))
        source = NormalNoise(seeds(2, repeat, index=chunk), 2, sites)
        for step in range(STEPS * batch // chunk):
            source.fill(step)

    states = start(batch)

    def single(repeat: int) -> None:
        rng = np.random.default_rng(repeat)
        for state in states[:SINGLES]:
            numpy_path(state, integrator, rng)

    def batched(repeat: int) -> None:
        numpy_path(states, integrator, np.random.default_rng(repeat))

    columns = {
        "ours": ours("cpu", batch),
        "noise": timed(noise, STEPS * states.size),
        "single": timed(single, STEPS * states[:SINGLES].size),
        "batched": timed(batched, STEPS * states.size),
    }
    if gpu:
        columns["gpu"] = ours("cuda", GPU_FACTOR * batch)
    samples: dict[str, list[float]] = {name: [] for name in columns}
    for repeat in range(REPEATS + 1):
        for name, column in columns.items():
            samples[name].append(column(repeat))
    # The first repeat warms up.
    return {name: float(np.median(values[1:])) for name, values in samples.items()}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    gpu = torch.cuda.is_available()
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; torch {torch.__version__}")
    print(f"GPU: {torch.cuda.get_device_name() if gpu else 'none'}")
    print(f"medians of {REPEATS} timings; ns for a step of one density at one site\n")
    print(
        f"{'integrator':>14} {'sites':>5} {'batch':>6} | {'ours':>6} {'noise':>6} {'single':>7} "
        f"{'batched':>7} | {'single/ours':>11} {'batched/ours':>12} | {'GPU':>7} {'ours/GPU':>8}"
    )
    for integrator, sites, batch in CASES:
        r = measure(integrator, sites, batch, gpu)
        on_gpu = f"{r['gpu']:7.3f} {r['ours'] / r['gpu']:8.0f}" if gpu else f"{'-':>7} {'-':>8}"
        print(
            f"{integrator:>14} {sites:5} {batch:6} | {r['ours']:6.1f} {r['noise']:6.1f} "
            f"{r['single']:7.1f} {r['batched']:7.1f} | {r['single'] / r['ours']:11.1f} "
            f"{r['batched'] / r['ours']:12.1f} | {on_gpu}"
        )


if __name__ == "__main__":
    main()
