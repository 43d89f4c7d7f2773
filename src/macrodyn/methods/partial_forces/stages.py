"""The kinds of stages of partial forces."""

from __future__ import annotations

from macrodyn.pipeline.kind import Figure, Scatter, StageKind, analysis_kind
from macrodyn.pipeline.study_kinds import PREPARATION

_ROOM = "macrodyn.methods.partial_forces"
_MODEL = {
    "model": "model.safetensors",
    "description": "model.json",
    "training": "training.json",
}

TRAJECTORIES = StageKind(
    name="trajectories",
    work=f"{_ROOM}.sample:trajectories",
    doing="Simulating trajectories",
    scatter=Scatter(dimension="run", order="number"),
    minutes=240,
    version=2,
)
FORCES = StageKind(
    name="partial_forces",
    work=f"{_ROOM}.sample:partial_forces",
    doing="Computing forces on some coordinates",
    scatter=Scatter(dimension="sample", order="number"),
    minutes=120,
)
ENCODER = StageKind(
    name="encoder",
    work=f"{_ROOM}.learn:encoder",
    doing="Finding closure variables",
    outputs=_MODEL,
    carries_cost="training",
    minutes=120,
    environment="learn",
    devices="any",
)
PRODUCTS = StageKind(
    name="products",
    work=f"{_ROOM}.learn:products",
    doing="Multiplying forces into the encoder's Jacobian",
    scatter=Scatter(dimension="sample", order="number"),
    environment="learn",
)
DRIFT = StageKind(
    name="drift",
    work=f"{_ROOM}.learn:drift",
    doing="Training the macroscopic drift",
    outputs=_MODEL,
    carries_cost="training",
    minutes=240,
    environment="learn",
    devices="any",
    version=3,
)
FORECAST = StageKind(
    name="forecast",
    work=f"{_ROOM}.forecast:forecast",
    doing="Predicting held-out trajectories",
    environment="learn",
    devices="any",
)
COMPARE = StageKind(
    name="compare",
    work=f"{_ROOM}.compare:compare",
    doing="Comparing with held-out trajectories",
    outputs={"metrics": "metrics.json", "figures": "figures"},
    carries_cost="",
    minutes=30,
    environment="report",
    place="run",
    figures=(
        Figure(
            pattern="trajectories.json",
            title="Trajectories to explore",
            caption="force_explorer.rst",
        ),
        Figure(pattern="held-out.png", title="Held-out trajectories", caption="held_out.rst"),
        Figure(pattern="phase-portrait.png", title="Phase portrait", caption="phase_portrait.rst"),
        Figure(pattern="errors.png", title="Errors", caption="force_errors.rst"),
        Figure(pattern="states.png", title="Snapshots", caption="states.rst"),
        Figure(pattern="encoder.png", title="Encoder", caption="encoder.rst"),
        Figure(pattern="training.png", title="Training", caption="training.rst"),
        PREPARATION,
    ),
)
TRAINED_MODEL = StageKind(
    name="trained_force_model",
    work=f"{_ROOM}.trained:trained_model",
    doing="Writing the trained model",
    outputs={"model": "model"},
    carries_cost="",
    minutes=30,
    environment="learn",
    place="run",
)
KINDS = (TRAJECTORIES, FORCES, ENCODER, PRODUCTS, DRIFT, FORECAST)


def _analysis(name: str, doing: str, figure: Figure) -> StageKind:
    return analysis_kind(name, f"{_ROOM}.analyses:{name}", doing, figure)


ERROR_AGAINST_FORCES = _analysis(
    "error_against_forces",
    "Comparing errors by forces",
    Figure(pattern="*.png", title="Error against forces", caption="error_against_forces.rst"),
)
STRUCTURES = _analysis(
    "structures",
    "Comparing structures and losses",
    Figure(pattern="*.png", title="Structures and losses", caption="structures.rst"),
)
