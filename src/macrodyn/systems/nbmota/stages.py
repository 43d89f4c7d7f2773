"""The stages that must run before the alloy can be used: barriers, and a model of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from macrodyn.pipeline.kind import Scatter, StageKind
from macrodyn.systems.nbmota.parameters import TRAINED, NbMoTaParameters

_ROOM = "macrodyn.systems.nbmota.prepare"

BARRIER_DATA = StageKind(
    name="barrier_data",
    work=f"{_ROOM}:barrier_data",
    doing="Computing barriers of jumps",
    scatter=Scatter(dimension="configuration", order="number"),
    memory=2000,
    minutes=240,
)
BARRIER_MODEL = StageKind(
    name="barrier_model",
    work=f"{_ROOM}:barrier_model",
    doing="Training the model of barriers",
    outputs={
        "model": "model.safetensors",
        "description": "model.json",
        "training": "training.json",
    },
    carries_cost="training",
    memory=2000,
    minutes=30,
    environment="learn",
)
# Of cells whose barriers are computed, and of the model's training: barriers are the same in all
# studies.
_SEED = 2511


def prepare(parameters: NbMoTaParameters, planner: Any) -> Mapping[str, Any]:
    """Return the stages that compute barriers and train a model of them; see `System.prepare`."""
    if parameters.barriers != TRAINED:
        return {}
    names = ("configurations", "cells", "swaps", "potential")
    config = {name: getattr(parameters, name) for name in names}
    most = parameters.configurations
    data = planner.stage(BARRIER_DATA, {**config, "seed": _SEED}, most=most)
    source = parameters.potential.strip() or "EAM (Zhou and Johnson)"
    fit = {"source": source, "steps": parameters.training_steps, "seed": _SEED}
    return {"barriers": planner.stage(BARRIER_MODEL, fit, {"barriers": data})}
