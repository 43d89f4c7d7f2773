"""The stages that must run before the alloy can be used: barriers, and a model of them."""

from __future__ import annotations

from macrodyn.pipeline.kind import Scatter, StageKind

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
