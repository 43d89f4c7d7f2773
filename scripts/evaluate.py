"""Compare a run with direct simulation."""

from macrodyn.pipeline.job import job
from macrodyn.pipeline.run_stage import evaluate_run

with job(snakemake) as this:
    evaluate_run(this)
