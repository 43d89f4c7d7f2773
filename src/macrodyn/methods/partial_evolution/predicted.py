"""Predictions of a size that is not simulated: what is told of them without a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.evaluation.agreement import members_agreement, schemes_agreement
from macrodyn.evaluation.available import Findings
from macrodyn.methods.partial_evolution.compare import Comparison, range_shares
from macrodyn.methods.partial_evolution.compare_members import member_merits
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.sample import horizon_times
from macrodyn.storage.netcdf import read_dataset


def judge_predictions(
    predictions: Mapping[str, Path],
    observables: Sequence[str],
    horizon: HorizonConfig,
    fraction: float,
    findings: Findings,
    outliers: Mapping[str, Sequence[int]],
) -> tuple[Comparison, dict[str, Any]]:
    """Compare the predictions of all schemes on one horizon with each other.

    Args:
        predictions: Prediction file of each scheme, that of ``ours`` among them.
        observables: Names of the observables, the first variables of the predictions.
        horizon: The horizon.
        fraction: Late part of its times.
        findings: Of this horizon; notes which figures of merit cannot be had, and why.
        outliers: Members of each scheme whose drift leaves the others.

    Returns:
        The arrays, without a reference, for figures; and by scheme ``agreement`` of its members,
        ``difference`` from ours, ``late`` values, ``range`` and ``members``.
    """
    files = {scheme: read_dataset(path) for scheme, path in predictions.items()}
    arrays: dict[str, NDArray[np.float64]] = {}
    for scheme, data in files.items():
        z = data["z"].transpose("member", "initial", "replica", "time", "variable")
        arrays[scheme] = np.asarray(z.values[..., : len(observables)], np.float64)
    metrics: dict[str, Any] = {}
    for scheme, values in arrays.items():
        here = findings.below(scheme)
        found: dict[str, Any] = {"range": range_shares(files[scheme], predictions[scheme])}
        members = member_merits(values, {}, outliers.get(scheme, ()), fraction)
        found["members"] = {key: members[key] for key in ("late", "outliers", "kept")}
        found["late"] = _late(values, observables, fraction)
        agreement = here.attempt("agreement", partial(members_agreement, values))
        found["agreement"] = None if agreement is None else agreement.summary()
        if scheme != "ours":
            difference = here.attempt(
                "difference", partial(schemes_agreement, arrays["ours"], values)
            )
            found["difference"] = None if difference is None else asdict(difference)
        metrics[scheme] = found
    ours = files["ours"]
    initial = ours["initial_values"].transpose("initial", "component").values
    comparison = Comparison(
        time=np.array(horizon_times(horizon)),
        initial=np.asarray(initial, np.float64),
        components=tuple(str(name) for name in ours["component"].values),
        reference=None,
        predictions=arrays,
        equilibria={},
    )
    return comparison, metrics


def _late(
    values: NDArray[np.float64], names: Sequence[str], fraction: float
) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of late values, over all trajectories of finite members."""
    finite = np.isfinite(values).all(axis=(1, 2, 3, 4))
    points = max(1, round(fraction * values.shape[3]))
    late = values[finite][..., -points:, :].reshape(-1, values.shape[-1])
    if not len(late):
        late = np.full((1, values.shape[-1]), np.inf)
    with np.errstate(invalid="ignore"):
        spread = late.std(axis=0)
    return {
        name: {"mean": float(late[:, k].mean()), "std": float(spread[k])}
        for k, name in enumerate(names)
    }
