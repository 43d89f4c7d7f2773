"""Summarise all runs of a study."""

from macrodyn.pipeline.job import job
from macrodyn.pipeline.summary import summarise_study

with job(snakemake) as this:
    summarise_study(this)
