"""Simulate the large system directly, one shard of the trajectories."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import reference_shard

with job(snakemake, stop) as this:
    save_stage(this, "reference", reference_shard(this, this.shard, this.shards))
