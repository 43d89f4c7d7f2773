"""Speed of the Ising kernels on a GPU, beside all cores of its host.

    python benchmarks/ising_cuda.py

One row a case: attempts a second of uniformisation, flips a second of the n-fold way, each for a
batch of windows of 16x16 patches or of whole 64x64 lattices. Transfers to and from the GPU and the
draws on the host are counted in. Every result is compared with the CPU's, bit by bit. Each figure
is the median of several timings that alternate between the two.
"""

from __future__ import annotations

import time

import numba
import numpy as np

from macrodyn.streams import seeds
from macrodyn.systems.ising import Ising, IsingParameters, kernels
from macrodyn.systems.ising import cuda as ising_cuda

REPEATS = 5
# Sites of a side, periodic, blocks, temperature, duration, algorithm, column of what is counted.
CASES = {
    "16x16 windows, attempts, dt 0.25": (16, False, 100_000, 2.5, 0.25, kernels.UNIFORMISATION, 1),
    "16x16 windows, attempts, dt 4": (16, False, 100_000, 2.5, 4.0, kernels.UNIFORMISATION, 1),
    "16x16 windows, flips, dt 4": (16, False, 20_000, 1.5, 4.0, kernels.NFOLD, 2),
    "64x64 lattices, attempts, dt 4": (64, True, 10_000, 2.5, 4.0, kernels.UNIFORMISATION, 1),
}


def padded_blocks(side: int, number: int, temperature: float) -> np.ndarray:
    """Blocks with a rim, cut out of relaxed lattices."""
    system = Ising(IsingParameters(temperature=temperature, field=0.1))
    start = system.initial_states(np.full(16, 0.7), (side + 2,) * 2, seeds(1, "s", index=16))
    states = system.evolve(start, 50.0, seeds(2, "s", index=16))[:, 0]
    return np.ascontiguousarray(np.resize(states, (number, side + 2, side + 2)))


def measure(
    side: int, periodic: bool, number: int, temperature: float, duration: float, *rest: int
) -> tuple[float, float]:
    """Rates a second on the GPU and on the CPU."""
    algorithm, column = rest
    blocks = padded_blocks(side, number, temperature)
    rates = kernels.flip_rates(temperature, 0.1)
    samples: dict[str, list[float]] = {"gpu": [], "cpu": []}
    for repeat in range(REPEATS + 1):
        keys, states = seeds(3, repeat, index=number), []
        for name, advance in (("gpu", ising_cuda.advance), ("cpu", kernels.advance)):
            x = blocks.copy()
            begin = time.perf_counter()
            result = advance(x, periodic, rates, duration, -1, keys, algorithm)
            samples[name].append(float(result[column].sum()) / (time.perf_counter() - begin))
            states.append(x[:, 1:-1, 1:-1])
        if not np.array_equal(*states):
            raise SystemExit("the GPU's spins are not the CPU's")
    # The first repeat compiles.
    return float(np.median(samples["gpu"][1:])), float(np.median(samples["cpu"][1:]))


def main() -> None:
    """Print the table."""
    if not ising_cuda.is_usable():
        raise SystemExit("no GPU to measure")
    device = ising_cuda.cuda.get_current_device().name
    name = device.decode() if isinstance(device, bytes) else device
    print(f"{name}, {numba.get_num_threads()} CPU threads; Numba {numba.__version__}\n")
    print(f"{'per second':34} {'GPU':>9} {'CPU':>9} {'GPU/CPU':>8}")
    for case, arguments in CASES.items():
        gpu, cpu = measure(*arguments)
        print(f"{case:34} {gpu:9.3g} {cpu:9.3g} {gpu / cpu:8.1f}")


if __name__ == "__main__":
    main()
