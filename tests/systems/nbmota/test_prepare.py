"""The alloy's own stages: barriers by LAMMPS, and a model of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from macrodyn.pipeline.job import Job, save_stage
from macrodyn.storage.models import load_model
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems.nbmota import NbMoTa, NbMoTaParameters
from macrodyn.systems.nbmota.configurations import configuration
from macrodyn.systems.nbmota.prepare import barrier_data, barrier_model, model_errors
from macrodyn.systems.shared.lammps.errors import LammpsError
from tests.systems.nbmota.conftest import needs_lammps

CONFIG = {"configurations": 5, "cells": 4, "swaps": 60, "potential": "", "seed": 2511}


def job(folder, config, inputs=None, shard=0, shards=1):
    outputs = {
        "data": folder / f"data-{shard}-of-{shards}.nc",
        "model": folder / "model.safetensors",
        "training": folder / "training.json",
    }
    return Job(
        stage="barriers", config=config, inputs=inputs or {}, outputs=outputs, shard=shard,
        shards=shards,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("barriers")
    task = job(folder, CONFIG)
    save_stage(task, barrier_data(task))
    return task.outputs["data"]


@needs_lammps
def test_barriers_are_of_the_configurations_that_were_drawn(data):
    found = read_dataset(data)
    assert found.species.shape == (5, 2, 4, 4, 4) and found.energies.shape == (5, 8, 5)
    for number, species in zip(found.number.values, found.species.values, strict=True):
        drawn = configuration(int(number), 4, 2511)
        assert species.reshape(-1)[drawn.vacancy] == 0 and (species == 0).sum() == 1
        if not np.isfinite(drawn.temperature):
            drawn.species.reshape(-1)[drawn.vacancy] = 0
            np.testing.assert_array_equal(species, drawn.species)
    fine = found.energies.values[..., 4] == 1
    assert fine.mean() > 0.8
    barriers = (found.energies.values[..., 2] - found.energies.values[..., 0])[fine]
    assert 0.2 < barriers.min() and barriers.max() < 2.5
    assert ((3.1 < found.side) & (found.side < 3.4)).all()


@needs_lammps
def test_shards_make_the_same(data, tmp_path):
    whole = read_dataset(data)
    part = barrier_data(job(tmp_path, CONFIG, shard=1, shards=4))
    assert part.number.values.tolist() == [1]
    row = np.flatnonzero(whole.number.values == 1)
    np.testing.assert_array_equal(part.species.values, whole.species.values[row])
    np.testing.assert_array_equal(part.energies.values, whole.energies.values[row])


@needs_lammps
def test_swaps_and_potential_arrive(data, tmp_path):
    whole = read_dataset(data)
    (annealed,) = np.flatnonzero(np.isfinite(whole.temperature.values))[:1]
    number = int(whole.number.values[annealed])
    other = barrier_data(job(tmp_path, {**CONFIG, "swaps": 0}, shard=number, shards=5))
    assert (other.species.values[0] != whole.species.values[annealed]).any()
    with pytest.raises(LammpsError, match="no-such-style"):
        barrier_data(job(tmp_path, {**CONFIG, "potential": "pair_style no-such-style"}))


@needs_lammps
def test_a_model_is_trained_and_tested_on_others(data, tmp_path):
    config = {"source": "EAM", "steps": 40, "seed": 2511}
    task = job(tmp_path, config, {"barriers": {"data": data}})
    barrier_model(task)
    said = json.loads(task.outputs["training"].read_text(encoding="utf-8"))
    assert said["bands"] == 40 and said["history"]["finished_step"] == 40
    assert 0 < said["rmse"]["barriers"] < 0.5
    assert len(said["computed"]) == len(said["predicted"]) == len(said["unlike"]) > 0
    assert load_model(task.outputs["model"])[1]["source"] == "EAM"
    alloy = NbMoTa(
        NbMoTaParameters(barriers="trained"),
        prepared={"barriers": {"model": task.outputs["model"]}},
    )
    assert alloy.is_ready and alloy.barriers.balanced and alloy.barriers.source == "EAM"
    made = NbMoTa(NbMoTaParameters(barriers="trained"), prepared={"barriers": dict(task.outputs)})
    ((name, figure),) = made.prepared_figures("a study")
    assert name == "barriers"
    assert len(figure.axes[0].lines[1].get_xdata()) == len(said["computed"])


def test_unlike_neighbours_are_counted(model):
    import xarray as xr

    flat = np.full((2, 4, 4, 4), 1, np.uint8)
    flat[0, 0, 0, 0] = 0
    # One of the eight that jump, at the centre of the first cell: its seven neighbours are unlike.
    flat[1, 0, 0, 0] = 2
    energies = np.tile([0.0, 0.1, 1.0, 0.0, 1.0], (8, 1))
    data = xr.Dataset(
        {
            "species": (("configuration", "channel", "x", "y", "z"), flat[None]),
            "energies": (("configuration", "jump", "result"), energies[None]),
            "number": ("configuration", [0]),
        }
    )
    told = model_errors(model, data, tested_every=5)
    assert sorted(told["unlike"]) == [0] * 7 + [7]
    assert told["computed"] == [1.0] * 8


def test_few_bands_that_converged_are_refused(tmp_path):
    import xarray as xr

    species = np.ones((4, 2, 4, 4, 4), np.uint8)
    species[:, 0, 0, 0, 0] = 0
    energies = np.zeros((4, 8, 5))
    energies[:, :2, 4] = 1.0
    made = xr.Dataset(
        {
            "species": (("configuration", "channel", "x", "y", "z"), species),
            "energies": (("configuration", "jump", "result"), energies),
            "number": ("configuration", np.arange(4)),
        }
    )
    task = job(tmp_path, CONFIG)
    save_stage(task, made)
    config = {"source": "EAM", "steps": 40, "seed": 2511}
    with pytest.raises(ValueError, match="only 8 of 32 bands have converged"):
        barrier_model(job(tmp_path, config, {"barriers": {"data": task.outputs["data"]}}))
