"""Train the patch autoencoder."""

from macrodyn.pipeline.job import job
from macrodyn.pipeline.learn import closure_stage

with job(snakemake) as this:
    closure_stage(this)
