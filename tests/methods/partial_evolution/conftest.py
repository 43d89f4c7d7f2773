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
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.kind import load_function
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


@pytest.fixture
def sample(make_job: Callable[..., Job], tmp_path: Path) -> Callable[..., dict[str, xr.Dataset]]:
    """Run the sampling stages of a plan in so many shards; return what was gathered."""

    def scatter(stage: Stage, shards: int, folder: Path, **inputs: Path) -> Path:
        paths = []
        for shard in range(shards):
            job = make_job(stage, folder / stage.folder, inputs, shard=shard, shards=shards)
            save_stage(job, load_function(stage.kind.work)(job))
            paths.append(job.outputs["data"])
        # Shards arrive in any order.
        read = {"shards": dict(enumerate(paths[::-1]))}
        params = {"scatter": vars(stage.kind.scatter)}
        job = make_job(stage, folder / stage.folder, read, params=params)
        save_stage(job, gather(job))
        return job.outputs["data"]

    def run(plan: RunPlan, shards: int) -> dict[str, xr.Dataset]:
        folder = tmp_path / f"in-{shards}"
        small = scatter(plan["small"], shards, folder)
        large = scatter(plan["snapshots"], shards, folder, small=small)
        files = {
            "simulate": small,
            "upsample": large,
            "reference": scatter(plan["reference"], shards, folder),
        }
        for scheme, pairs in plan.below("pairs").items():
            source = small if scheme == "naive" else large
            files[f"evolve:{scheme}"] = scatter(pairs, shards, folder, states=source)
        return {name: read_dataset(path) for name, path in files.items()}

    return run
