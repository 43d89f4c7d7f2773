"""Simulate the small systems of one shard."""

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import simulate_shard

with job(snakemake) as this:
    save_stage(this, "simulate", simulate_shard(this, this.shard, this.shards))
