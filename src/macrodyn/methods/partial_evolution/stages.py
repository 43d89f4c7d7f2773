"""The kinds of stages of partial evolution."""

from __future__ import annotations

from macrodyn.pipeline.kind import Figure, Scatter, StageKind, analysis_kind
from macrodyn.pipeline.study_kinds import PREPARATION

_ROOM = "macrodyn.methods.partial_evolution"
_MODEL = {
    "model": "model.safetensors",
    "description": "model.json",
    "training": "training.json",
}
# Raised when the estimated covariance factor changes, on which only those runs depend that ask for
# it: old results of these are then not used again.
ESTIMATOR_VERSION = 3

SIMULATE = StageKind(
    name="simulate",
    work=f"{_ROOM}.sample:simulate",
    doing="Simulating small systems",
    scatter=Scatter(dimension="group", order="group"),
    counts_updates=True,
    memory=4000,
    version=2,
)
UPSAMPLE = StageKind(
    name="upsample",
    work=f"{_ROOM}.upsample:upsample",
    doing="Upsampling and relaxing",
    scatter=Scatter(dimension="sample", order="number"),
    counts_updates=True,
    minutes=120,
    devices="system",
    version=2,
)
RECOMMEND = StageKind(
    name="recommend",
    work=f"{_ROOM}.recommend:recommend",
    doing="Choosing dt and buffer",
    outputs={"choice": "choice.json"},
    carries_cost="",
    devices="system",
    version=2,
)
EVOLVE = StageKind(
    name="evolve",
    work=f"{_ROOM}.sample:evolve",
    doing="Evolving pairs",
    scatter=Scatter(dimension="sample", order="number"),
    counts_updates=True,
    devices="system",
    version=3,
)
REFERENCE = StageKind(
    name="reference",
    work=f"{_ROOM}.sample:reference",
    doing="Simulating the large system directly",
    scatter=Scatter(
        dimension="trajectory", order="number", finish=f"{_ROOM}.sample:order_reference"
    ),
    counts_updates=True,
    memory=4000,
    minutes=240,
    version=3,
)
EQUILIBRIUM = StageKind(
    name="equilibrium",
    work=f"{_ROOM}.sample:equilibrium",
    doing="Sampling the equilibrium",
    scatter=Scatter(dimension="chain", order="number", finish=f"{_ROOM}.sample:order_equilibrium"),
    counts_updates=True,
    minutes=120,
)
CLOSURE = StageKind(
    name="closure",
    work=f"{_ROOM}.learn:closure",
    doing="Training the closure",
    outputs=_MODEL,
    carries_cost="training",
    minutes=120,
    environment="learn",
    devices="any",
    version=3,
)
ENCODE = StageKind(
    name="encode",
    work=f"{_ROOM}.encoding:encode",
    doing="Encoding pairs of states",
    environment="learn",
    version=5,
)
DYNAMICS = StageKind(
    name="dynamics",
    work=f"{_ROOM}.learn:dynamics",
    doing="Training drift and diffusion",
    outputs=_MODEL,
    carries_cost="training",
    memory=4000,
    minutes=120,
    environment="learn",
    devices="any",
    version=12,
)
PREDICT = StageKind(
    name="predict",
    work=f"{_ROOM}.predict:predict",
    doing="Predicting trajectories",
    environment="learn",
    devices="any",
    version=4,
)
EVALUATE = StageKind(
    name="evaluate",
    work=f"{_ROOM}.evaluate:evaluate",
    doing="Comparing with direct simulation",
    outputs={"metrics": "metrics.json", "figures": "figures"},
    carries_cost="",
    minutes=30,
    environment="report",
    version=7,
    place="run",
    figures=(
        Figure(
            pattern="trajectories.json",
            title="Trajectories to explore",
            caption="explorer.rst",
        ),
        Figure(pattern="trajectories/*/*.png", title="Trajectories", caption="trajectories.rst"),
        Figure(pattern="equilibrium/*.png", title="Equilibrium", caption="equilibrium.rst"),
        Figure(
            pattern="sampled-equilibrium.png",
            title="Sampled equilibrium",
            caption="sampled_equilibrium.rst",
        ),
        Figure(
            pattern="drift-diffusion.png",
            title="Drift and diffusion",
            caption="drift_diffusion.rst",
        ),
        Figure(
            pattern="residual-by-age.png",
            title="Residual by snapshot age",
            caption="residual_by_age.rst",
        ),
        Figure(
            pattern="closure-variables.png",
            title="Closure variables",
            caption="closure_variables.rst",
        ),
        Figure(
            pattern="closure-forecast.png",
            title="Closure by lag and dimension",
            caption="closure_forecast.rst",
        ),
        Figure(
            pattern="step-errors.png",
            title="Errors by dt and buffer",
            caption="step_errors.rst",
        ),
        Figure(pattern="markov.png", title="Markov diagnostic", caption="markov.rst"),
        Figure(pattern="snapshots.png", title="Snapshots", caption="snapshots.rst"),
        Figure(pattern="training.png", title="Training", caption="training.rst"),
        PREPARATION,
    ),
)
TRAINED_MODEL = StageKind(
    name="trained_model",
    work=f"{_ROOM}.trained:trained_model",
    doing="Writing the trained model",
    outputs={"model": "model"},
    carries_cost="",
    minutes=30,
    environment="learn",
    place="run",
)
KINDS = (
    SIMULATE,
    UPSAMPLE,
    RECOMMEND,
    EVOLVE,
    REFERENCE,
    EQUILIBRIUM,
    CLOSURE,
    ENCODE,
    DYNAMICS,
    PREDICT,
)


def _analysis(name: str, doing: str, figure: Figure) -> StageKind:
    return analysis_kind(name, f"{_ROOM}.analyses:{name}", doing, figure)


ERROR_AGAINST_SIZE = _analysis(
    "error_against_size",
    "Comparing errors by patch size",
    Figure(pattern="*.png", title="Error against patch size", caption="error_against_size.rst"),
)
ALL_RUNS = _analysis(
    "all_runs",
    "Comparing all runs",
    Figure(pattern="all-runs.png", title="All runs", caption="all_runs.rst"),
)
MMD_AGAINST_FACTOR = _analysis(
    "mmd_against_factor",
    "Comparing covariance factors",
    Figure(
        pattern="*.png",
        title="MMD against the covariance factor",
        caption="mmd_against_factor.rst",
    ),
)
COVARIANCE_FACTORS = _analysis(
    "covariance_factors",
    "Estimating covariance factors",
    Figure(
        pattern="covariance-factor.png",
        title="Covariance factor",
        caption="covariance_factors.rst",
    ),
)
COSTS = _analysis(
    "costs",
    "Adding up costs",
    Figure(pattern="costs.png", title="Costs", caption="costs.rst"),
)
FINITE_SIZE_SCALING = _analysis(
    "finite_size_scaling",
    "Fitting how order goes with the size",
    Figure(pattern="*.png", title="Finite-size scaling", caption="finite_size_scaling.rst"),
)
