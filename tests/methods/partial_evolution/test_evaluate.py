"""The evaluation of a run: whatever its data cannot give, the rest is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from macrodyn.closure.model import load_autoencoder
from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.pipeline import run_stage
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.learn import closure_stage, dynamics_stage, encode_stage, predict_stage
from macrodyn.pipeline.plan import RunPlan, Stage
from macrodyn.pipeline.run_stage import evaluate_run
from macrodyn.pipeline.summary import study_figures, summary_row
from macrodyn.storage.netcdf import write_dataset

LITTLE = {
    "sizes": {"small": [4, 4], "large": [8, 8]},
    "evolve": {"patches": 2},
    "closure": {
        "dimension": 1,
        "channels": [4],
        "hidden": 8,
        "steps": 4,
        "batch": 16,
        "validation_every": 2,
    },
    "dynamics": {"hidden": [8], "steps": 4, "batch": 16, "validation_every": 2},
    "baselines": [],
}
FIGURES = ("drift_diffusion", "markov", "residual_by_age", "snapshots", "training")
FOLDERS = ("trajectories", "equilibrium")


def job_of(stage: Stage, outputs: dict[str, Path], params: dict[str, Any], **inputs: Path) -> Job:
    return Job(
        config=stage.config,
        inputs=inputs,
        outputs=outputs,
        wildcards={},
        params=params,
        device="cpu",
        threads=1,
        log=None,
        started=time.monotonic(),
    )


def evaluation(plan: RunPlan, data: dict[str, Any], folder: Path) -> Job:
    """Run the learning stages on sampled data, and return the job of the evaluation."""
    files = {name: folder / f"{name.replace(':', '-')}.nc" for name in data}
    for name, path in files.items():
        write_dataset(data[name], path, {})
    model, training = folder / "closure.safetensors", folder / "closure-training.json"
    closure_stage(
        job_of(plan.closure, {"model": model, "training": training}, {}, data=files["upsample"])
    )
    closure, _ = load_autoencoder(model)
    latents, stage = folder / "latents.nc", plan.latents["ours"]
    job = job_of(
        stage,
        {"data": latents},
        {"evolve": stage.parents["pairs"].config},
        pairs=files["evolve:ours"],
        states=files["upsample"],
    )
    save_stage(job, "encode", encode_stage(job, closure))
    sde, history = folder / "dynamics.safetensors", folder / "dynamics-training.json"
    dynamics_stage(
        job_of(plan.models["ours"], {"model": sde, "training": history}, {}, latents=latents)
    )
    predicted = folder / "predicted.nc"
    job = job_of(plan.predictions["ours"]["transient"], {"data": predicted}, {})
    save_stage(job, "predict", predict_stage(job, EnsembleSDE.load(sde), closure))
    out = folder / "out"
    outputs = {name: out / f"{name}.png" for name in FIGURES}
    outputs |= {name: out / name for name in FOLDERS} | {"metrics": out / "metrics.json"}
    inputs = {
        "reference": files["reference"],
        "latents": latents,
        "model": sde,
        "closure": training,
        "small": files["simulate"],
        "large": files["upsample"],
    }
    return Job(
        config=plan.config.model_dump(mode="json", exclude={"execution"}),
        inputs=inputs,
        outputs=outputs,
        wildcards={"run": "base"},
        params={
            "identity": "",
            "predictions": {"ours": {"transient": str(predicted)}},
            "trainings": {"ours": str(history)},
            "costs": {
                "ours": {"dynamics": [str(history)]},
                "direct": {"reference": [str(files["reference"])]},
            },
        },
        device="cpu",
        threads=1,
        log=None,
        started=time.monotonic(),
    )


def save_roughly(figure: Figure, path: Path) -> None:
    """Draw a figure in earnest, but without the layout, which takes most of the time."""
    figure.set_layout_engine("none")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=30)


@pytest.fixture
def make_job_of_run(
    monkeypatch: pytest.MonkeyPatch,
    make_plan: Callable[..., RunPlan],
    sample: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> Callable[..., Job]:
    monkeypatch.setattr(run_stage.style, "save", save_roughly)

    def make(changes: dict[str, Any]) -> Job:
        plan = make_plan({**LITTLE, **changes})
        return evaluation(plan, sample(plan, 1), tmp_path / "run")

    return make


def evaluated(job: Job) -> dict[str, Any]:
    """Evaluate a run, and check what holds of every evaluation."""
    evaluate_run(job)
    metrics = json.loads(job.outputs["metrics"].read_text(encoding="utf-8"))
    figures = [job.outputs[name] for name in FIGURES]
    figures += [job.outputs["trajectories"] / "transient-ours.png"]
    figures += [job.outputs["equilibrium"] / "transient.png"]
    for figure in figures:
        assert Image.open(figure).width > 100
    assert unexplained(metrics) == []
    for path in metrics["unavailable"]:
        assert at(metrics, path) is None, f"{path} has a value, and a reason for having none"
    assert summary_row(metrics)["run"] == "base"
    assert study_figures([metrics])
    return metrics


def at(metrics: dict[str, Any], path: str) -> Any:
    value: Any = metrics
    for key in path.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    return value


def unexplained(metrics: dict[str, Any]) -> list[str]:
    """Paths that are null without a reason for it."""
    reasons = metrics["unavailable"]

    def nulls(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            parts = [(key, part) for key, part in value.items() if key not in ("config", "reason")]
        elif isinstance(value, list):
            parts = list(enumerate(value))
        else:
            return [path] if value is None and path not in reasons else []
        return [n for key, part in parts for n in nulls(part, f"{path}.{key}" if path else key)]

    return nulls({k: v for k, v in metrics.items() if k != "config"}, "")


def test_evaluation_of_a_run_that_lacks_nothing(
    make_job_of_run: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job_of_run({})
    metrics = evaluated(job)
    found = metrics["residual_by_age"]["ours"]
    assert found["age"] == [0, 1, 3] and found["degrees_of_freedom"] == 2
    assert set(found["residual"]) == {"magnetisation", "domain_wall_density", "closure_0"}
    assert found["chi2_per_degree_all"] > 0
    # Of seven groups one is held out: it has no error by group.
    others = [path for path in metrics["unavailable"] if not path.startswith("covariance_factor")]
    assert others == ["residual_by_age.ours.held_out"]

    def broken(*_: Any) -> None:
        raise ValueError("a wrong call")

    monkeypatch.setattr(run_stage, "compare_horizon", broken)
    with pytest.raises(ValueError, match="a wrong call"):
        evaluate_run(job)


def test_evaluation_of_a_run_that_lacks_almost_all(make_job_of_run: Callable[..., Job]) -> None:
    """All spins up far below the critical temperature, where nothing happens; six snapshots."""
    metrics = evaluated(
        make_job_of_run(
            {
                "system": {"parameters": {"temperature": 0.5, "field": 0.0}},
                "conditions": {"temperature": [2.5, 3.0, 3.5]},
                "simulate": {"groups": 2, "times": [1]},
                "upsample": {"snapshots": 1},
                "closure": {**LITTLE["closure"], "dimension": 0},
                "evaluate": {
                    "initial": [1],
                    "horizons": {"transient": {"spacing": 0.5, "points": 2}},
                },
            }
        )
    )
    found, reasons = metrics["horizons"]["transient"], metrics["unavailable"]
    assert found["ours"]["spread_error"] is None and found["ours"]["test_error"]["mean"] >= 0
    assert "do not differ from each other" in reasons["horizons.transient.ours.spread_error"]
    assert found["sampling_error"]["mean"] == 0 and found["sampling_error"]["spread"] is None
    assert found["ours"]["equilibrium"]["magnetisation"]["std_relative_error"] is None
    assert metrics["markov"] is None and "make more snapshots" in reasons["markov"]
    assert metrics["residual_by_age"]["ours"]["chi2_per_degree_all"] is None
    assert metrics["closure"]["best_loss"] is None
    row = summary_row(metrics)
    assert row["transient:spread"] is None and row["transient:ours"] >= 0
