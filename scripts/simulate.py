"""Simulate the small systems of one shard."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import simulate_shard

with job(snakemake, stop) as this:
    save_stage(this, "simulate", simulate_shard(this, this.shard, this.shards))
