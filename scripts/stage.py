"""One job of a stage: the work that the stage's kind names."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.pipeline.job import do, job

with job(snakemake, stop) as this:
    do(this)
