"""A little study of partial forces on the bench: every stage's work, without Snakemake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from macrodyn.config.load import load_study, merge
from macrodyn.pipeline.gathering import gather
from macrodyn.pipeline.job import save_stage
from macrodyn.pipeline.planner import RunPlan, plan_study
from macrodyn.pipeline.stage import Stage
from macrodyn.storage.models import load_model
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json
from macrodyn.systems.predator_prey_pde import PredatorPreyPDE
from macrodyn.targets import load_target

from ...wiring.bench import job_of


class Described(PredatorPreyPDE):
    """The predator-prey field, with sums over its sites as descriptors."""

    descriptor_names = ("prey", "predator", "both")

    def descriptors(self, complement):
        """Sum squares, and products."""
        prey, predator = np.moveaxis(complement, 2, 0)
        return np.stack([prey**2, predator**2, prey * predator], axis=1).sum(2)

    def descriptor_rows(self, complement):
        """Differentiate the sums."""
        prey, predator = np.moveaxis(complement, 2, 0)
        none = np.zeros_like(prey)
        rows = ((2 * prey, none), (none, 2 * predator), (predator, prey))
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)


# Numbers that a row changes stand here, so that no row depends on a default.
BASE: dict[str, Any] = {
    "study": "f0",
    "title": "",
    "method": "partial-forces",
    "seed": 5,
    "system": {"name": "predator-prey-pde", "parameters": {"step": 0.02}},
    "size": [10],
    "simulate": {
        "runs": 8,
        "initial_range": {"mean": [0.45, 0.55], "amplitude": [0.05, 0.15]},
        "times": {"first": 0.0, "spacing": 0.2, "points": 6},
        "precision": "double",
        "while_above": {},
    },
    "forces": {
        "number": 4,
        "runs": "all",
        "configurations": 30,
        "draw": "random",
        "displaced": 0.0,
        "displacement": 0.01,
    },
    "closure": {
        "encoder": "modes",
        "dimension": 2,
        "snapshots": 4096,
        "channels": [6],
        "hidden": 6,
        "condition_penalty": 1e-3,
        "weight_decay": 1e-4,
        "steps": 20,
        "batch": 8,
        "learning_rate": 1e-3,
        "patience": 10,
        "validation_every": 5,
        "validation_fraction": 0.2,
    },
    "dynamics": {
        "model": "mlp",
        "loss": "microscopic",
        "known": True,
        "members": 2,
        "hidden": [6],
        "activation": "silu",
        "steps": 20,
        "batch": 8,
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "output_layer": True,
        "patience": 20,
        "validation_every": 5,
        "validation_fraction": 0.2,
    },
    "evaluate": {
        "runs": 3,
        "initial_range": None,
        "times": None,
        "step": None,
        "unresolved": 6,
    },
    "baselines": ["interpolation", "nearest", "regression", "constant", "observables"],
    "published": {},
    "execution": {"shards": {}, "device": "cpu", "checkpoint_minutes": 5.0},
    "runs": {"base": {}},
}


class Bench:
    """Does the work of stages; what they read is made at need and kept, by the stages' keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Path] = {}

    def plan(self, changes: Mapping[str, Any] | None = None) -> RunPlan:
        """The plan of the changed study's one run."""
        study = load_study(merge(BASE, dict(changes or {})), check_systems=False)
        return plan_study(study)["base"]

    def made(self, role: str, changes: Mapping[str, Any] | None = None) -> Any:
        """The data set, the tensors of the model, or the metrics of a role."""
        plan = self.plan(changes)
        return self.read(plan.evaluation if role == "evaluation" else plan[role])

    def read(self, stage: Stage) -> Any:
        """Read what a stage made, made if it is not there."""
        folder = self.path(stage)
        outputs = stage.kind.outputs
        if "metrics" in outputs:
            return read_sealed_json(folder / outputs["metrics"])
        if "model" in outputs:
            return load_model(folder / outputs["model"])[0]
        return read_dataset(folder / outputs["data"])

    def path(self, stage: Stage) -> Path:
        """Return the folder of a stage's results, made if they are not there."""
        if stage.key not in self._made:
            folder = self.folder / stage.key / stage.folder
            folder.mkdir(parents=True, exist_ok=True)
            self._work(stage, folder)
            self._made[stage.key] = folder
        return self._made[stage.key]

    def _work(self, stage: Stage, folder: Path) -> None:
        shards = stage.shards if stage.kind.scatter else 1
        job = job_of(stage, folder, self.path)
        work = load_target(stage.kind.work)
        if not stage.kind.scatter:
            data = work(job)
            if isinstance(data, xr.Dataset):
                save_stage(job, data)
            return
        parts = {}
        for shard in range(shards):
            parts[shard] = folder / f"shard{shard}of{shards}.nc"
            one = replace(job, shard=shard, shards=shards, outputs={"data": parts[shard]})
            save_stage(one, work(one))
        scatter = {"scatter": vars(stage.kind.scatter)}
        whole = replace(job, inputs={"shards": parts}, params=scatter)
        save_stage(job, gather(whole))


def digest(made: Any) -> str:
    """Digest of the numbers of a data set, of a model, or of metrics."""
    found = hashlib.sha256()
    if isinstance(made, xr.Dataset):
        arrays = {str(name): made[name].values for name in sorted(map(str, made.data_vars))}
    elif all(hasattr(value, "numpy") for value in made.values()):
        arrays = {name: made[name].numpy() for name in sorted(made)}
    else:
        kept = {k: v for k, v in made.items() if k not in _OWN}
        return hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest()
    for name, values in arrays.items():
        found.update(name.encode())
        found.update(np.ascontiguousarray(values).tobytes())
        found.update(repr(values.shape).encode())
    return found.hexdigest()


# What metrics say of themselves, which differs with any key.
_OWN = ("identity", "seal", "config", "costs", "order")
