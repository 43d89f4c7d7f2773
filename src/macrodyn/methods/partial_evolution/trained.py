"""The stage that writes the trained model of a run, for its users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from macrodyn.evaluation import align
from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.conformal import Calibration, calibrate
from macrodyn.methods.base import run_of
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.model_files import save
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.model_files import model_of_run
from macrodyn.model_spread import mean_and_spreads, scale_of
from macrodyn.pipeline.job import Job
from macrodyn.storage.netcdf import read_dataset
from macrodyn.streams import torch_seed


def trained_model(job: Job) -> None:
    """Write the trained model of a run to a folder of its own, with bands and a card.

    Args:
        job: The job; inputs ``model/ours``, ``closure``, ``prediction/ours/<case>``, the
            references, what the system prepared, and ``evaluation``; its configuration holds that
            of the ``run``.
    """
    run = run_of(PartialEvolutionRun, job.config["run"])
    calibrations = tuple(_calibrations(job, run))
    model = replace(model_of_run(job, run), calibrations=calibrations)
    save(model, job.outputs["model"], identity=job.key)


def _calibrations(job: Job, run: PartialEvolutionRun) -> Iterator[Calibration]:
    """Bands by each comparison with direct simulation that has enough trajectories."""
    if run.evaluate.reference != "direct":
        # What is compared then are smaller systems, of other noise.
        return
    reference = lru_cache(maxsize=1)(lambda role: read_dataset(job.input(role)))
    for case in evaluated_cases(run):
        times = horizon_times(run.evaluate.horizons[case.horizon])
        predicted = read_dataset(job.input(f"prediction/ours/{case.name}"))
        members, direct = align(predicted, reference(case.reference).sel(time=times))
        order = ("initial", "replica", "time", "variable")
        mean = predicted.z_mean_model.transpose(*order).values[..., : direct.shape[-1]]
        kept = members[predicted.kept.values.astype(bool)]
        centre, noise, spread = mean_and_spreads(kept, np.asarray(mean, np.float64))
        try:
            yield calibrate(
                direct,
                centre,
                scale_of(noise, spread),
                times,
                name=case.name,
                seed=torch_seed(run.seed, "bands", case.name),
            )
        except Unavailable as reason:
            job.info(f"no bands on {case.name}: {reason}")
