"""The predator-prey field on a GPU: the CPU's words, and its fields to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.lattice import PatchGeometry, Surroundings
from macrodyn.streams import seeds
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters, kernels
from macrodyn.systems.predator_prey.system import gpu_is_usable
from macrodyn.systems.shared.integrators import SCHEMES
from macrodyn.systems.shared.noise import NormalNoise

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no GPU here: nothing ran on one"
)

INTEGRATORS = list(SCHEMES)
# Over 100 steps: logarithms and cosines differ in the last bit, 6e-8 of numbers up to 0.7.
TOLERANCE = 1e-5


def both(**parameters):
    """The same system on the GPU and on the CPU."""
    system = PredatorPrey(PredatorPreyParameters(**parameters))
    assert gpu_is_usable()
    return PredatorPrey(system.parameters, device="cuda"), system


def rough_states(batch, n):
    return np.random.default_rng(1).uniform(0.2, 0.8, (batch, 2, n)).astype(np.float32)


@pytest.mark.parametrize("first", [0, 2**31 - 1], ids=str)
def test_words_have_the_same_bits(first):
    keys = seeds(1, "gpu", index=1000)
    there, here = (NormalNoise(keys, 2, 42, 3, device=d).words(first) for d in ("cuda", "cpu"))
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=0)


def test_numbers_agree_to_rounding():
    keys = seeds(1, "gpu", index=1000)
    there, here = (NormalNoise(keys, 2, 42, 3, device=d).fill(5) for d in ("cuda", "cpu"))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("diffusion", [0.0, 0.3])
def test_lines_agree_after_100_steps(name, diffusion):
    states, keys = rough_states(300, 100), seeds(2, "gpu", index=300)
    gpu, cpu = both(integrator=name, diffusion=diffusion)
    after = gpu.evolve(states, 1.0, keys)
    np.testing.assert_allclose(after, cpu.evolve(states, 1.0, keys), rtol=0, atol=TOLERANCE)
    assert np.abs(after - states).max() > 0.01


@pytest.mark.parametrize("name", INTEGRATORS)
def test_without_noise_all_bits_agree(name):
    # Sums and products are rounded alike, one by one.
    states, keys = rough_states(300, 100), seeds(2, "gpu", index=300)
    gpu, cpu = both(integrator=name, noise=0.0, diffusion=0.3)
    np.testing.assert_array_equal(gpu.evolve(states, 1.0, keys), cpu.evolve(states, 1.0, keys))


@pytest.mark.parametrize(
    "geometry",
    [PatchGeometry((10,)), PatchGeometry((10,), buffer=3), PatchGeometry((10,), 0, 0, "periodic")],
    ids=["frozen", "buffered", "periodic"],
)
def test_patches_agree_after_100_steps(geometry):
    windows, keys = rough_states(200, geometry.window[0]), seeds(3, "gpu", index=200)
    outside = np.zeros((200, 1, 2), dtype=np.int64)
    if geometry.boundary == "frozen":
        outside[::3, 0, 0] = geometry.margin
        outside[1::3, 0, 1] = geometry.margin + 5
    around = Surroundings(outside)
    gpu, cpu = both()
    there, _ = gpu.evolve_patch(windows, geometry, 1.0, keys, around=around)
    here, _ = cpu.evolve_patch(windows, geometry, 1.0, keys, around=around)
    np.testing.assert_allclose(there, here, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("values", [1000, 100_000])
def test_chunks_do_not_change_a_bit(monkeypatch, values):
    states, keys = rough_states(300, 40), seeds(4, "gpu", index=300)
    gpu, _ = both()
    whole = gpu.evolve(states, 0.5, keys)
    for name in ("_STATE_VALUES", "_NOISE_VALUES"):
        monkeypatch.setattr(kernels, name, {"cuda": values})
    np.testing.assert_array_equal(gpu.evolve(states, 0.5, keys), whole)
