"""What ``import macrodyn`` offers: documented, complete, and loaded when it is asked for."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import macrodyn

NAMES = [name for name in macrodyn.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_with_a_docstring(name: str) -> None:
    found = getattr(macrodyn, name)
    assert inspect.isclass(found) or callable(found)
    assert len(inspect.getdoc(found) or "") > 20
    assert name in dir(macrodyn)


def test_the_docstring_lists_what_there_is() -> None:
    listed = re.findall(r"`(\w+)`", macrodyn.__doc__ or "")
    assert sorted(listed) == sorted(NAMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = macrodyn.predict


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, macrodyn; macrodyn.StageKind; macrodyn.Method; macrodyn.load_study; "
        "assert not {'torch', 'numba', 'xarray', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_enough_to_learn_a_model() -> None:
    """From simulation to trajectories by these names alone."""
    import numpy as np

    ising = macrodyn.system_class("ising")
    system = ising(ising.Parameters(temperature=2.5))
    keys = macrodyn.seeds(1, "test", index=64)
    states = system.initial_states(np.linspace(-0.9, 0.9, 64)[:, None], (8, 8), keys)
    pairs = macrodyn.evolve_whole(system, states, dt=0.5, lags=[1], keys=keys, cost=macrodyn.Cost())
    import torch

    data = macrodyn.TransitionData(
        z=torch.from_numpy(system.observe(states)).float(),
        increment=torch.from_numpy(pairs.increments[:, 0, 0]).float(),
        elapsed=torch.full((64,), 0.5),
        conditions=torch.zeros(64, 0),
        group=torch.arange(64) % 8,
    )
    settings = macrodyn.DynamicsSettings(members=2, hidden=(8,), steps=10, validation_every=5)
    model, _ = macrodyn.train_ensemble(*data.split(0.25, seed=0), settings)
    path = macrodyn.integrate(model, data.z[:3], [0.0, 1.0, 2.0], step=0.5, bounds=system.bounds)
    assert path.shape == (2, 3, 3, 2) and bool(torch.isfinite(path).all())
