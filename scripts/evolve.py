"""Make the pairs of one shard's snapshots."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import evolve_shard

with job(snakemake, stop) as this:
    data = evolve_shard(this, this.inputs["states"], this.shard, this.shards)
    save_stage(this, "evolve", data)
