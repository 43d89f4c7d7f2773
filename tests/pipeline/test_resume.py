"""A sampling job that is stopped anywhere goes on to the same bits."""

from __future__ import annotations

import itertools

import pytest
import xarray as xr

from macrodyn.pipeline.job import save_stage
from macrodyn.pipeline.sample import evolve_shard, reference_shard, simulate_shard
from macrodyn.pipeline.upsample import upsample_shard
from macrodyn.sampling import work
from macrodyn.storage.checkpoints import Checkpoints, Interrupted

CHANGES = {"conditions": {"temperature": [2.3, 2.8]}}


@pytest.fixture(autouse=True)
def single_items(monkeypatch):
    """Blocks of one item each, so that there is a stop between any two."""
    monkeypatch.setattr(work, "_GROWTH", 1)


@pytest.fixture
def stages(make_plan, make_job, tmp_path):
    """Functions that make a shard of each sampling stage, given a job's checkpoints."""
    plan = make_plan(CHANGES)
    small, large = tmp_path / "small.nc", tmp_path / "large.nc"

    def run(stage, make, *source, shard=1, shards=2):
        def with_checkpoints(checkpoints=None):
            job = make_job(stage, tmp_path / "out.nc", shard, shards, checkpoints)
            return make(job, *source, shard, shards)

        return with_checkpoints

    whole = {"shard": 0, "shards": 1}
    for stage, path, make in (
        (
            plan.data.parents["small"],
            small,
            run(plan.data.parents["small"], simulate_shard, **whole),
        ),
        (plan.data, large, run(plan.data, upsample_shard, small, **whole)),
    ):
        save_stage(make_job(stage, path), stage.name, make())
    pairs = {method: latents.parents["pairs"] for method, latents in plan.latents.items()}
    return {
        "simulate": run(plan.data.parents["small"], simulate_shard),
        "upsample": run(plan.data, upsample_shard, small),
        "evolve patches": run(pairs["ours"], evolve_shard, large),
        "evolve whole": run(pairs["full"], evolve_shard, large),
        "reference": run(plan.reference, reference_shard),
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
    stage = make_plan(CHANGES).reference
    once = iter([False, True])
    with pytest.raises(Interrupted):
        stages["reference"](Checkpoints(tmp_path / "c", stop=lambda: next(once)))
    job = make_job(stage, tmp_path / "out.nc", 0, 2, Checkpoints(tmp_path / "c"))
    beside = reference_shard(job, 0, 2)
    xr.testing.assert_identical(
        beside, reference_shard(make_job(stage, tmp_path / "out.nc", 0, 2), 0, 2)
    )
