"""A little study on the bench: every stage's work, without Snakemake, on files made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import xarray as xr

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import load_study, merge
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation import style
from macrodyn.methods.base import Graph
from macrodyn.methods.partial_evolution import evaluate as evaluation
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.pipeline import job as job_module
from macrodyn.pipeline.gathering import gather
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.planner import RunPlan, StudyPlan, plan_study
from macrodyn.pipeline.stage import Stage
from macrodyn.storage.sealed import read_sealed_json
from macrodyn.targets import load_target

from .spies import Calls, Fake, ReachedError, spying

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
# Choices and numbers that a row changes stand here, so that no row depends on a default.
BASE: dict[str, Any] = {
    "study": "t0",
    "title": "",
    "method": "partial-evolution",
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "conditions": {},
    "sizes": {"small": [4, 4], "large": [8, 8], "train": []},
    "simulate": {"initial_range": [-1, 1], "groups": 3, "replicas": 4, "times": [0, 1, 4]},
    "upsample": {
        "method": "tile",
        "snapshots": 2,
        "relaxation": {"duration": 1, "sweep": 0.5, "boundary": "frozen", "up_to_age": True},
        "chains": [],
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
        "features": [],
        "candidates": [],
        "decoder": "patch",
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
        "model": "mlp",
        "polynomial": {
            "degrees": [1, 2, 3, 4, 5, 6, 7, 8],
            "ridges": [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
        },
        "members": 2,
        "hidden": [8],
        "activation": "silu",
        "covariance": "full",
        "covariance_factor": "theory",
        "increments": "compensated",
        "covariance_from": "increments",
        "buffer_noise": "counted",
        "likelihood": "mean",
        "steps": 20,
        "batch": 8,
        "learning_rate": 0.001,
        "weight_decay": 0.1,
        "output_ridge": 1e-4,
        "patience": 15,
        "validation_every": 10,
        "validation_fraction": 0.15,
    },
    "evaluate": {
        "reference": "direct",
        "initial": [-0.5, 0.5],
        "replicas": 4,
        "predicted_replicas": 4,
        "horizons": {"transient": {"spacing": 0.5, "points": 9, "step": None}},
        "equilibrium_fraction": 0.25,
        "equilibrium": {"replicas": 2, "burn_in": 3, "samples": 4, "spacing": 2},
        "conditions": {},
        "sizes": [],
    },
    "baselines": ["naive"],
    "published": {},
    "execution": {
        "shards": {
            "simulate": 1,
            "upsample": 1,
            "evolve": 1,
            "reference": 1,
            "equilibrium": 1,
        },
        "device": "cpu",
        "checkpoint_minutes": 5.0,
    },
    "runs": {"base": {}},
    "sweep": {},
    "analyses": {"spent": {"kind": "costs", "runs": ["base"]}},
}
# The roles of the stages of a run; `evolve:naive` is that of a scheme other than ours.
ROLES = {
    "simulate": "small",
    "upsample": "snapshots",
    "reference": "reference",
    "equilibrium": "equilibrium",
    "closure": "closure",
    "recommend": "choice",
    "evolve": "pairs/{}",
    "encode": "latents/{}",
    "dynamics": "model/{}",
    "predict": "prediction/{}",
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
            work: A stage, by scheme where it is not ours (``evolve:naive``); or ``evaluate``,
                ``analysis`` (the first one), ``summarise``, ``plan``, which plans alone, or
                ``job``, what surrounds each job.
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
        plan, result = next(iter(plans.values())), None
        self._spied += 1
        folder = self.folder / "spied" / str(self._spied)
        folder.mkdir(parents=True)
        prepared = self._prepare(work, plans, folder, unspied=not (targets or fakes))
        with spying(targets, fakes, stop=stop) as calls:
            try:
                if work == "plan":
                    result = SimpleNamespace(study=study, plans=plans, run=plan)
                elif work == "job":
                    _begin_job(content)
                else:
                    result = prepared()
            except ReachedError:
                pass
        unused = [name for name, made in calls.items() if not made]
        assert not (stop and unused), f"{work} does not call {', '.join(unused)}"
        return Seen(calls, result)

    def stage(self, work: str, plans: StudyPlan) -> Stage:
        """Return a stage of the first run, or of the study."""
        plan: RunPlan = next(iter(plans.values()))
        if work in ("evaluate", "analysis", "summarise"):
            across = {"analysis": next(iter(plans.analyses.values())), "summarise": plans.summary}
            return across.get(work, plan.evaluation)
        name, _, scheme = work.partition(":")
        role = ROLES[name].format(scheme or "ours")
        # Of what there is for each case, that of the first.
        return next(s for r, s in plan.roles.items() if r == role or r.startswith(f"{role}/"))

    def _prepare(self, work: str, plans: StudyPlan, folder: Path, *, unspied: bool) -> Any:
        """Make all that a part of the work reads; return the work itself."""
        if work in ("plan", "job"):
            return None
        stage = self.stage(work, plans)
        if unspied and stage.kind.place == "digest":
            result = self._made[self.path(stage)]
            return lambda: result
        for parent in stage.inputs.values():
            self.path(parent)
        return lambda: self._work(stage, folder)

    def path(self, stage: Stage) -> Path:
        """Return the folder of a stage's results, made if they are not there."""
        # What stands in a folder of its subject is another's for each configuration.
        folder = self.folder / stage.key / stage.folder
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made[folder] = self._work(stage, folder)
        return folder

    def _work(self, stage: Stage, folder: Path) -> Any:
        """Do what the stage's jobs do, in one shard; return what they made."""
        job = job_of(stage, folder, self.path)
        with _without_figures():
            data = load_target(stage.kind.work)(job)
        if stage.kind.scatter:
            shard = replace(job, outputs={"data": folder / "shard.nc"})
            save_stage(shard, data)
            read = {"shards": {0: folder / "shard.nc"}}
            data = gather(replace(job, inputs=read, params={"scatter": vars(stage.kind.scatter)}))
        if isinstance(data, xr.Dataset):
            save_stage(job, data)
            return data
        return _result(stage, job)


def job_of(stage: Stage, folder: Path, made: Callable[[Stage], Path]) -> Job:
    """What a stage's work is given.

    Args:
        stage: The stage.
        folder: Where its results go.
        made: Returns the folder of the results of a stage that it reads.
    """
    return Job(
        stage=stage.name,
        config=stage.config,
        inputs={
            role: {name: made(parent) / file for name, file in parent.kind.outputs.items()}
            for role, parent in stage.inputs.items()
        },
        outputs={name: folder / file for name, file in stage.kind.outputs.items()},
        key=stage.key,
        subject=stage.subject,
        device=stage.device,
        captions=CAPTIONS,
    )


def _result(stage: Stage, job: Job) -> Any:
    """Read what work has written that is no data set."""
    if "metrics" in job.outputs:
        return read_sealed_json(job.outputs["metrics"])
    if "findings" in job.outputs:
        return read_sealed_json(job.outputs["findings"])
    if "choice" in job.outputs:
        return read_sealed_json(job.outputs["choice"])
    if "overview" in job.outputs:
        return job.outputs["overview"].read_text(encoding="utf-8")
    load = Ensemble.load if stage.name == "dynamics" else lambda p: load_autoencoder(p)[0]
    training = read_sealed_json(job.outputs["training"])
    return SimpleNamespace(model=load(job.outputs["model"]), training=training)


class OursAlone(PartialEvolution):
    """Partial evolution that makes no baselines, whatever is asked for."""

    def plan(self, run: PartialEvolutionRun, planner: Any) -> Graph:
        return super().plan(run.model_copy(update={"baselines": ()}), planner)


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
        scriptdir="scripts",
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
        for name in vars(evaluation).keys():
            if name.endswith("_figures"):
                patch.setattr(evaluation, name, lambda *args, **kwargs: iter(()))
            elif name.endswith("_figure"):
                patch.setattr(evaluation, name, lambda *args, **kwargs: None)
        yield


def value_at(content: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key; ``*`` is the first name of a mapping, or entry of a list.

    None where the list is empty.
    """
    value: Any = content
    for part in key.split("."):
        if isinstance(value, list):
            value = next(iter(value), None)
        elif value is not None:
            value = next(iter(value.values())) if part == "*" else value.get(part)
    return value


def changed(key: str, value: Any, base: Mapping[str, Any] = BASE) -> dict[str, Any]:
    """Return a change of one key; ``*`` is the first name or entry that the base has there."""
    change: dict[str, Any] = _set(base, key.split("."), value)
    return change


def _set(content: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    part, *rest = path
    if isinstance(content, list):
        # Lists are replaced as a whole.
        return [{**content[0], **_set(content[0], rest, value)}, *content[1:]]
    name = next(iter(content)) if part == "*" else part
    return {name: _set(content.get(name), rest, value)}


def plain(value: Any) -> Any:
    """Return a value in lists and numbers of six digits, so that what holds the same is equal."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
