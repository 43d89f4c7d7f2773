"""Choices of the training, by cross-validation over groups on the latents of finished studies.

Each choice is trained on three quarters of the groups and scored on the last, four times:

- misfit: mean square of what the drift leaves of the compensated increments of groups left out, in
  units of the noise that a polynomial fit leaves, less that of the default, in thousandths,
  with the standard error of the difference over the folds;
- likelihood: negative log likelihood of the increments of groups left out, less the default's,
  in thousandths;
- scatter: root mean square deviation of the members' drift from its mean at the states of groups
  left out, over the root mean square of the drift, in per cent, largest of the variables;
- seconds of a training.

    python benchmarks/training_choices.py results/ising/stages/encode/KEY/data.nc ...
    python benchmarks/training_choices.py --increments compensated --choices tanh -- FILE
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from macrodyn.dynamics.compensation import compensate
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.dynamics.likelihood import partial_log_likelihood
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.scaling import drift_metric
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.train import train_ensemble
from macrodyn.learning.holdout import group_folds
from macrodyn.storage.netcdf import read_dataset

FOLDS, SEED = 4, 1
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "tanh": {"activation": "tanh"},
    "weight decay 0.1": {"weight_decay": 0.1},
    "weight decay 1": {"weight_decay": 1.0},
    "width 32": {"hidden": (32, 32)},
    "500 steps": {"steps": 500},
    "batch 2048": {"batch": 2048},
    "4000 steps of 1024, rate 0.001": {"steps": 4000, "batch": 1024, "learning_rate": 1e-3},
    "output ridge 1e-6": {"output_ridge": 1e-6},
    "output ridge 0.01": {"output_ridge": 1e-2},
    "output layer as trained": {"output_ridge": None},
    "polynomial": {"model": "polynomial"},
}
# Of what is fitted to increments as they are.
PLAIN = [name for name in CHOICES if "output" not in name]


def score(ensemble: Ensemble, metric: Tensor, held: TransitionData) -> tuple[float, float, float]:
    """Misfit, negative log likelihood and scatter on what was held out."""
    with torch.no_grad():
        drift = ensemble.drift(held.z, held.conditions)
        factor = ensemble.cholesky(held.z, held.conditions)
    elapsed = held.elapsed[:, None]
    left = (held.drift_increment - drift * elapsed) / (held.factor * elapsed).sqrt()
    misfit = (left.double() @ metric.T).square().mean()
    likelihood = partial_log_likelihood(
        held.increment.expand_as(drift), drift, factor, held.elapsed, factor=held.factor
    )
    deviation = (drift - drift.mean(0)).square().mean((0, 1)).sqrt()
    scatter = (deviation / drift.square().mean((0, 1)).sqrt()).max()
    return float(misfit), -float(likelihood.double().mean()), float(scatter)


def judge(path: str, choices: list[str], increments: str) -> None:
    """Print the table of one study's latents."""
    latents = read_dataset(path)
    arrays = LatentArrays.from_dataset(latents)
    compensation = compensate(arrays, seed=SEED)
    data = TransitionData.from_latents(latents, compensation=compensation)
    raw = TransitionData.from_latents(latents)
    folds = torch.as_tensor(group_folds(data.group.numpy(), FOLDS, seed=SEED))
    reference: np.ndarray | None = None
    print(f"{path}: {len(data)} transitions, {data.variables} variables")
    print(f"{'':50}{'misfit':>17}{'likelihood':>17}{'scatter %':>11}{'seconds':>9}")
    listed = [(name, name, data) for name in choices]
    if increments == "all":
        listed += [(f"plain increments: {name}", name, raw) for name in choices if name in PLAIN]
    for title, name, used in listed:
        settings = DynamicsSettings(**CHOICES[name])
        found, seconds = [], []
        for fold in range(FOLDS):
            kept, held = used.select(folds != fold), data.select(folds == fold)
            began = time.perf_counter()
            split = kept.split(settings.validation_fraction, seed=fold)
            train = fit_polynomials if settings.model == "polynomial" else train_ensemble
            ensemble, *_ = train(*split, settings, seed=fold)
            seconds.append(time.perf_counter() - began)
            eye = torch.eye(data.variables, dtype=torch.float64)
            metric = drift_metric(data.select(folds != fold), eye)
            found.append(score(ensemble, metric, held))
        values = np.array(found)
        reference = values[:, :2] if reference is None else reference
        apart = 1e3 * (values[:, :2] - reference)
        error = apart.std(axis=0, ddof=1) / math.sqrt(FOLDS)
        misfit, likelihood = apart.mean(axis=0)
        print(
            f"{title:50}{misfit:9.2f} +-{error[0]:5.2f}{likelihood:9.2f} +-{error[1]:5.2f}"
            f"{100 * values[:, 2].mean():11.2f}{statistics.median(seconds):9.1f}",
            flush=True,
        )


def main() -> None:
    """Judge each of the files named on the command line."""
    parser = argparse.ArgumentParser(description="Choices of the training, cross-validated.")
    parser.add_argument("latents", nargs="+", help="data.nc of the stage encode")
    parser.add_argument("--choices", nargs="+", choices=list(CHOICES), default=list(CHOICES))
    parser.add_argument("--increments", choices=["all", "compensated"], default="all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # All are compared with the default.
    choices = list(dict.fromkeys(["default", *given.choices]))
    for path in given.latents:
        judge(path, choices, given.increments)


if __name__ == "__main__":
    main()
