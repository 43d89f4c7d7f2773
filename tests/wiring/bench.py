"""A little study on the bench: every stage's work, without Snakemake, on files made once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import load_study, merge
from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.evaluation import style
from macrodyn.pipeline import job as job_module
from macrodyn.pipeline import run_stage, summary
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.learn import closure_stage, dynamics_stage, encode_stage, predict_stage
from macrodyn.pipeline.plan import RunPlan, Stage, plan_study
from macrodyn.pipeline.sample import evolve_shard, gather_stage, reference_shard, simulate_shard
from macrodyn.pipeline.upsample import upsample_shard
from macrodyn.storage.sealed import read_sealed_json

from .spies import Calls, Fake, ReachedError, spying

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
# Choices and numbers that a row changes stand here, so that no row depends on a default.
BASE: dict[str, Any] = {
    "study": "t0",
    "title": "",
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "conditions": {},
    "sizes": {"small": [4, 4], "large": [8, 8]},
    "simulate": {"initial_range": [-1, 1], "groups": 3, "replicas": 4, "times": [0, 1, 4]},
    "upsample": {
        "method": "tile",
        "snapshots": 2,
        "relaxation": {"duration": 1, "sweep": 0.5, "boundary": "frozen", "up_to_age": True},
    },
    "evolve": {
        "dt": 0.25,
        "lags": [1, 2],
        "patches": 2,
        "buffer": 0,
        "boundary": "frozen",
        "stop": "time",
    },
    "closure": {
        "dimension": 1,
        "encoder": "strided",
        "channels": [4],
        "hidden": 8,
        "steps": 6,
        "batch": 64,
        "learning_rate": 0.001,
        "patience": 4,
        "validation_every": 3,
        "validation_fraction": 0.15,
    },
    "dynamics": {
        "members": 2,
        "hidden": [8],
        "activation": "silu",
        "covariance": "full",
        "covariance_factor": "theory",
        "likelihood": "mean",
        "steps": 20,
        "batch": 8,
        "learning_rate": 0.001,
        "weight_decay": 0.1,
        "patience": 15,
        "validation_every": 10,
        "validation_fraction": 0.15,
    },
    "evaluate": {
        "initial": [-0.5, 0.5],
        "replicas": 4,
        "predicted_replicas": 4,
        "horizons": {"transient": {"spacing": 0.5, "points": 9, "step": None}},
        "equilibrium_fraction": 0.25,
    },
    "baselines": ["naive"],
    "published": {},
    "execution": {
        "shards": {"simulate": 1, "upsample": 1, "evolve": 1, "reference": 1},
        "device": "cpu",
        "checkpoint_minutes": 5.0,
    },
    "runs": {"base": {}},
}
# The stages of a run; `evolve:naive` is that of a method other than ours.
STAGES: dict[str, Callable[[RunPlan, str], Stage]] = {
    "simulate": lambda plan, method: plan.data.parents["small"],
    "upsample": lambda plan, method: plan.data,
    "reference": lambda plan, method: plan.reference,
    "closure": lambda plan, method: plan.closure,
    "evolve": lambda plan, method: plan.latents[method].parents["pairs"],
    "encode": lambda plan, method: plan.latents[method],
    "dynamics": lambda plan, method: plan.models[method],
    "predict": lambda plan, method: plan.predictions[method]["transient"],
}


@dataclass(frozen=True)
class Seen:
    """What a part of the work did: calls by function (also as attributes), and what it made."""

    calls: dict[str, Calls]
    result: Any

    def __getattr__(self, name: str) -> Calls:
        """Return the calls of a function."""
        try:
            return self.calls[name]
        except KeyError:
            raise AttributeError(name) from None


class Outputs(dict[str, Path]):
    """A path for whatever output a stage names."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        endings = {"model": ".safetensors", "data": ".nc", "training": ".json", "metrics": ".json"}
        return self.folder / (name + endings.get(name, ""))


class Bench:
    """Does the work of stages; what they read is made at need and kept, by the stages' keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spied = 0
        self._made: dict[Path, Any] = {}
        self._seen: dict[str, Seen] = {}

    def observe(
        self,
        work: str,
        changes: Mapping[str, Any],
        targets: Sequence[str] = (),
        fakes: Mapping[str, Fake] | None = None,
        *,
        stop: bool = False,
    ) -> Seen:
        """Do one part of the work for a changed study, and see how functions are called in it.

        Args:
            work: A stage, by method where it is not ours (``evolve:naive``); or ``evaluate``,
                ``summarise``, ``plan``, which plans alone, or ``job``, what surrounds each job.
            changes: What differs from the base.
            targets: Functions to spy on, see `spying`.
            fakes: Functions to replace, see `spying`.
            stop: Whether to end once all targets have been called.
        """
        asked = repr((work, changes, targets, fakes, stop))
        if asked not in self._seen:
            self._seen[asked] = self._observe(work, changes, targets, fakes or {}, stop=stop)
        return self._seen[asked]

    def _observe(
        self,
        work: str,
        changes: Mapping[str, Any],
        targets: Sequence[str],
        fakes: Mapping[str, Fake],
        *,
        stop: bool,
    ) -> Seen:
        content = merge(BASE, dict(changes))
        study = load_study(content, check_systems=False)
        plans = plan_study(study)
        plan, result = plans["base"], None
        self._spied += 1
        folder = self.folder / "spied" / str(self._spied)
        folder.mkdir(parents=True)
        prepared = self._prepare(work, plan, folder, unspied=not (targets or fakes))
        with spying(targets, fakes, stop=stop) as calls:
            try:
                if work == "plan":
                    result = SimpleNamespace(study=study, plans=plans, run=plan)
                elif work == "job":
                    _begin_job(content)
                elif work == "summarise":
                    result = self._summarise(prepared, folder, study.name, study.title)
                else:
                    result = prepared()
            except ReachedError:
                pass
        unused = [name for name, made in calls.items() if not made]
        assert not (stop and unused), f"{work} does not call {', '.join(unused)}"
        return Seen(calls, result)

    def stage(self, work: str, plan: RunPlan) -> Stage:
        """Return a stage of a run."""
        name, _, method = work.partition(":")
        return STAGES[name](plan, method or "ours")

    def _prepare(self, work: str, plan: RunPlan, folder: Path, *, unspied: bool) -> Any:
        """Make all that a part of the work reads; return the work itself."""
        if work in ("plan", "job"):
            return None
        if work == "summarise":
            path = self.folder / "runs" / "base" / "metrics.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._evaluation(plan, path.parent)()
            return path
        if work == "evaluate":
            return self._evaluation(plan, folder)
        stage = self.stage(work, plan)
        if unspied:
            result = self._made[self.path(stage)]
            return lambda: result
        for parent in stage.parents.values():
            self.path(parent)
        return lambda: self._work(stage, folder)

    def path(self, stage: Stage) -> Path:
        """Return the folder of a stage's results, made if they are not there."""
        folder = self.folder / "stages" / stage.folder
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made[folder] = self._work(stage, folder)
        return folder

    def _work(self, stage: Stage, folder: Path) -> Any:
        """Do what the stage's script does, in one shard."""
        read = {role: self.path(parent) for role, parent in stage.parents.items()}
        job = self._job(stage.config, folder, stage.execution["device"])
        if stage.name == "closure":
            job.inputs.update(data=read["data"] / "data.nc")
            closure_stage(job)
            model, _ = load_autoencoder(job.outputs["model"])
            return SimpleNamespace(model=model, training=read_sealed_json(job.outputs["training"]))
        if stage.name == "dynamics":
            job.inputs.update(latents=read["latents"] / "data.nc")
            dynamics_stage(job)
            ensemble = EnsembleSDE.load(job.outputs["model"])
            training = read_sealed_json(job.outputs["training"])
            return SimpleNamespace(model=ensemble, training=training)
        if stage.name == "simulate":
            data = simulate_shard(job, 0, 1)
        elif stage.name == "upsample":
            data = upsample_shard(job, read["small"] / "data.nc", 0, 1)
        elif stage.name == "evolve":
            data = evolve_shard(job, read["states"] / "data.nc", 0, 1)
        elif stage.name == "encode":
            pairs = stage.parents["pairs"]
            job.params.update(evolve=pairs.config)
            states = self.path(pairs.parents["states"])
            job.inputs.update(pairs=read["pairs"] / "data.nc", states=states / "data.nc")
            data = encode_stage(job, load_autoencoder(read["closure"] / "model.safetensors")[0])
        elif stage.name == "predict":
            ensemble = EnsembleSDE.load(read["model"] / "model.safetensors")
            closure, _ = load_autoencoder(read["closure"] / "model.safetensors")
            data = predict_stage(job, ensemble, closure)
        else:
            assert stage.name == "reference", stage.name
            shard = self._job(stage.config, folder / "shard", "cpu")
            shard.outputs["data"] = folder / "shard.nc"
            save_stage(shard, stage.name, reference_shard(shard, 0, 1))
            data = gather_stage(stage.name, [folder / "shard.nc"], stage.config)
        save_stage(job, stage.name, data)
        return data

    def _job(self, config: dict[str, Any], folder: Path, device: str) -> Job:
        return Job(
            config=config,
            inputs={},
            outputs=Outputs(folder),
            wildcards={"shard": "0", "shards": "1", "run": "base"},
            params={},
            threads=1,
            device=device,
            log=None,
            started=time.monotonic(),
        )

    def _evaluation(self, plan: RunPlan, folder: Path) -> Callable[[], dict[str, Any]]:
        """Evaluate a run as its rule does, without figures; return its metrics."""

        def data(stage: Stage) -> Path:
            return self.path(stage) / "data.nc"

        job = self._job(
            plan.config.model_dump(mode="json", exclude={"execution"}), folder, device="cpu"
        )
        job.inputs.update(
            reference=data(plan.reference),
            latents=data(plan.latents["ours"]),
            model=self.path(plan.models["ours"]) / "model.safetensors",
            closure=self.path(plan.closure) / "training.json",
            small=data(plan.data.parents["small"]),
            large=data(plan.data),
        )
        job.params.update(
            identity="",
            predictions={
                method: {name: str(data(stage)) for name, stage in horizons.items()}
                for method, horizons in plan.predictions.items()
            },
            trainings={
                method: str(self.path(stage) / "training.json")
                for method, stage in plan.models.items()
            },
            costs={"ours": {}, "direct": {"reference": [str(data(plan.reference))]}},
        )

        def evaluate() -> dict[str, Any]:
            with _without_figures():
                run_stage.evaluate_run(job)
            return read_sealed_json(job.outputs["metrics"])

        return evaluate

    def _summarise(self, metrics: Path, folder: Path, name: str, title: str) -> str:
        """Summarise the study as its rule does; return its pages."""
        job = self._job({}, folder, device="cpu")
        job.inputs.update(metrics=[metrics])
        job.params.update(study=name, title=title)
        summary.summarise_study(job, CAPTIONS)
        return job.outputs["overview"].read_text(encoding="utf-8")


def _begin_job(content: dict[str, Any]) -> None:
    """Begin a job of a study as its script does; logs and threads stay those of the tests."""
    rule = SimpleNamespace(
        rule="simulate",
        config=content,
        log=[],
        threads=1,
        params={},
        input={},
        output={"data": "data.nc"},
        wildcards={},
        resources={},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_set_up_log", "_set_threads"):
            patch.setattr(job_module, name, lambda given: None)
        with job_module.job(rule):
            pass


@contextmanager
def _without_figures() -> Iterator[None]:
    """Draw nothing: figures take longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda *args, **kwargs: None)
        for name in vars(run_stage).keys():
            if name.endswith("_figures"):
                patch.setattr(run_stage, name, lambda *args, **kwargs: iter(()))
            elif name.endswith("_figure"):
                patch.setattr(run_stage, name, lambda *args, **kwargs: None)
        yield


def value_at(content: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key of a configuration; ``*`` is the first name of a mapping."""
    value: Any = content
    for part in key.split("."):
        value = next(iter(value.values())) if part == "*" else value.get(part)
    return value


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return a change of one key; ``*`` is the horizon of the base."""
    *sections, last = key.replace("*", "transient").split(".")
    change: dict[str, Any] = {last: value}
    for section in reversed(sections):
        change = {section: change}
    return change


def plain(value: Any) -> Any:
    """Return a value in lists and numbers of six digits, so that what holds the same is equal."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
