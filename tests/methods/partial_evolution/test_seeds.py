"""The smallest and the largest seed that a configuration may have serve all stages."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.closure.layers import Architecture as ClosureArchitecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.config.section import LARGEST_SEED
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation.bootstrap import sampling_error
from macrodyn.evaluation.mmd import mmd_at_equilibrium
from macrodyn.learning.holdout import hold_out
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.pipeline.planner import plan_run
from macrodyn.storage.netcdf import read_attributes, write_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.streams import torch_seed

EXTREMES = pytest.mark.parametrize("seed", [0, LARGEST_SEED])


@EXTREMES
def test_sampling_takes_it(make_plan, sample, seed):
    plan = make_plan({"seed": seed, "baselines": []})
    assert all(np.isfinite(found.time).all() for found in sample(plan, 1).values())


@EXTREMES
def test_learning_takes_it(seed):
    small = torch_seed(seed, "closure")
    torch.Generator().manual_seed(small)
    architecture = ClosureArchitecture(
        kind="spin", patch=(4,), state_channels=1, observables=1, closure_dim=1
    )
    PatchAutoencoder(architecture, seed=small)
    Ensemble(variables=1, members=2, seed=small)
    for given in (seed, small):
        assert len(hold_out(np.arange(20), 0.2, seed=given)[1]) == 4


@EXTREMES
def test_evaluation_takes_it(seed):
    trajectories = np.random.default_rng(0).normal(size=(2, 8, 12, 1))
    assert np.isfinite(sampling_error(trajectories, resamples=5, seed=seed).mean).all()
    # It takes the seed after it as well.
    found = mmd_at_equilibrium(trajectories[None], trajectories, seed=seed)
    assert found is not None


@EXTREMES
def test_files_keep_it(make_plan, tmp_path, seed):
    plan = make_plan({"seed": seed})
    config = plan["reference"].config
    data = xr.Dataset({"a": ("x", np.zeros(2), {"long_name": "nothing", "units": "1"})})
    write_dataset(data, tmp_path / "a.nc", provenance("reference", config))
    attributes = read_attributes(tmp_path / "a.nc")
    assert json.loads(attributes["stage_config"])["seed"] == seed
    content = {"config": plan.config.model_dump(mode="json")}
    write_sealed_json(tmp_path / "a.json", content)
    read = PartialEvolutionRun.model_validate(read_sealed_json(tmp_path / "a.json")["config"])
    assert read.seed == seed and plan_run("run", read)["reference"].key == plan["reference"].key
