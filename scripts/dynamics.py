"""Train the ensemble of drift and diffusion networks."""

from macrodyn.pipeline.job import job
from macrodyn.pipeline.learn import dynamics_stage

with job(snakemake) as this:
    dynamics_stage(this)
