"""Predict trajectories of the large system."""

from macrodyn.pipeline.interrupt import listen

stop = listen(snakemake)

from macrodyn.closure.model import load_autoencoder
from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.pipeline.job import job, save_stage
from macrodyn.pipeline.learn import predict_stage

with job(snakemake, stop) as this:
    ensemble = EnsembleSDE.load(this.inputs["ensemble"])
    closure, _ = load_autoencoder(this.inputs["closure"])
    save_stage(this, "predict", predict_stage(this, ensemble, closure))
