"""Predictions of held-out trajectories, and what the encoder leaves out of their forces."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.encoders import Encoder, load_encoder
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.force_forms import unresolved_fraction
from macrodyn.methods.partial_forces.model import ForceModel
from macrodyn.methods.partial_forces.products import Products
from macrodyn.methods.partial_forces.sample import NUMBERS, draw_coordinates
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems import ForceSystem


def forecast(job: Job) -> xr.Dataset:
    """Predict held-out trajectories from their first configurations.

    Args:
        job: The job; inputs ``model``, ``encoder`` and ``held-out``; its configuration holds
            ``step`` and ``unresolved``.

    Returns:
        ``z`` [member, run, time, variable] as predicted, ``encoded`` [run, time, variable] of the
        trajectories themselves, and the ``unresolved`` fraction of the forces at some of their
        configurations.
    """
    config = job.config
    system: ForceSystem = stage_system(job)
    encoder = load_encoder(job.input("encoder"), system)
    source = read_dataset(job.input("held-out"))
    states = source.states.values
    runs, times = states.shape[:2]
    model = ForceModel(
        ensemble=Ensemble.load(job.input("model")),
        encoder=encoder,
        system=system,
        size=(states.shape[2],),
        step=config["step"],
    )
    encoded = np.empty((runs, times, len(model.variables)))
    for run in range(runs):
        encoded[run] = model.encode(states[run])
        job.step("encoding", run + 1, runs)
    record = source.time.values
    predicted = model.integrate(
        encoded[:, 0],
        record - record[0],
        device=job.device,
        checkpoints=job.checkpoints,
        progress=lambda done, total: job.step("predicting", done, total),
    )
    return xr.Dataset(
        {
            "z": (
                ("member", "run", "time", "variable"),
                predicted,
                {"long_name": "predicted macroscopic state", "units": "1"},
            ),
            "encoded": (
                ("run", "time", "variable"),
                encoded,
                {"long_name": "macroscopic state of the trajectory itself", "units": "1"},
            ),
            "unresolved": (
                "configuration",
                _unresolved(system, encoder, states, config["unresolved"]),
                {"long_name": "share of the forces that the encoder leaves out", "units": "1"},
            ),
            "initial_values": source.initial_values,
        },
        coords={"variable": list(model.variables)},
    )


def _unresolved(
    system: ForceSystem, encoder: Encoder, states: NDArray[np.floating], number: int
) -> NDArray[np.float64]:
    """Fraction u of each of some configurations, spread over all of them."""
    runs, times, particles = states.shape[:3]
    rows = np.unique(np.linspace(0, runs * times - 1, number).astype(int))
    size = (len(system.observables) + encoder.dimension) * states[0, 0].size
    found = []
    products_of = Products(system, encoder, particles)
    for part in np.array_split(rows, min(len(rows), max(1, len(rows) * size // NUMBERS))):
        here = states[part // times, part % times].astype(np.float64)
        drawn = draw_coordinates(system, particles, "all", 0, part)
        products = products_of(here, drawn, system.forces(here, drawn))
        found.append(unresolved_fraction(products))
    return np.concatenate(found)
