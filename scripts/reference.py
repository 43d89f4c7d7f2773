"""Simulate the large system directly, one shard of the trajectories."""

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import reference_shard

with job(snakemake) as this:
    save_stage(this, "reference", reference_shard(this, this.shard, this.shards))
