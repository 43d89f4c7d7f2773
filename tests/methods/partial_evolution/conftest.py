"""Jobs of the small run, and its sampling stages without Snakemake."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.pipeline.gathering import gather
from macrodyn.pipeline.job import Job, do
from macrodyn.pipeline.planner import RunPlan
from macrodyn.pipeline.stage import Stage
from macrodyn.sampling import upsample as upsample_module
from macrodyn.storage.netcdf import read_dataset
from macrodyn.streams import stream_key
from macrodyn.systems.ising import Ising


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch use one thread; numba keeps its own."""
    # As numba starts its threads it sets those of torch as well, which at this size only wait for
    # each other: twenty times as long.
    numba.get_num_threads()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """Make the job of a stage as its rule would: a shard of it, or all that is no shard.

    Args:
        stage: The stage.
        folder: Where its outputs go.
        inputs: Files of what it reads: by role, then by name; a path is that of ``data``.
        options: Further attributes of the job.
    """

    def make(
        stage: Stage, folder: Path, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> Job:
        if stage.kind.scatter and "shards" in options:
            outputs = {"data": folder / f"shard-{options['shard']}-of-{options['shards']}.nc"}
        else:
            outputs = {name: folder / file for name, file in stage.kind.outputs.items()}
        read = {
            role: files if isinstance(files, dict) else {"data": files}
            for role, files in (inputs or {}).items()
        }
        options = {"key": stage.key, "subject": stage.subject, **options}
        return Job(stage=stage.name, config=stage.config, inputs=read, outputs=outputs, **options)

    return make


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Who was given random streams, in order: the method of the Ising system and its arguments.

    The generators of upsampling stand among them, with the keys of their streams as ``seeds``.
    """
    made: list[tuple[str, dict[str, Any]]] = []

    def recorded(name: str) -> Callable[..., Any]:
        method = getattr(Ising, name)
        signature = inspect.signature(method)

        def call(*args: Any, **kwargs: Any) -> Any:
            made.append((name, signature.bind(*args, **kwargs).arguments))
            return method(*args, **kwargs)

        return call

    for name in ("initial_states", "evolve", "evolve_patch"):
        monkeypatch.setattr(Ising, name, recorded(name))
    generator = upsample_module.generator

    def recorded_generator(seed: int, *path: int | str) -> np.random.Generator:
        made.append(("generator", {"seeds": [stream_key(seed, *path)]}))
        return generator(seed, *path)

    monkeypatch.setattr(upsample_module, "generator", recorded_generator)
    return made


@pytest.fixture(scope="session")
def make_stage(make_job: Callable[..., Job]) -> Callable[..., dict[str, Path]]:
    """Make a stage's files as its jobs would, in so many shards, of the files that it reads."""

    def make(
        stage: Stage, folder: Path, inputs: Mapping[str, Any] | None = None, shards: int = 1
    ) -> dict[str, Path]:
        here, params = folder / stage.folder, {"work": stage.kind.work}
        if stage.kind.scatter:
            parts = []
            for shard in range(shards):
                job = make_job(stage, here, inputs, shard=shard, shards=shards, params=params)
                do(job)
                parts.append(job.outputs["data"])
            # Shards arrive in any order.
            inputs = {"shards": dict(enumerate(parts[::-1]))}
            params = {"work": f"{gather.__module__}:gather", "scatter": vars(stage.kind.scatter)}
        job = make_job(stage, here, inputs, params=params)
        do(job)
        return job.outputs

    return make


@pytest.fixture
def sample(
    make_stage: Callable[..., dict[str, Path]], tmp_path: Path
) -> Callable[..., dict[str, xr.Dataset]]:
    """Run the sampling stages of a plan in so many shards; return what was gathered."""

    def run(plan: RunPlan, shards: int) -> dict[str, xr.Dataset]:
        folder = tmp_path / f"in-{shards}"

        def made(role: str, **inputs: Path) -> Path:
            return make_stage(plan[role], folder, inputs, shards)["data"]

        small = made("small")
        large = made("snapshots", small=small)
        files = {"simulate": small, "upsample": large, "reference": made("reference")}
        for scheme in plan.below("pairs"):
            source = small if scheme == "naive" else large
            files[f"evolve:{scheme}"] = made(f"pairs/{scheme}", states=source)
        return {name: read_dataset(path) for name, path in files.items()}

    return run


def _error(mean: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.1, "ensemble": mean, "members": [mean, mean]}


@pytest.fixture
def metrics() -> dict[str, Any]:
    """Metrics of one run with one horizon, as the evaluation writes them."""
    sampling = {"mean": 1e-4, "mean_q05": 5e-5, "mean_q95": 2e-4}
    factor = {
        "theory": 6.0,
        "estimated": 5.0,
        "standard_error": 0.5,
        "correlation": [0.02, -0.01, 9.0],
        "curve": [[1.0], [1.1]],
        "curve_patches": [1, 2],
        "used": 6.0,
    }
    stage = {"site_updates": 100.0, "core_seconds": 2.0}
    ours = {"test_error": _error(0.01), "spread_error": _error(0.02)}
    ours["equilibrium"] = {"magnetisation": {}, "domain_wall_density": {}}
    ours["mmd"] = {
        "mean": 0.02,
        "members": [0.02, 0.04],
        "null_mean": 0.0,
        "null_q95": 0.005,
        "bandwidth_factors": [0.5, 1.0, 2.0],
    }
    return {
        "run": "base",
        "method": "partial-evolution",
        "horizons": {"short": {"ours": ours, "sampling_error": sampling}},
        "covariance_factor": {"ours": factor},
        "samples": {"observables": 2, "snapshots": 36, "patches_evolved": 2, "patches_total": 12},
        "costs": {"ours": {"simulate": stage, "evolve": stage}, "direct": {"reference": stage}},
        "config": {
            "sizes": {"small": [20, 12], "large": [60, 48], "patch": None},
            "published": {},
            "dynamics": {"covariance_factor": "theory", "members": 2},
            "evolve": {"patches": 2, "dt": 0.1},
            "baselines": ["naive"],
        },
    }
