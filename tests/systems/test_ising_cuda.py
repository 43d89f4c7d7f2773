"""The Ising kernels on a GPU give the CPU's spins.

The tests of the kernels run on the GPU that Numba sees. Where there is none they are skipped, and
one test runs them all in Numba's CUDA simulator, which must be chosen before Numba is imported:
in another process.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from macrodyn.lattice import PatchGeometry
from macrodyn.streams import seeds
from macrodyn.systems.ising import cuda as ising_cuda
from macrodyn.systems.ising import kernels

SIMULATED = bool(config.ENABLE_CUDASIM)
on_device = pytest.mark.skipif(
    not ising_cuda.cuda.is_available(),
    reason="Numba sees no GPU here: the simulator runs this test",
)
# Rounding of the logarithm and of the sum of waiting times.
ROUNDING = 1e-12

GEOMETRIES = {
    "frozen": PatchGeometry((5, 4)),
    "buffered": PatchGeometry((3, 2), buffer=2),
    "periodic": PatchGeometry((4, 6), boundary="periodic"),
    "smallest": PatchGeometry((2, 2), boundary="periodic"),
}


@pytest.fixture(autouse=True)
def fresh_trial():
    ising_cuda.is_usable.cache_clear()
    yield
    ising_cuda.is_usable.cache_clear()


def on(system, device):
    """The same system on another device."""
    return type(system)(system.parameters, device=device)


def both(system, windows, geometry, duration, events=None):
    """Spins and times of the same windows on the GPU and on the CPU."""
    gpu = on(system, "cuda")
    assert gpu._advance is ising_cuda.advance
    keys = seeds(5, "cuda", index=len(windows))
    return (one.evolve_patch(windows, geometry, duration, keys, events) for one in (gpu, system))


def padded_blocks(random_spins, number, shape=(6, 7)):
    """Aligned and random blocks by turns: few or many attempts are accepted."""
    blocks = random_spins((number, *shape), seed=4)
    blocks[::2] = 1
    return blocks


@pytest.mark.skipif(SIMULATED, reason="this test starts the simulator")
def test_kernels_agree_with_the_cpu_in_the_simulator():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**environment, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Skipped in there: this test, and those of a whole GPU or of none.
    assert re.search(r"\d\d passed, 4 skipped", done.stdout), done.stdout


@on_device
@pytest.mark.parametrize("duration", [0.0, 0.3, 12.0], ids="t={}".format)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_uniformisation_gives_the_cpus_bits(make_ising, random_spins, geometry, duration):
    windows = random_spins((5, 1, *geometry.window))
    gpu, cpu = both(make_ising(2.5, 0.1, "uniformisation"), windows, geometry, duration)
    np.testing.assert_array_equal(gpu[0], cpu[0])
    np.testing.assert_array_equal(gpu[1], cpu[1])
    assert (gpu[0] != windows).any() == (duration > 0)


@on_device
@pytest.mark.parametrize("duration", [0.0, 0.3, 5.0], ids="t={}".format)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_nfold_way_makes_the_cpus_flips(make_ising, random_spins, geometry, duration):
    windows = random_spins((5, 1, *geometry.window))
    gpu, cpu = both(make_ising(2.5, 0.1, "n-fold"), windows, geometry, duration)
    np.testing.assert_array_equal(gpu[0], cpu[0])
    np.testing.assert_array_equal(gpu[1], duration)
    assert (gpu[0] != windows).any() == (duration > 0)


@on_device
@pytest.mark.parametrize("events", [0, 1, 45])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_events_are_the_cpus_and_times_agree_to_rounding(
    make_ising, random_spins, geometry, events
):
    windows = random_spins((5, 1, *geometry.window))
    gpu, cpu = both(make_ising(1.8, -0.2), windows, geometry, 1.0, events)
    np.testing.assert_array_equal(gpu[0], cpu[0])
    np.testing.assert_allclose(gpu[1], cpu[1], rtol=ROUNDING)
    assert np.all(gpu[1] > 0) == (events > 0)


@on_device
@pytest.mark.parametrize("events", [-1, 3], ids=["time", "events"])
def test_lattice_without_rates_never_flips(events):
    # At T = 0.001 the rate of an aligned spin is 0 in floating point.
    blocks = np.ones((2, 5, 5), dtype=np.int8)
    elapsed, _, flips = ising_cuda.advance(
        blocks, True, kernels.flip_rates(1e-3, 0.0), 7.0, events, seeds(1, "c", index=2), 1
    )
    np.testing.assert_array_equal(elapsed, np.inf if events > 0 else 7.0)
    assert not flips.any()
    assert np.all(blocks == 1)


@on_device
@pytest.mark.parametrize("periodic", [True, False], ids=["periodic", "frozen"])
def test_each_block_takes_the_algorithm_that_the_cpu_takes(random_spins, periodic):
    gpu = padded_blocks(random_spins, 8)
    cpu = gpu.copy()
    arguments = (periodic, kernels.flip_rates(1.2, 0.0), 60.0, -1, seeds(1, "a", index=8))
    result = ising_cuda.advance(gpu, *arguments, kernels.AUTOMATIC)
    expected = kernels.advance(cpu, *arguments, kernels.AUTOMATIC)
    np.testing.assert_array_equal(gpu, cpu)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    # Updates are flips in the n-fold way, and attempts, of which few are accepted, otherwise.
    nfold = result[1] == result[2]
    np.testing.assert_array_equal(nfold, [True, False] * 4)
    assert result[2][nfold].any()


@on_device
@pytest.mark.parametrize(
    ("bound", "value", "most"),
    [("_THREADS", 3, 8), ("_BLOCK_BYTES", 100, 2), ("_WORKSPACE_BYTES", 1, 1)],
    ids=["many CUDA blocks", "little room for spins", "little workspace"],
)
def test_results_do_not_depend_on_how_the_batch_is_cut(
    monkeypatch, random_spins, bound, value, most
):
    whole = padded_blocks(random_spins, 8)
    cut = whole.copy()
    arguments = (False, kernels.flip_rates(1.2, 0.0), 60.0, -1, seeds(1, "a", index=8))
    expected = ising_cuda.advance(whole, *arguments, kernels.AUTOMATIC)
    launch, threads = ising_cuda._launch, []

    def spy(kernel, number, *rest):
        if kernel is not ising_cuda._prepare:
            threads.append(number)
        launch(kernel, number, *rest)

    monkeypatch.setattr(ising_cuda, bound, value)
    monkeypatch.setattr(ising_cuda, "_launch", spy)
    result = ising_cuda.advance(cut, *arguments, kernels.AUTOMATIC)
    np.testing.assert_array_equal(cut, whole)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(threads) == 8 and max(threads) <= most


@on_device
@pytest.mark.parametrize("algorithm", ["uniformisation", "n-fold"])
def test_whole_lattices_evolve_to_the_cpus_states(make_ising, random_spins, algorithm):
    system, states = make_ising(2.2, 0.05, algorithm), random_spins((3, 1, 6, 8))
    before, keys = states.copy(), seeds(1, "w", index=3)
    gpu = on(system, "cuda").evolve(states, 4.0, keys)
    np.testing.assert_array_equal(gpu, system.evolve(states, 4.0, keys))
    np.testing.assert_array_equal(states, before)


@on_device
def test_no_windows_are_no_work(make_ising):
    geometry = GEOMETRIES["frozen"]
    gpu, cpu = both(make_ising(), np.ones((0, 1, *geometry.window), np.int8), geometry, 1.0)
    assert gpu[0].shape == cpu[0].shape and gpu[1].shape == (0,)


@on_device
def test_device_is_kept_with_other_parameters(make_ising):
    system = make_ising()
    gpu = on(system, "cuda")
    assert gpu.with_parameters(field=0.3)._advance is ising_cuda.advance
    assert gpu.with_parameters(field=0.3).parameters.field == 0.3
    assert system._advance is kernels.advance


@on_device
@pytest.mark.skipif(SIMULATED, reason="too much for the simulator")
@pytest.mark.parametrize("temperature", [2.5, 1.5])
def test_thousands_of_windows_are_the_cpus(make_ising, random_spins, temperature):
    geometry = PatchGeometry((16, 16), buffer=1)
    windows = random_spins((20_000, 1, *geometry.window), up=0.97)
    gpu, cpu = both(make_ising(temperature, 0.1), windows, geometry, 2.0)
    np.testing.assert_array_equal(gpu[0], cpu[0])


@pytest.mark.skipif(ising_cuda.cuda.is_available(), reason="there is a GPU, or its simulator")
def test_without_a_gpu_the_cpu_does_the_work_and_says_so_once(make_ising, random_spins, caplog):
    system, windows = make_ising(), random_spins((4, 1, 7, 7))
    keys, geometry = seeds(1, "n", index=4), PatchGeometry((5, 5))
    with caplog.at_level(logging.WARNING, logger="macrodyn"):
        first = on(system, "cuda").evolve_patch(windows, geometry, 2.0, keys)[0]
        second = on(system, "cuda").evolve_patch(windows, geometry, 2.0, keys)[0]
    expected = system.evolve_patch(windows, geometry, 2.0, keys)[0]
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)
    assert len(caplog.records) == 1
    assert "no CUDA device" in caplog.text


def failing(*_):
    raise RuntimeError("the driver is too old")


def one_flip_off(*arguments):
    result = kernels.advance(*arguments)
    arguments[0][0, 2, 2] *= -1
    return result


def late(*arguments):
    elapsed, updates, flips = kernels.advance(*arguments)
    return elapsed * 1.001, updates, flips


@pytest.mark.parametrize(
    ("fault", "message"),
    [(failing, "the driver is too old"), (one_flip_off, "than on the CPU"), (late, "on the CPU")],
    ids=["fails", "gives other spins", "gives other times"],
)
def test_gpu_that_fails_its_trial_is_not_used(make_ising, monkeypatch, caplog, fault, message):
    monkeypatch.setattr(ising_cuda.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ising_cuda, "advance", fault)
    with caplog.at_level(logging.WARNING, logger="macrodyn"):
        assert on(make_ising(), "cuda")._advance is kernels.advance
    assert message in caplog.text


def test_gpu_that_passes_its_trial_is_used(make_ising, monkeypatch, caplog):
    monkeypatch.setattr(ising_cuda.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ising_cuda, "advance", kernels.advance)
    assert ising_cuda.is_usable()
    assert not caplog.records


def test_other_devices_are_refused(make_ising):
    with pytest.raises(ValueError, match="Ising runs on cpu, cuda only"):
        on(make_ising(), "tpu")
