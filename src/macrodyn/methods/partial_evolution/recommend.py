"""The dt and the buffer of the pairs, chosen from a pilot of pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.dynamics.compensation import control_variates, mean_increment
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.evaluation.step_choice import StepError, StepPairs, best
from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.methods.partial_evolution.config import EvolveConfig
from macrodyn.methods.partial_evolution.sample import evolve_samples
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.streams import generator, seeds
from macrodyn.systems import PatchSystem

# Snapshots and patches of a pilot: the errors that it estimates need no more.
PILOT_SNAPSHOTS = 3072
PILOT_PATCHES = 8
# Buffers that are tried, in ranges of the interaction.
_RANGES = (0, 1, 2, 3, 4)


def recommend(job: Job) -> None:
    """Estimate the errors of the drift for several dt and buffers, and choose the least.

    Args:
        job: The job; input ``states``, the large snapshots; output ``choice``; its configuration
            holds ``patch``, ``evolve``, the ``steps`` to try and the snapshots ``planned``.
    """
    config = job.config
    system = stage_system(job, job.device)
    samples = _pilot(read_dataset(job.input("states")), config["seed"])
    settings = EvolveConfig(**config["evolve"])
    steps = config["steps"]
    lattices = [samples.states.shape[2:], *map(tuple, config.get("beside", []))]
    buffers = min((candidate_buffers(system, config, settings, s) for s in lattices), key=len)
    observed = system.observe(samples.states.values)
    inputs = np.concatenate([observed, samples.condition_values.values], axis=1)
    planned = config["planned"] * settings.patches / _patches(settings)
    pairs = StepPairs(inputs, samples.time.values, samples.group.values, planned=planned)
    rates = {}
    for buffer in buffers:
        rates[buffer] = _rates(job, system, samples, observed, settings, steps, buffer)
    widest = max(buffers)
    errors = [
        pairs.errors(
            rates[buffer][k],
            None if buffer == widest else rates[widest][k],
            dt=step,
            buffer=buffer,
        )
        for buffer in buffers
        for k, step in enumerate(steps)
    ]
    found = best(errors)
    job.info(
        f"dt {found.dt:g}, buffer {found.buffer}: estimated error of the drift {found.total:.2%} "
        f"of its spread (noise {found.noise:.2%}, memory {found.memory:.2%})"
    )
    write_sealed_json(job.outputs["choice"], _told(found, errors, config))


def _told(found: StepError, errors: list[StepError], config: dict[str, Any]) -> dict[str, Any]:
    return {
        "chosen": found.as_dict(),
        "table": [error.as_dict() for error in errors],
        "provenance": provenance("recommend", config),
    }


def candidate_buffers(
    system: PatchSystem, config: dict[str, Any], settings: EvolveConfig, lattice: tuple[int, ...]
) -> tuple[int, ...]:
    """Buffers that are tried: those that fit, up to four ranges of the interaction.

    Where every site sees all others, or the patch is periodic or the whole, there is no buffer.
    """
    if settings.buffer != "auto":
        return (settings.buffer,)
    patch = tuple(config["patch"])
    if system.long_range or settings.boundary == "periodic" or Tiling(lattice, patch).number == 1:
        return (0,)
    fitting = []
    for ranges in _RANGES:
        buffer = max(ranges * max(system.halo, 1), system.least_buffer)
        try:
            PatchGeometry(patch, system.halo, buffer).check(lattice, system.periodic)
        except ValueError:
            break
        fitting.append(buffer)
    return tuple(dict.fromkeys(fitting))


def _patches(settings: EvolveConfig) -> int:
    return min(settings.patches, PILOT_PATCHES)


def _pilot(samples: xr.Dataset, seed: int) -> xr.Dataset:
    """Draw snapshots of all groups and ages."""
    count = samples.sizes["sample"]
    if count <= PILOT_SNAPSHOTS:
        return samples
    drawn = generator(seed, "pilot").choice(count, PILOT_SNAPSHOTS, replace=False)
    return samples.isel(sample=np.sort(drawn))


def _rates(
    job: Job,
    system: PatchSystem,
    samples: xr.Dataset,
    observed: NDArray[np.float64],
    settings: EvolveConfig,
    steps: list[float],
    buffer: int,
) -> list[NDArray[np.float64]]:
    """Mean increments over the patches, per unit time, of each dt: [N, observable] each."""
    # All are multiples of a part of the longest.
    unit = steps[-1] / math.lcm(*(round(steps[-1] / step) for step in steps))
    lags = [round(step / unit) for step in steps]
    trial = settings.model_copy(
        update={
            "dt": unit,
            "lags": lags,
            "buffer": buffer,
            "patches": _patches(settings),
        }
    )
    config = {"scope": "partial", "patch": job.config["patch"]}
    keys = seeds(job.config["seed"], "recommend", buffer, index=samples.number.values)
    data = (samples.states.values, samples.number.values, np.array(buffer))
    work = job.work(f"recommend, buffer {buffer}", *data)
    pairs = evolve_samples(system, samples, config, trial, keys, work)
    known = pairs.compensators.shape[-1] > 0
    martingales = pairs.increments - pairs.compensators if known else None
    excess = pairs.rate_excess if pairs.rate_excess.shape[-1] else None
    controls = control_variates(pairs.elapsed, martingales, excess)
    rates = []
    for k in range(len(lags)):
        arrays = LatentArrays(
            z=observed,
            increment=pairs.increments[:, :, k],
            elapsed=pairs.elapsed[:, :, k],
            controls=controls[:, :, k],
            conditions=samples.condition_values.values,
            group=samples.group.values,
            patches_total=1,
            n_observables=observed.shape[1],
        )
        mean = mean_increment(arrays, seed=job.config["seed"])
        rates.append(mean / pairs.elapsed[:, :1, k])
    return rates
