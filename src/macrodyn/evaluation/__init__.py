"""Metrics, diagnostics and figures that compare predictions with direct simulation."""

from __future__ import annotations

from macrodyn.evaluation.available import Findings, Unavailable
from macrodyn.evaluation.bootstrap import SamplingError, sampling_error
from macrodyn.evaluation.equilibrium import EquilibriumComparison, equilibrium, late_values
from macrodyn.evaluation.markov import bin_average, bin_edges, bin_index, markov_diagnostic
from macrodyn.evaluation.metrics import (
    TrajectoryError,
    align,
    mean_error,
    replica_mean_error,
    replica_spread_error,
    spread_error,
    trajectory_errors,
)
from macrodyn.evaluation.mmd import Discrepancy, mmd_at_equilibrium, mmd_at_times
from macrodyn.evaluation.mmd_average import AverageDiscrepancy, mmd_over_times, spread_indices
from macrodyn.evaluation.mmd_estimate import mmd_squared, null_distribution, rbf_bandwidths
from macrodyn.evaluation.residual import AgeResidual, residual_by_age
from macrodyn.evaluation.tables import html_table, summary_text

__all__ = [
    "AgeResidual",
    "AverageDiscrepancy",
    "Discrepancy",
    "EquilibriumComparison",
    "Findings",
    "SamplingError",
    "TrajectoryError",
    "Unavailable",
    "align",
    "bin_average",
    "bin_edges",
    "bin_index",
    "equilibrium",
    "html_table",
    "late_values",
    "markov_diagnostic",
    "mean_error",
    "mmd_at_equilibrium",
    "mmd_at_times",
    "mmd_over_times",
    "mmd_squared",
    "null_distribution",
    "rbf_bandwidths",
    "replica_mean_error",
    "replica_spread_error",
    "residual_by_age",
    "sampling_error",
    "spread_error",
    "spread_indices",
    "summary_text",
    "trajectory_errors",
]
