"""Training an ensemble of latent models by the partial likelihood."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch

from macrodyn.dynamics.constraints import Coordinates, LinearConstraint, principal_axes
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.latent import NETWORKS, latent_model
from macrodyn.dynamics.noise_layer import solve_noise_layer
from macrodyn.dynamics.output_layer import solve_output_layer
from macrodyn.dynamics.partial_likelihood import PartialLikelihood
from macrodyn.dynamics.scaling import fit_scalers
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.union import join
from macrodyn.learning.history import History
from macrodyn.learning.loop import Progress, train
from macrodyn.storage.checkpoints import Checkpoints

_log = logging.getLogger("macrodyn")

# How much stronger the ridge of the output layer is where increments are as noisy as they come.
PLAIN = 100.0


def train_ensemble(
    data_train: TransitionData,
    data_val: TransitionData,
    settings: DynamicsSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    constraint: LinearConstraint | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[Ensemble, History]:
    """Train all members at once on data that stay on the device.

    The likelihood is that of the mean increment, or of all m increments of a snapshot where the
    data hold their scatter. A model without noise is fitted by least squares, in units of the
    increments' scatter around a polynomial fit. The drift's output layer is solved for in the end,
    on all transitions (`solve_output_layer`).

    Args:
        data_train: Transitions to learn from.
        data_val: Transitions of other groups, for early stopping.
        settings: How to train.
        seed: Seed of initial parameters and minibatches.
        device: Where to train.
        kind: The latent model, see `latent_model`; that of the settings if left out.
        options: Its options; for those of `NETWORKS` these are the settings' if left out.
        constraint: Exact linear relations among the variables, if there are any.
        checkpoints: Where to keep checkpoints while training, see `learning.loop.train`.
        progress: Called after each validation.

    Returns:
        The ensemble, each member at its best validated parameters, on the CPU, and the history.

    Raises:
        ValueError: If the settings' model is no network, or none of so many variables.
        FloatingPointError: If a likelihood is not finite.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eq. (6) of arXiv:2511.12842.
    """
    training, validation = data_train, data_val
    if constraint is not None:
        training, validation = (d.within_constraint(constraint) for d in (training, validation))
    if kind is None:
        if settings.model not in NETWORKS:
            raise ValueError(f"{settings.model} is not trained: fit_polynomials fits it")
        kind = NETWORKS[settings.model]
    if options is None and kind in NETWORKS.values():
        options = settings.model_dump(mode="json", include={"hidden", "activation", "covariance"})
    # What is wrong with a variable is said of the variable, not of an axis.
    scalers, linear = fit_scalers(training)
    if (axes := _axes(training, kind, options or {})) is not None:
        training, validation = (d.along(axes) for d in (training, validation))
        # The noise keeps the variables' order, the observables first: a noise of theirs that does
        # not depend on z is then rows of M that do not.
        diffusion_scale = axes.inverse @ scalers.diffusion_scale
        scalers, linear = fit_scalers(training)
        scalers = replace(scalers, diffusion_scale=diffusion_scale)
    ensemble = Ensemble(
        kind,
        variables=data_train.variables,
        conditions=data_train.conditions.shape[1],
        members=settings.members,
        options=options,
        scalers=scalers,
        linear_drift=linear,
        seed=seed,
        constraint=constraint,
        axes=axes,
    )
    ensemble.domain = Domain.of(data_train, data_val)
    ensemble.to(device)
    problem = PartialLikelihood(ensemble, training, validation, settings)
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    with torch.no_grad():
        for name, value in ensemble.parameters_by_name().items():
            value.copy_(best[name])
    ensemble.requires_grad_(False).cpu().eval()
    both = join([training, validation]).to("cpu")
    if settings.output_ridge is not None:
        stronger = PLAIN if training.compensated is None else 1.0
        solve_output_layer(ensemble, both, stronger * settings.output_ridge)
        found = solve_noise_layer(ensemble, training.to("cpu"), validation.to("cpu"))
        _log.info("the noise's output layer: %s", found)
    if not ensemble.template.continues:
        step = float(both.elapsed.mean())
        ensemble.continue_outside(both.z, both.conditions, scalers, step=step)
    return ensemble, history


def _axes(data: TransitionData, kind: str, options: dict[str, Any]) -> Coordinates | None:
    """Principal axes of the data, if the latent model is one along them."""
    model = latent_model(kind)(data.variables, data.conditions.shape[1], **options)
    return principal_axes(data.z) if model.along_axes else None
