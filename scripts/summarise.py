"""Summarise all runs of a study."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from pathlib import Path

from macrodyn.pipeline.job import job
from macrodyn.pipeline.summary import summarise_study

with job(snakemake, stop) as this:
    summarise_study(this, Path(snakemake.scriptdir).parent / "workflow" / "report")
