"""Choices of the training, by cross-validation over groups on the latents of finished studies.

Each choice is trained on four fifths of the groups and scored on the last, five times:

- misfit: mean square of what the drift leaves of the compensated increments of groups left out, in
  units of the noise that a polynomial fit leaves, less that of the default, in thousandths;
- likelihood: negative log likelihood of the increments of groups left out, less the default's,
  in thousandths;
- scatter: root mean square deviation of the members' drift from its mean at the states of groups
  left out, over the root mean square of the drift, in per cent, largest of the variables;
- seconds of a training.

    python benchmarks/training_choices.py results/ising/stages/encode/KEY/data.nc ...
"""

from __future__ import annotations

import statistics
import sys
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
from macrodyn.dynamics.scaling import drift_metric
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.train import train_ensemble
from macrodyn.learning.holdout import group_folds
from macrodyn.storage.netcdf import read_dataset

FOLDS, SEED = 5, 1
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "tanh": {"activation": "tanh"},
    "weight decay 0.1": {"weight_decay": 0.1},
    "weight decay 1": {"weight_decay": 1.0},
    "width 32": {"hidden": (32, 32)},
    "width 128": {"hidden": (128, 128)},
    "500 steps": {"steps": 500},
    "4000 steps of 1024, rate 0.001": {"steps": 4000, "batch": 1024, "learning_rate": 1e-3},
    "output ridge 1e-6": {"output_ridge": 1e-6},
    "output ridge 0.01": {"output_ridge": 1e-2},
    "output layer as trained": {"output_ridge": None},
    "increments as they are": {"increments": "plain"},
}


def score(ensemble: Ensemble, metric: Tensor, held: TransitionData) -> tuple[float, float, float]:
    """Misfit, negative log likelihood and scatter on what was held out."""
    with torch.no_grad():
        drift, factor = ensemble(held.z, held.conditions)
    assert factor is not None
    elapsed = held.elapsed[:, None]
    left = (held.drift_increment - drift * elapsed) / (held.factor * elapsed).sqrt()
    misfit = (left.double() @ metric.T).square().mean()
    likelihood = partial_log_likelihood(
        held.increment.expand_as(drift), drift, factor, held.elapsed, factor=held.factor
    )
    deviation = (drift - drift.mean(0)).square().mean((0, 1)).sqrt()
    scatter = (deviation / drift.square().mean((0, 1)).sqrt()).max()
    return float(misfit), -float(likelihood.double().mean()), float(scatter)


def judge(path: str) -> None:
    """Print the table of one study's latents."""
    latents = read_dataset(path)
    arrays = LatentArrays.from_dataset(latents)
    compensation = compensate(arrays, seed=SEED)
    data = TransitionData.from_latents(latents, compensation=compensation)
    raw = TransitionData.from_latents(latents)
    folds = torch.as_tensor(group_folds(data.group.numpy(), FOLDS, seed=SEED))
    reference: tuple[float, float] | None = None
    print(f"{path}: {len(data)} transitions, {data.variables} variables")
    print(f"{'':34}{'misfit':>9}{'likelihood':>12}{'scatter %':>11}{'seconds':>9}")
    for name, changes in CHOICES.items():
        settings = DynamicsSettings(**changes)
        used = data if settings.increments == "compensated" else raw
        found, seconds = [], []
        for fold in range(FOLDS):
            kept, held = used.select(folds != fold), data.select(folds == fold)
            began = time.perf_counter()
            split = kept.split(settings.validation_fraction, seed=fold)
            ensemble, _ = train_ensemble(*split, settings, seed=fold)
            seconds.append(time.perf_counter() - began)
            eye = torch.eye(data.variables, dtype=torch.float64)
            metric = drift_metric(data.select(folds != fold), eye)
            found.append(score(ensemble, metric, held))
        misfit, likelihood, scatter = np.mean(found, axis=0)
        reference = reference or (misfit, likelihood)
        print(
            f"{name:34}{1e3 * (misfit - reference[0]):9.2f}"
            f"{1e3 * (likelihood - reference[1]):12.2f}{100 * scatter:11.2f}"
            f"{statistics.median(seconds):9.1f}",
            flush=True,
        )


def main() -> None:
    """Judge each of the files named on the command line."""
    torch.set_num_threads(1)
    for path in sys.argv[1:]:
        judge(path)


if __name__ == "__main__":
    main()
