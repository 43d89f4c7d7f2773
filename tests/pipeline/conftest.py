"""A small run, and its sampling stages without Snakemake."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.config.models import RunConfig
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.plan import RunPlan, Stage, plan_run
from macrodyn.pipeline.sample import evolve_shard, gather_stage, reference_shard, simulate_shard
from macrodyn.pipeline.upsample import upsample_shard
from macrodyn.sampling import upsample as upsample_module
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.storage.netcdf import read_dataset
from macrodyn.streams import stream_key
from macrodyn.systems.ising import Ising

# Every key whose edit a test looks at is given, so that an edit never meets a missing section.
BASE: dict[str, Any] = {
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "sizes": {"small": [10, 6], "large": [30, 24]},
    "simulate": {"groups": 7, "replicas": 4, "times": [0, 1, 3]},
    "upsample": {"snapshots": 2, "relaxation": {"duration": 1, "sweep": 0.5}},
    "evolve": {"dt": 0.25, "lags": [1, 2], "patches": 3},
    "closure": {"dimension": 1},
    "dynamics": {"members": 2},
    "evaluate": {
        "initial": [-0.5, 0.5],
        "replicas": 4,
        "predicted_replicas": 3,
        "horizons": {"transient": {"spacing": 0.5, "points": 4}},
    },
    "baselines": ["naive", "full"],
    "execution": {"shards": {}, "device": "cpu"},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; the test's own, so that it does not lean on what is tested."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


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
def make_run() -> Callable[..., RunConfig]:
    """Make the small run with changes."""
    return lambda changes=None: RunConfig.model_validate(merged(BASE, changes or {}))


@pytest.fixture(scope="session")
def make_plan(make_run: Callable[..., RunConfig]) -> Callable[..., RunPlan]:
    """Plan the small run with changes."""
    return lambda changes=None: plan_run("run", make_run(changes))


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """Make the job of a stage as its script would."""

    def make(
        stage: Stage,
        output: Path,
        shard: int = 0,
        shards: int = 1,
        checkpoints: Checkpoints | None = None,
        **inputs: Any,
    ) -> Job:
        return Job(
            config=stage.config,
            inputs=inputs,
            outputs={"data": output},
            wildcards={"shard": str(shard), "shards": str(shards)},
            params={},
            device="cpu",
            threads=1,
            log=None,
            started=time.monotonic(),
            checkpoints=checkpoints,
        )

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


@pytest.fixture
def sample(make_job: Callable[..., Job], tmp_path: Path) -> Callable[..., dict[str, xr.Dataset]]:
    """Run the sampling stages of a plan in so many shards; return what was gathered."""

    def scatter(stage: Stage, shards: int, folder: Path, source: Path | None = None) -> Path:
        paths = []
        for shard in range(shards):
            path = folder / stage.folder / f"shard-{shard}.nc"
            job = make_job(stage, path, shard, shards)
            if stage.name == "simulate":
                data = simulate_shard(job, shard, shards)
            elif stage.name == "reference":
                data = reference_shard(job, shard, shards)
            else:
                assert source is not None
                make = upsample_shard if stage.name == "upsample" else evolve_shard
                data = make(job, source, shard, shards)
            save_stage(job, stage.name, data)
            paths.append(path)
        gathered = folder / stage.folder / "data.nc"
        job = make_job(stage, gathered)
        # Shards arrive in any order.
        save_stage(job, stage.name, gather_stage(stage.name, paths[::-1], stage.config))
        return gathered

    def run(plan: RunPlan, shards: int) -> dict[str, xr.Dataset]:
        folder = tmp_path / f"in-{shards}"
        small = scatter(plan.data.parents["small"], shards, folder)
        large = scatter(plan.data, shards, folder, small)
        files = {
            "simulate": small,
            "upsample": large,
            "reference": scatter(plan.reference, shards, folder),
        }
        for method, latents in plan.latents.items():
            source = small if method == "naive" else large
            files[f"evolve:{method}"] = scatter(latents.parents["pairs"], shards, folder, source)
        return {name: read_dataset(path) for name, path in files.items()}

    return run
