"""A sampling job that is stopped anywhere goes on to the same bits."""

from __future__ import annotations

import itertools

import pytest
import xarray as xr

from macrodyn.pipeline.job import save_stage
from macrodyn.sampling import work
from macrodyn.storage.checkpoints import Checkpoints, Interrupted
from macrodyn.targets import load_target

CHANGES = {"conditions": {"temperature": [2.3, 2.8]}}


@pytest.fixture(autouse=True)
def single_items(monkeypatch):
    """Blocks of one item each, so that there is a stop between any two."""
    monkeypatch.setattr(work, "_GROWTH", 1)


def work_of(job, stage):
    """What a stage's work makes of a job."""
    return load_target(stage.kind.work)(job)


@pytest.fixture
def stages(make_plan, make_job, tmp_path):
    """Functions that make a shard of each sampling stage, given a job's checkpoints."""
    plan = make_plan(CHANGES)
    small, large = tmp_path / "small.nc", tmp_path / "large.nc"

    def run(role, shard=1, shards=2, **inputs):
        def with_checkpoints(checkpoints=None):
            options = {"shard": shard, "shards": shards, "checkpoints": checkpoints}
            return work_of(make_job(plan[role], tmp_path / "out", inputs, **options), plan[role])

        return with_checkpoints

    for role, path, inputs in (("small", small, {}), ("snapshots", large, {"small": small})):
        job = make_job(plan[role], path.parent)
        job.outputs["data"] = path
        save_stage(job, run(role, 0, 1, **inputs)())
    return {
        "simulate": run("small"),
        "upsample": run("snapshots", small=small),
        "evolve patches": run("pairs/ours", states=large),
        "evolve whole": run("pairs/full", states=large),
        "reference": run("reference"),
    }


STAGES = ["simulate", "upsample", "evolve patches", "evolve whole", "reference"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stopped_stage_ends_in_the_same_bits(stages, tmp_path, name):
    make = stages[name]
    whole = make()
    steps = 0
    for length in (1, 3, 2, 5):
        calls = itertools.count(1)
        stop = Checkpoints(tmp_path / "c", stop=lambda c=calls, n=length: next(c) >= n)
        with pytest.raises(Interrupted, match=rf"step {steps + length} of \d+"):
            make(stop)
        steps += length
    resumed = make(Checkpoints(tmp_path / "c"))
    xr.testing.assert_identical(resumed, whole)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stopped_after_its_last_step_has_lost_nothing(stages, tmp_path, name):
    """As when the process dies between its loop and its file."""
    whole = stages[name](Checkpoints(tmp_path / "c", every=0.0))
    resumed = stages[name](Checkpoints(tmp_path / "c"))
    xr.testing.assert_identical(resumed, whole)


def test_the_checkpoint_of_one_shard_is_not_that_of_another(stages, make_job, make_plan, tmp_path):
    stage = make_plan(CHANGES)["reference"]
    first = {"shard": 0, "shards": 2}
    once = iter([False, True])
    with pytest.raises(Interrupted):
        stages["reference"](Checkpoints(tmp_path / "c", stop=lambda: next(once)))
    job = make_job(stage, tmp_path / "out", **first, checkpoints=Checkpoints(tmp_path / "c"))
    beside = work_of(job, stage)
    alone = work_of(make_job(stage, tmp_path / "out", **first), stage)
    xr.testing.assert_identical(beside, alone)
