"""Train the ensemble of drift and diffusion networks."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job
from macrodyn.pipeline.learn import dynamics_stage

with job(snakemake, stop) as this:
    dynamics_stage(this)
