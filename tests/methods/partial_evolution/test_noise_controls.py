"""Control variates of closure variables: what the noise of a field's sites makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.dynamics.compensation import compensate
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.lattice import PatchGeometry
from macrodyn.methods.partial_evolution.encoding import Encoding
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches, evolve_whole
from macrodyn.streams import seeds
from macrodyn.systems.predator_prey import PredatorPrey, PredatorPreyParameters

SITES, PATCH, STEP = 40, 10, 0.001
SYSTEM = PredatorPrey(PredatorPreyParameters(step=STEP, noise=0.05))


def fields(number: int) -> np.ndarray:
    """Waves of random amplitude and phase, with a little roughness."""
    rng = np.random.default_rng(2)
    phase, size = rng.uniform(0, 2 * np.pi, (number, 2, 1)), rng.uniform(0.05, 0.2, (number, 2, 1))
    wave = 0.5 + size * np.cos(2 * np.pi * np.arange(SITES) / 20 + phase)
    return (wave + rng.normal(0, 0.02, wave.shape)).astype(np.float32)


def make_model(encoder: str) -> PatchAutoencoder:
    architecture = Architecture(
        kind="field",
        patch=(PATCH,),
        state_channels=2,
        observables=0,
        closure_dim=2,
        channels=(4, 5),
        encoder=encoder,
    )
    return PatchAutoencoder(architecture, seed=1).eval()


def encoding(encoder: str, *, dt: float, buffer: int = 0, whole: bool = False, number: int = 400):
    """Pairs of the field, their encoding, and the groups of the snapshots."""
    states, keys = fields(number), seeds(3, "pairs", index=np.arange(number))
    settings = {"dt": dt, "lags": [1, 2], "keys": keys, "cost": Cost()}
    if whole:
        pairs = evolve_whole(SYSTEM, states, **settings)
    else:
        patch = PatchGeometry((PATCH,), buffer=buffer)
        pairs = evolve_patches(SYSTEM, states, patch, number=2, **settings)
    lead = ("sample", "patch", "lag", "channel")
    data = xr.Dataset(
        {
            "after": ((*lead, "x"), pairs.after),
            "moved": ((*lead, "active"), pairs.moved if buffer else pairs.noise),
            "noise": ((*lead, "active"), pairs.noise),
            "origin": (("sample", "patch", "axis"), pairs.origins),
            "elapsed": (("sample", "patch", "lag"), pairs.elapsed),
            "condition_values": (("sample", "condition"), np.empty((number, 0))),
        },
        coords={"condition": np.array([], dtype=np.str_)},
        attrs={"patches_total": 1 if whole else SITES // PATCH, "buffer": buffer},
    )
    data.attrs["boundary"] = "frozen"
    names = ["moment-2"]
    return Encoding(SYSTEM, make_model(encoder), names, (PATCH,), data, states)


CASES = pytest.mark.parametrize(
    ("encoder", "buffer", "whole"),
    [("pooled", 0, False), ("pooled", 2, False), ("strided", 0, False), ("pooled", 0, True)],
)


@CASES
def test_controls_are_all_but_what_the_drift_makes_in_a_short_time(encoder, buffer, whole):
    """Of one step the increments less the controls scatter far less than the increments."""
    encoded = encoding(encoder, dt=STEP, buffer=buffer, whole=whole)
    increments, controls = encoded.increments()[:, :, 0], encoded.noise_controls()[:, :, 0]
    assert controls.shape == increments.shape
    assert controls.shape[-1] == len(encoded.features.all) + 2
    left = increments - controls
    assert (left.var((0, 1)) < 0.1 * increments.var((0, 1))).all()


@CASES
def test_they_change_their_sign_with_the_noise(encoder, buffer, whole):
    encoded = encoding(encoder, dt=STEP, buffer=buffer, whole=whole, number=6)
    found = encoded.noise_controls()
    encoded.pairs["noise"] = -encoded.pairs.noise
    np.testing.assert_array_equal(encoded.noise_controls(), -found)
    assert (np.abs(found) > 0).all()


def test_compensated_closure_variables_have_the_mean_of_their_increments():
    """And less noise, the less the shorter dt: what is left is the drift's own scatter."""
    gains = []
    for dt in (STEP, 20 * STEP):
        encoded = encoding("pooled", dt=dt)
        increments, controls = encoded.increments()[:, :, 0], encoded.noise_controls()[:, :, 0]
        arrays = LatentArrays(
            z=encoded.z,
            increment=increments,
            elapsed=encoded.pairs.elapsed.values[:, :, 0],
            controls=controls,
            conditions=np.empty((len(increments), 0)),
            group=np.arange(len(increments)) // 4,
            patches_total=4,
            n_observables=0,
        )
        found = compensate(arrays)
        mean = increments.mean(axis=1)
        error = (mean - found.increment).std(axis=0) / len(mean) ** 0.5
        assert (np.abs((mean - found.increment).mean(axis=0)) < 4 * error).all()
        gains.append(found.gain)
    assert (gains[0] > 5).all()
    assert (gains[0] > gains[1]).all()
    assert (gains[1] > 1).all()


def test_without_noise_or_variables_there_is_nothing_to_control():
    encoded = encoding("pooled", dt=STEP, number=6)
    encoded.pairs = encoded.pairs.drop_vars("noise")
    assert encoded.noise_controls() is None
