"""Turn pairs of states into pairs of macroscopic states."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.closure.model import load_autoencoder
from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.learn import encode_stage

with job(snakemake, stop) as this:
    model, _ = load_autoencoder(this.inputs["model"])
    save_stage(this, "encode", encode_stage(this, model))
