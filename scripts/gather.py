"""Gather the shards of a sampling stage into one file."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.sample import gather_stage

with job(snakemake, stop) as this:
    stage = this.wildcards["stage"]
    this.info(f"gathering {len(this.inputs['shards'])} shard(s)")
    save_stage(this, stage, gather_stage(stage, this.inputs["shards"], this.config))
