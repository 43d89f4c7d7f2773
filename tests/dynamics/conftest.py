"""A lattice of independent Ornstein-Uhlenbeck sites, sampled exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.dynamics import DynamicsSettings, latents_dataset

SITES, PATCHES, RATE, NOISE = 64, 16, 0.5, 1.0
"""Sites n, patches K, and dx = -RATE x dt + NOISE dW of each site."""


def changed(settings: DynamicsSettings, **changes: object) -> DynamicsSettings:
    """The same settings but for some, validated anew."""
    return DynamicsSettings(**{**settings.model_dump(), **changes})


OrnsteinUhlenbeck = Callable[..., xr.Dataset]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_latents(
    *,
    samples: int = 20_000,
    evolved: int = 2,
    elapsed: float | np.ndarray = 0.02,
    rate: float | np.ndarray = RATE,
    correlation: float = 0.0,
    groups: int = 100,
    seed: int = 0,
    conditions: np.ndarray | None = None,
) -> xr.Dataset:
    """Latents of the OU lattice; `elapsed` may be one value, [samples] or [samples, evolved].

    The macroscopic variable is the mean over all sites. `correlation` is that of the noise of any
    two patches.
    """
    rng = np.random.default_rng(seed)
    per_patch = SITES // PATCHES
    # Each snapshot's sites scatter around a mean of its own.
    sites = rng.uniform(-2, 2, (samples, 1, 1)) + rng.normal(size=(samples, PATCHES, per_patch))
    times = np.asarray(elapsed)
    times = np.broadcast_to(times[:, None] if times.ndim == 1 else times, (samples, evolved))
    rates = np.broadcast_to(np.asarray(rate).reshape(-1, 1), (samples, 1))
    decay = np.exp(-rates * times)[..., None]
    spread = NOISE * np.sqrt((1 - decay**2) / (2 * rates[..., None]))
    shared = rng.normal(size=(samples, 1, per_patch))
    own = rng.normal(size=(samples, evolved, per_patch))
    kick = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    before = sites[:, :evolved]
    increment = ((decay - 1) * before + spread * kick).mean(axis=2)
    values = np.zeros((samples, 0)) if conditions is None else conditions
    return latents_dataset(
        z=sites.mean(axis=(1, 2))[:, None],
        increment=increment[:, :, None, None],
        elapsed=np.ascontiguousarray(times)[:, :, None],
        condition_values=values,
        group=np.arange(samples) % groups,
        time=np.zeros(samples),
        variables=["mean"],
        lags=[1],
        conditions=[f"condition_{i}" for i in range(values.shape[1])],
        n_observables=1,
        patches_total=PATCHES,
        sites=64,
        dt=0.02,
        time_unit="1",
    )


@pytest.fixture(scope="session")
def ornstein_uhlenbeck() -> OrnsteinUhlenbeck:
    return make_latents
