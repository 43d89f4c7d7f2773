"""Kinetic Monte Carlo of a vacancy in NbMoTa: steps a second, beside plain NumPy.

    python benchmarks/vacancy_kinetics.py [nkk_weights.npy]

One vacancy among 1,024 sites, one thread; a step is eight barriers, a choice and an exchange. The
models are the package's own and, where its file is given, the published network. Rows:

- numpy: the barriers of one vacancy by array operations, a step after the other;
- uncached: the compiled walk, every barrier computed;
- cached: the same, barriers of surroundings that were seen are kept; at equilibrium, after a walk;
- chains of 4: at 500 K, beside the same without chains, by the time that a second of work covers.

Each figure is the median of timings that alternate. That all walk alike is checked first.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

from macrodyn import seeds
from macrodyn.systems.nbmota import NbMoTa, NbMoTaParameters
from macrodyn.systems.nbmota.barriers import BOLTZMANN, BarrierModel
from macrodyn.systems.nbmota.crystal import DIRECTIONS, VACANCY, half_units, site_number
from macrodyn.systems.nbmota.kinetics import Kinetics
from macrodyn.systems.nbmota.published import read_published

CELLS, REPEATS, COLD = (8, 8, 8), 9, 500.0
TEMPERATURES = (2000.0, 1000.0, COLD)
STEPS = {"numpy": 300, "uncached": 20_000, "cached": 100_000}


def walk_by_numpy(model: BarrierModel, state: np.ndarray, temperature: float, steps: int) -> float:
    """Walk one state in place by array operations; the time that passed, in 1/nu."""
    rng = np.random.default_rng(1)
    shape, flat = state.shape[1:], state.reshape(-1)
    where = half_units(shape)
    (vacancy,) = np.flatnonzero(flat == VACANCY)
    passed = 0.0
    for _ in range(steps):
        around = flat[site_number(where[vacancy] + model.offsets, shape)]
        barriers = np.maximum(model.evaluate(around[None])[0][0], 0.0)
        rates = np.exp(-barriers / (BOLTZMANN * temperature))
        passed += rng.exponential(1.0 / rates.sum())
        jump = rng.choice(len(rates), p=rates / rates.sum())
        target = site_number(where[vacancy] + DIRECTIONS[jump], shape)
        flat[vacancy], flat[target] = flat[target], VACANCY
        vacancy = int(target)
    return passed


def check(model: BarrierModel, state: np.ndarray) -> None:
    """Compare the kernel's barriers with those of array operations."""
    (vacancy,) = np.argwhere(state == VACANCY)
    shape = state.shape[1:]
    number = np.ravel_multi_index(vacancy, state.shape)
    around = state.reshape(-1)[site_number(half_units(shape)[number] + model.offsets, shape)]
    found = Kinetics(model, 1.0).barriers(state[None], vacancy[None])[0]
    np.testing.assert_allclose(found, model.evaluate(around[None])[0][0], atol=1e-4)


def medians(rows: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median of what each gives for a second of its work."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, work in rows.items():
            began = time.perf_counter()
            done = work()
            found[name].append(done / (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in found.items()}


def measure(model: BarrierModel, temperature: float, start: np.ndarray) -> dict[str, float]:
    """Steps a second; and with chains, times a second, in 1/nu."""
    plain, cached = (Kinetics(model, 1.0, cache=c) for c in (False, True))
    key = iter(range(1, 10**6))

    def keys() -> np.ndarray:
        return seeds(next(key), "benchmark", index=1)

    # To equilibrium, and all is compiled.
    state = cached.walk(start, temperature, keys(), events=200_000).states
    plain.walk(state, temperature, keys(), events=10)
    check(model, state[0])

    def steps(kinetics: Kinetics, name: str) -> float:
        kinetics.walk(state, temperature, keys(), events=STEPS[name])
        return STEPS[name]

    def numpy_steps() -> float:
        walk_by_numpy(model, state[0].copy(), temperature, STEPS["numpy"])
        return STEPS["numpy"]

    rows: dict[str, Callable[[], float]] = {
        "numpy": numpy_steps,
        "uncached": lambda: steps(plain, "uncached"),
        "cached": lambda: steps(cached, "cached"),
    }
    found = medians(rows)
    if temperature == COLD:
        duration = cached.walk(state, temperature, keys(), events=STEPS["cached"]).times[0]
        chains = Kinetics(model, 1.0, chain=4)
        for kinetics in (cached, chains):
            kinetics.walk(state, temperature, keys(), duration=duration)

        def through(kinetics: Kinetics) -> float:
            kinetics.walk(state, temperature, keys(), duration=duration)
            return float(duration)

        times = medians({"without": lambda: through(cached), "with": lambda: through(chains)})
        found["chains"] = times["with"] / times["without"]
    return found


def main() -> None:
    """Print a table."""
    numba.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, numba {numba.__version__}")
    own = NbMoTa(NbMoTaParameters(sites_per_vacancy=1024))
    start = own.initial_states(np.array([[0.0]]), CELLS, seeds(1, "start", index=1))
    models = [own.barriers, *(read_published(path) for path in sys.argv[1:])]
    print("model | T, K | numpy | uncached | cached | uncached / numpy | chains of 4, times faster")
    for model in models:
        for temperature in TEMPERATURES:
            found = measure(model, temperature, start)
            ratio = found["uncached"] / found["numpy"]
            figures = [f"{found[name]:,.0f}" for name in STEPS]
            chains = f"{found['chains']:.2f}" if "chains" in found else "-"
            print(model.source, f"{temperature:g}", *figures, f"{ratio:.0f}", chains, sep=" | ")


if __name__ == "__main__":
    main()
