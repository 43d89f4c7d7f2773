"""A method and a system from outside of the package: all that is said of them stands here.

The method learns at which rate the mean of independent decaying particles falls, from paths of a
few of them. The system draws waiting times from a table, which a stage of its own makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from pydantic import Field

from macrodyn.config.models import RunConfig
from macrodyn.config.section import PositiveFloat, PositiveInt, Section
from macrodyn.evaluation import style
from macrodyn.methods.base import Analysis, Graph, Method, Problem, Proposal
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.kind import Figure, Scatter, StageKind
from macrodyn.pipeline.metrics import read_metrics, write_metrics
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.streams import generator
from macrodyn.systems import Component, Grid, Observable, Parameters, System

TABLE = StageKind(
    name="tabulate",
    work="own_house:tabulate",
    doing="Tabulating waiting times",
    scatter=Scatter(dimension="quantile", order="number"),
    memory=1000,
    minutes=5,
)
PATHS = StageKind(
    name="sample_paths",
    work="own_house:sample_paths",
    doing="Sampling paths",
    scatter=Scatter(dimension="path", order="number"),
    counts_updates=True,
    memory=1000,
    minutes=5,
)
FIT = StageKind(
    name="fit_rate",
    work="own_house:fit_rate",
    doing="Fitting the rate",
    outputs={"fit": "fit.json"},
    memory=1000,
    minutes=5,
)
JUDGE = StageKind(
    name="judge_rate",
    work="own_house:judge_rate",
    doing="Judging the rate",
    outputs={"metrics": "metrics.json", "figures": "figures"},
    carries_cost="",
    memory=1000,
    minutes=5,
    environment="report",
    place="run",
    figures=(Figure(pattern="decay.png", title="Decay"),),
)
RATES = StageKind(
    name="compare_rates",
    work="own_house:compare_rates",
    doing="Comparing rates",
    outputs={"findings": "findings.json", "figures": "figures"},
    carries_cost="",
    environment="report",
    place="analysis",
    figures=(Figure(pattern="rates.png", title="Rates"),),
)


class DecayParameters(Parameters):
    """Parameters of particles that decay."""

    rate: float = Field(default=1.0, gt=0, description="Decays of a particle per unit of time.")
    quantiles: int = Field(default=500, gt=1, description="Entries of the table.")


class Decay(System):
    """Independent particles, each of which decays once."""

    Parameters = DecayParameters
    parameters: DecayParameters
    space = Grid(kind="species", dimension=1, species=2)
    observables = (Observable("alive", (0.0, 1.0)),)
    macrostate = (Component("alive", 0.0, 1.0),)

    @classmethod
    def prepare(cls, parameters: DecayParameters, planner: Any) -> Mapping[str, Any]:
        """Return the stage that tabulates the waiting times."""
        config = {"rate": parameters.rate, "quantiles": parameters.quantiles}
        return {"table": planner.stage(TABLE, config, most=parameters.quantiles)}

    def initial_states(self, macrostate, shape, seeds):
        """Draw which particles are alive."""
        draws = np.stack([np.random.default_rng(int(s)).random(shape) for s in seeds])
        return (draws < macrostate)[:, None].astype(np.uint8)

    def observe(self, states):
        """Measure the share that is alive."""
        return states.mean(axis=(1, 2))[:, None]

    def waiting_times(self, draws: np.ndarray) -> np.ndarray:
        """Turn uniform draws into waiting times, by the table."""
        table = read_dataset(self.prepared["table"]["data"])
        return np.interp(draws, table["u"].values, table["wait"].values)


class PathsConfig(Section):
    """Paths to learn from."""

    number: PositiveInt = 40
    particles: PositiveInt = 50
    until: PositiveFloat = 1.0


class MeanDecayRun(RunConfig):
    """A run of the method."""

    paths: PathsConfig = PathsConfig()


class MeanDecay(Method):
    """Learn the rate at which a mean decays."""

    Run = MeanDecayRun
    kinds: ClassVar = (PATHS, FIT)
    evaluation = JUDGE
    analyses: ClassVar = (
        Analysis(stage=RATES, propose=lambda runs: {"rates": Proposal(runs=list(runs))}),
    )

    def check_alone(self, run: MeanDecayRun) -> Iterator[Problem]:
        """Refuse paths that say nothing."""
        if run.paths.particles < 2:
            yield "paths.particles", "one particle has no mean: give two or more"

    def plan(self, run: MeanDecayRun, planner: Any) -> Graph:
        """Sample, then fit."""
        config = {"system": planner.system, "seed": run.seed, **run.paths.model_dump(mode="json")}
        paths = planner.stage(PATHS, config, most=run.paths.number)
        fit = planner.stage(FIT, {"until": run.paths.until}, {"paths": paths})
        return Graph(roles={"paths": paths, "fit": fit}, costs={"ours": ("fit",)})


def tabulate(job: Job) -> xr.Dataset:
    """Tabulate quantiles of the waiting time."""
    numbers = np.arange(job.config["quantiles"])[job.shard :: job.shards]
    u = (numbers + 0.5) / job.config["quantiles"]
    wait = -np.log1p(-u) / job.config["rate"]
    about = {"units": "1"}
    return xr.Dataset(
        {
            "u": ("quantile", u, {"long_name": "probability", **about}),
            "wait": ("quantile", wait, {"long_name": "waiting time", **about}),
            "number": ("quantile", numbers, {"long_name": "number of the quantile", **about}),
        }
    )


def sample_paths(job: Job) -> xr.Dataset:
    """Sample at which share particles have decayed."""
    config = job.config
    system = stage_system(job)
    numbers = np.arange(config["number"])[job.shard :: job.shards]
    draws = [
        generator(config["seed"], "paths", int(n)).random(config["particles"]) for n in numbers
    ]
    alive = (system.waiting_times(np.array(draws)) > config["until"]).mean(axis=1)
    about = {"units": "1"}
    return xr.Dataset(
        {
            "alive": ("path", alive, {"long_name": "share that is alive", **about}),
            "number": ("path", numbers, {"long_name": "number of the path", **about}),
        },
    ).assign_attrs(site_updates=float(len(numbers) * config["particles"]))


def fit_rate(job: Job) -> None:
    """Fit the rate to the mean."""
    alive = read_dataset(job.input("paths"))["alive"].values
    rate = -np.log(alive.mean()) / job.config["until"]
    cost = {"core_seconds": job.core_seconds}
    write_sealed_json(job.outputs["fit"], {"rate": float(rate), "cost": cost})


def judge_rate(job: Job) -> None:
    """Compare the rate with the exact one, and draw the decay."""
    rate = read_sealed_json(job.input("fit"))["rate"]
    exact = job.config["run"]["system"]["parameters"]["rate"]
    drawing = Drawing()
    axes = drawing.subplots()
    times = np.linspace(0, 3, 50)
    axes.plot(times, np.exp(-rate * times), times, np.exp(-exact * times))
    style.save(drawing, job.outputs["figures"] / "decay.png")
    write_metrics(job, {"rate": rate, "error": abs(rate / exact - 1)})


def compare_rates(job: Job) -> None:
    """Draw the rates of all runs."""
    rates = {run: read_metrics(job.input(run))["rate"] for run in job.config["runs"]}
    drawing = Drawing()
    drawing.subplots().bar(list(rates), list(rates.values()))
    style.save(drawing, job.outputs["figures"] / "rates.png")
    write_sealed_json(job.outputs["findings"], {"rates": rates})
