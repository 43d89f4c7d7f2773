"""What the dynamics is learned from: the latent pairs of one size, or of several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.buffer_noise import BufferNoise, count_buffer
from macrodyn.dynamics.compensation import Compensation, compensate, compensate_by_rates
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.factor import (
    CovarianceFactor,
    covariance_factor,
    estimate_covariance_factor,
    within_factor,
)
from macrodyn.dynamics.latents import LatentArrays, expected_rates
from macrodyn.dynamics.scaling import covariance_ratio
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.union import join
from macrodyn.learning.holdout import hold_out
from macrodyn.pipeline.job import Job
from macrodyn.storage.netcdf import read_dataset


@dataclass(frozen=True, kw_only=True)
class SizeTransitions:
    """Transitions of one size.

    Attributes:
        source: The latents.
        sites: Sites n_i of its system.
        estimate: The covariance factor of its pairs, relative to a system of its own size.
        factor: The factor that was chosen, relative to the same.
        within: That of the scatter, relative to the same; None where the likelihood has none.
        compensation: What is known of the increments' noise; None if nothing is.
        buffer: What the noise does beyond the edge; None where it is not known.
        ratio: By variable, variances by increments over those by rates; None if the covariance is
            not taken from rates.
        data: The transitions, their factors relative to the size whose Sigma is learned.
    """

    source: xr.Dataset
    sites: int
    estimate: CovarianceFactor
    factor: float
    within: float | None
    compensation: Compensation | None
    buffer: BufferNoise | None
    ratio: dict[str, dict[str, float]] | None
    data: TransitionData

    def report(self) -> dict[str, Any]:
        """What is told of the factor and of the compensation."""
        found: dict[str, Any] = {"factor": self.estimate.as_dict(), "factor_used": self.factor}
        if self.compensation is not None:
            found["compensation"] = {
                "gain": self.compensation.gain.tolist(),
                "coefficients": self.compensation.coefficients.tolist(),
                "controls": [str(name) for name in self.source.control.values],
            }
        if self.buffer is not None:
            names = [str(name) for name in self.source.variable.values]
            variance = zip(names, self.buffer.variance, self.buffer.known, strict=True)
            found["buffer_noise"] = {name: float(v) for name, v, known in variance if known}
        if self.within is not None:
            found["within_used"] = self.within
        if self.ratio is not None:
            found["covariance_ratio"] = self.ratio
        return found


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """All that a model learns from.

    Attributes:
        parts: By size, the main one first.
        data: All of them together.
        sites: Sites n of the system whose Sigma is learned.
    """

    parts: tuple[SizeTransitions, ...]
    data: TransitionData
    sites: int

    @property
    def main(self) -> SizeTransitions:
        """Those of the main size."""
        return self.parts[0]

    def split(self, fraction: float, *, seed: int) -> tuple[TransitionData, TransitionData]:
        """Divide into training and validation data by groups, those of one size as of all.

        Of groups of several sizes those are held out that the main size alone would hold out: so
        what is held out is known to who has its latents.
        """
        if len(self.parts) == 1:
            return self.data.split(fraction, seed=seed)
        groups = self.main.data.group.cpu().numpy()
        _, rows = hold_out(groups, fraction, seed=seed)
        held = torch.isin(self.data.group, torch.as_tensor(np.unique(groups[rows])))
        return self.data.select(~held), self.data.select(held)

    def report(self) -> dict[str, Any]:
        """What is told of the main size, and where there are several of each as ``sizes``."""
        found = self.main.report()
        if len(self.parts) > 1 or self.main.sites != self.sites:
            found["sizes"] = [_size_report(part) for part in self.parts]
        return found


def _size_report(part: SizeTransitions) -> dict[str, Any]:
    lengths = part.source.sizes
    return {
        "sites": part.sites,
        "patches_total": int(part.source.attrs["patches_total"]),
        "patches_evolved": lengths["patch"],
        "snapshots": lengths["sample"],
        **part.report(),
    }


def read_transitions(job: Job, config: DynamicsSettings) -> Transitions:
    """Read the latents of all sizes, each with a factor and a compensation of its own.

    Args:
        job: The job; inputs ``latents``, of the main size, and ``latents/...``, of the others; its
            configuration holds ``seed``, and ``sites`` unless Sigma is that of the main size.
        config: How the dynamics is learned.

    Raises:
        ValueError: If the latents of the sizes have other variables, conditions or times.
    """
    roles = ["latents", *(f"latents/{name}" for name in job.roles("latents"))]
    sources = [read_dataset(job.input(role)) for role in roles]
    _check_alike(sources)
    sites = int(job.config.get("sites", sources[0].attrs["sites"]))
    parts = tuple(_of_size(job, source, sites, config) for source in sources)
    return Transitions(parts=parts, data=join([part.data for part in parts]), sites=sites)


def _of_size(job: Job, source: xr.Dataset, sites: int, config: DynamicsSettings) -> SizeTransitions:
    seed, own = job.config["seed"], int(source.attrs["sites"])
    arrays = LatentArrays.from_dataset(source)
    compensation = None if config.increments == "plain" else compensate(arrays, seed=seed)
    if config.increments == "rates":
        compensation = compensate_by_rates(arrays, expected_rates(source), compensation)
    buffer = None
    if compensation is not None:
        arrays = replace(arrays, increment=compensation.of_whole)
    if config.buffer_noise == "counted":
        buffer = count_buffer(arrays, None if compensation is None else compensation.increment)
    if buffer is not None:
        arrays = replace(arrays, increment=buffer.increment)
    estimate = estimate_covariance_factor(arrays, seed=seed)
    factor = covariance_factor(config.covariance_factor, estimate)
    # Sigma goes as 1/n: that of n_i sites is n / n_i times that of n.
    scale = sites / own
    here = "" if scale == 1.0 else f" of {own} sites"
    job.info(f"covariance factor{here} {factor:.4g}, {estimate.theory:.4g} by theory")
    within = None
    known = config.covariance_from == "rates"
    if config.likelihood == "patches" and arrays.averaged_patches > 1 and not known:
        within = within_factor(config.covariance_factor, estimate, arrays)
        job.info(f"factor within snapshots {within:.4g}, {arrays.patches_total} by theory")
    if compensation is not None:
        job.info(f"variance of the increments{here} reduced by {_listed(compensation.gain)}")
    if buffer is not None:
        job.info(
            f"variance with what the noise does beyond the edge, times {_listed(buffer.variance)}"
        )
    data = TransitionData.from_latents(
        source,
        factor=factor * scale,
        likelihood=config.likelihood,
        within=scale if known else None if within is None else within * scale,
        compensation=compensation,
        increment=arrays.increment,
        known=known,
    )
    ratio = _ratio(source, data) if known else None
    if ratio is not None:
        told = ", ".join(f"{r['ratio']:.4g} +- {r['standard_error']:.2g}" for r in ratio.values())
        job.info(f"variances{here} by increments over those by rates {told}")
    return SizeTransitions(
        source=source,
        sites=own,
        estimate=estimate,
        factor=factor,
        within=within,
        compensation=compensation,
        buffer=buffer,
        ratio=ratio,
        data=data,
    )


def _ratio(source: xr.Dataset, data: TransitionData) -> dict[str, dict[str, float]]:
    """See `covariance_ratio`, by the variables' names."""
    names = [str(name) for name in source.variable.values]
    return {
        name: {"ratio": float(ratio), "standard_error": float(error)}
        for name, ratio, error in zip(names, *covariance_ratio(data), strict=True)
    }


def _check_alike(sources: Sequence[xr.Dataset]) -> None:
    for name in ("variable", "condition"):
        if len({tuple(map(str, source[name].values)) for source in sources}) > 1:
            raise ValueError(f"The latents of the sizes differ in {name}: make them again")
    if len({float(source.attrs["dt"]) for source in sources}) > 1:
        raise ValueError("The latents of the sizes differ in dt: make them again")


def _listed(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
