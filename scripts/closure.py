"""Train the patch autoencoder."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job
from macrodyn.pipeline.learn import closure_stage

with job(snakemake, stop) as this:
    closure_stage(this)
