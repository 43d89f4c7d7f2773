"""Upsample and relax the snapshots of one shard."""

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.upsample import upsample_shard

with job(snakemake) as this:
    data = upsample_shard(this, this.inputs["small"], this.shard, this.shards)
    save_stage(this, "upsample", data)
