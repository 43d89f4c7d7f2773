"""Upsample and relax the snapshots of one shard."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.upsample import upsample_shard

with job(snakemake, stop) as this:
    data = upsample_shard(this, this.inputs["small"], this.shard, this.shards)
    save_stage(this, "upsample", data)
