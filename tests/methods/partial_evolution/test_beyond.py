"""What the buffers of patches make of the variables, and that the whole's noise follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.dynamics.buffer_noise import count_buffer
from macrodyn.dynamics.compensation import compensate, control_variates
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.lattice import PatchGeometry, gather_each, site_index
from macrodyn.methods.partial_evolution.encoding import Encoding
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches, evolve_whole
from macrodyn.streams import seeds

NAMES = ["generator", "correlation-2", "moment-2:magnetisation"]


def evolved(system, lattice, patch, *, number, patches, dt, lags=(1, 2)):
    keys = seeds(1, "states", index=number)
    states = system.initial_states(np.full((number, 1), 0.5), lattice, keys)
    states = system.equilibrate(states, 40, seeds(2, "equilibrium", index=number))
    settings = {"dt": dt, "lags": list(lags), "keys": seeds(3, "pairs", index=number)}
    return (
        states,
        evolve_patches(system, states, patch, number=patches, cost=Cost(), **settings),
        evolve_whole(system, states, cost=Cost(), **settings),
    )


def encoding(system, states, pairs, patch, number_of_patches):
    lead = ("sample", "patch", "lag")
    data = xr.Dataset(
        {
            "after": ((*lead, "channel", "x", "y"), pairs.after),
            "moved": ((*lead, "channel", "active_x", "active_y"), pairs.moved),
            "origin": (("sample", "patch", "axis"), pairs.origins),
            "elapsed": (lead, pairs.elapsed),
            "condition_values": (("sample", "condition"), np.empty((len(states), 0))),
        },
        coords={"condition": np.array([], dtype=np.str_), "observable": ["m", "rho"]},
        attrs={"patches_total": number_of_patches, "buffer": patch.buffer, "boundary": "frozen"},
    )
    architecture = Architecture(
        kind="spin", patch=patch.shape, state_channels=1, observables=2, closure_dim=1
    )
    model = PatchAutoencoder(architecture, seed=1).eval()
    return Encoding(system, model, NAMES, patch.shape, data, states)


def test_it_is_what_the_state_changes_by_when_patch_and_buffer_have_moved(make_ising):
    system, patch, lattice = make_ising(), PatchGeometry((4, 6), buffer=2), (16, 12)
    states, pairs, _ = evolved(system, lattice, patch, number=3, patches=2, dt=1.0)
    found = encoding(system, states, pairs, patch, 8)
    increment = np.concatenate([pairs.increments, found.increments()], axis=-1)
    beyond = found.beyond(increment)
    known = [0, 1, 2, 3, 4]  # two observables, their rates, one correlation
    assert np.isnan(beyond[..., 5:]).all() and np.isfinite(beyond[..., known]).all()

    def variables(some):
        return np.concatenate([system.observe(some), found.features.values(some)[:, :3]], axis=1)

    corners = pairs.origins - patch.buffer
    for m, lag in np.ndindex(2, 2):
        changed = states.copy()
        for row in range(3):
            sites = site_index(lattice, corners[row : row + 1, [m]], patch.active, True).ravel()
            changed[row, 0].reshape(-1)[sites] = pairs.moved[row, m, lag].ravel()
        together = (variables(changed) - variables(states)) * (16 * 12) / (4 * 6)
        np.testing.assert_allclose(
            beyond[:, m, lag, known], together - increment[:, m, lag, known], atol=1e-12
        )


def test_without_a_buffer_there_is_none(make_ising):
    system, patch = make_ising(), PatchGeometry((4, 4))
    states, pairs, _ = evolved(system, (16, 16), patch, number=3, patches=2, dt=1.0)
    found = encoding(system, states, replace(pairs, moved=pairs.after), patch, 16)
    assert found.beyond(pairs.increments) is None


def test_with_it_patches_have_the_noise_of_the_whole(make_ising):
    """Over two sweeps what patches have by themselves falls short by a tenth."""
    side = 8
    system, patch = make_ising(), PatchGeometry((side, side), buffer=3)
    number, patches, dt = 8000, 4, 2.0
    states, pairs, whole = evolved(
        system, (32, 32), patch, number=number, patches=patches, dt=dt, lags=[1]
    )
    z = system.observe(states)
    wide = PatchGeometry(patch.active)
    scale = np.prod(wide.shape) / np.prod(patch.shape)
    corners = pairs.origins - 3
    before = gather_each(states, corners - 1, wide.window, True)
    before = before.reshape(-1, *before.shape[2:])
    after = before.copy()
    after[(..., *wide.moving)] = pairs.moved[:, :, 0].reshape(-1, 1, *patch.active)
    both = system.observable_increment(before, after, wide).reshape(number, patches, 2)
    martingale = pairs.increments - pairs.compensators
    controls = control_variates(pairs.elapsed, martingale, pairs.rate_excess)
    arrays = LatentArrays(
        z=z,
        increment=pairs.increments[:, :, 0],
        elapsed=pairs.elapsed[:, :, 0],
        controls=controls[:, :, 0],
        conditions=np.zeros((number, 0)),
        group=np.arange(number) % 50,
        patches_total=(32 // side) ** 2,
        n_observables=2,
        excess=(2, 3),
        beyond=scale * both - pairs.increments[:, :, 0],
    )
    compensation = compensate(arrays)
    arrays = replace(arrays, increment=compensation.of_whole)
    counted = count_buffer(arrays, compensation.increment)
    centred = z - z.mean(axis=0)
    features = np.column_stack([np.ones(number), centred, centred**2, centred.prod(axis=1)])

    def variance(increment, patches_counted):
        left = increment - features @ np.linalg.lstsq(features, increment, rcond=None)[0]
        return np.square(left).mean(axis=0) * patches_counted

    exact = variance(whole.increments[:, 0, 0], 1.0)
    factor = patches / arrays.patches_total
    alone = variance(arrays.increment.mean(axis=1), factor) / exact
    together = variance(counted.increment.mean(axis=1), factor) / exact
    # Standard error of each ratio: 2 %. In longer runs they are 0.907, 0.966 and 1.04, 1.04.
    assert alone[0] < 0.96
    np.testing.assert_allclose(together, 1.0, atol=0.1)
    np.testing.assert_allclose(together / alone, counted.variance, rtol=0.02)
