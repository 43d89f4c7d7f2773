"""Compare a run with direct simulation."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import job
from macrodyn.pipeline.run_stage import evaluate_run

with job(snakemake, stop) as this:
    evaluate_run(this)
