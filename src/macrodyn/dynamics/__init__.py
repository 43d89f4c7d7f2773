"""Drift and diffusion of macroscopic variables: model, likelihood, training, prediction."""

from macrodyn.dynamics.data import TransitionData, split_by_group
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.factor import (
    CovarianceFactor,
    covariance_factor,
    estimate_covariance_factor,
    within_factor,
)
from macrodyn.dynamics.integrate import simulate
from macrodyn.dynamics.latents import LatentArrays, latents_dataset
from macrodyn.dynamics.likelihood import partial_log_likelihood, scatter_log_likelihood
from macrodyn.dynamics.model import Architecture, EnsembleSDE, Scalers
from macrodyn.dynamics.scaling import fit_scalers
from macrodyn.dynamics.scatter import scatter_factor
from macrodyn.dynamics.train import History, TrainingSettings, train_ensemble

__all__ = [
    "Architecture",
    "CovarianceFactor",
    "Domain",
    "EnsembleSDE",
    "History",
    "LatentArrays",
    "Scalers",
    "TrainingSettings",
    "TransitionData",
    "covariance_factor",
    "estimate_covariance_factor",
    "fit_scalers",
    "latents_dataset",
    "partial_log_likelihood",
    "scatter_factor",
    "scatter_log_likelihood",
    "simulate",
    "split_by_group",
    "train_ensemble",
    "within_factor",
]
