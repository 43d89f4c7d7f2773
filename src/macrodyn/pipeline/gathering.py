"""The shards of a scattered stage become one file, which the stages after it read."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from macrodyn.pipeline.job import Job
from macrodyn.storage.netcdf import gather_shards
from macrodyn.targets import load_target


def gather(job: Job) -> xr.Dataset:
    """Gather shards, in an order that does not depend on their number.

    Args:
        job: The job; inputs ``shards/<number>``, and the stage's `Scatter` in its params.
    """
    scatter = job.params["scatter"]
    paths = [Path(path) for path in job.inputs["shards"].values()]
    job.info(f"gathering {len(paths)} shard(s)")
    gathered = gather_shards(paths, scatter["dimension"], scatter["order"], job.config)
    if scatter["finish"]:
        finished: xr.Dataset = load_target(scatter["finish"])(gathered, job.config)
        return finished
    return gathered
