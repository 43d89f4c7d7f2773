"""The evaluation of a run: whatever its data cannot give, the rest is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from macrodyn.evaluation.verdict import judge
from macrodyn.methods.partial_evolution import analyses
from macrodyn.methods.partial_evolution import evaluate as module
from macrodyn.methods.partial_evolution.evaluate import evaluate
from macrodyn.methods.partial_evolution.report import summary_row
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_metrics
from macrodyn.pipeline.planner import RunPlan
from macrodyn.pipeline.stage import Stage, StageId
from macrodyn.storage.sealed import read_sealed_json

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
FIGURES = (
    "drift-diffusion",
    "markov",
    "residual-by-age",
    "snapshots",
    "training",
    "trajectories/transient/ours",
    "equilibrium/transient",
)
ON_A_HORIZON = {"horizon": "transient"}
ANALYSES = {
    "error_against_size": ON_A_HORIZON,
    "all_runs": {},
    "mmd_against_factor": ON_A_HORIZON,
    "covariance_factors": {},
    "costs": {},
}


def save_roughly(figure: Figure, path: Path) -> None:
    """Draw a figure in earnest, but without the layout, which takes most of the time."""
    figure.set_layout_engine("none")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=30)


@pytest.fixture
def make_job_of_run(
    monkeypatch: pytest.MonkeyPatch,
    make_plan: Callable[..., RunPlan],
    make_stage: Callable[..., dict[str, Path]],
    make_job: Callable[..., Job],
    tmp_path: Path,
) -> Callable[..., Job]:
    """Make all stages of a run; return the job of its evaluation."""
    monkeypatch.setattr(module.style, "save", save_roughly)

    def make(changes: dict[str, Any]) -> Job:
        plan = make_plan({**LITTLE, **changes})
        made: dict[StageId, dict[str, Path]] = {}

        def read(stage: Stage) -> dict[str, dict[str, Path]]:
            return {role: made[parent.id] for role, parent in stage.inputs.items()}

        for stage in plan.stages().values():
            made[stage.id] = make_stage(stage, tmp_path, read(stage))
        return make_job(plan.evaluation, tmp_path / plan.evaluation.folder, read(plan.evaluation))

    return make


def evaluated(
    job: Job, tmp_path: Path, figures: tuple[str, ...] = FIGURES, case: str = "transient"
) -> dict[str, Any]:
    """Evaluate a run, and check what holds of every evaluation."""
    evaluate(job)
    metrics = read_metrics(job.outputs["metrics"])
    for name in figures:
        assert Image.open(job.outputs["figures"] / f"{name}.png").width > 100
    explored = read_sealed_json(job.outputs["figures"] / "trajectories.json")
    predicted = set(metrics.get("predicted", ()))
    assert {one["name"] for one in explored["cases"]} == set(metrics["horizons"]) | predicted
    for one in explored["cases"]:
        shown = {scheme: len(curve["mean"]) for scheme, curve in one["curves"].items()}
        assert shown["ours"] == len(explored["variables"]) >= 2
        direct = {} if one["name"] in predicted else {"direct": 2}
        assert shown.items() >= direct.items()
        assert set(shown) == {*direct, *metrics["members"]}
    assert (metrics["run"], metrics["method"]) == (job.subject, "partial-evolution")
    assert metrics["identity"] == job.key
    assert unexplained(metrics) == []
    for path in metrics["unavailable"]:
        assert at(metrics, path) is None, f"{path} has a value, and a reason for having none"
    assert summary_row(metrics)["run"] == "run"
    for name, options in ANALYSES.items():
        options = options and {"horizon": case}
        analysis = analysis_job(job, name, options, tmp_path)
        getattr(analyses, name)(analysis)
        assert list(analysis.outputs["figures"].glob("*.png"))
    return metrics


def test_closure_variables_and_candidates_are_judged(make_job_of_run, tmp_path, caplog):
    closure = {**LITTLE["closure"], "features": ["correlation-2"], "candidates": ["generator"]}
    simulate = {"groups": 16, "replicas": 4, "times": [0, 1, 4]}
    more = {"simulate": simulate, "upsample": {"snapshots": 8}}
    job = make_job_of_run({"closure": closure, **more})
    caplog.set_level("INFO", logger="macrodyn")
    found = evaluated(job, tmp_path)["closure"]
    candidates = ["generator_magnetisation", "generator_domain_wall_density"]
    roles = {name: worth["role"] for name, worth in found["variables"].items()}
    assert roles == {
        "correlation_2": "variable",
        "closure_0": "variable",
        **dict.fromkeys(candidates, "candidate"),
    }
    for worth in found["variables"].values():
        assert worth["worth_having"] in ("yes", "no", "cannot tell")
        assert worth["standard_error"]["magnetisation"] > 0
    assert found["all"]["gain"].keys() == {"magnetisation", "domain_wall_density"}
    lines = [text for text in caplog.messages if "worth having" in text]
    assert len(lines) == 4 and lines[0].startswith("variable correlation_2: worth having: ")
    figure = job.outputs["figures"] / "closure-variables.png"
    assert Image.open(figure).width > 100
    scores = found["forecast"]
    assert set(scores["order"]) == {"correlation_2", "closure_0", *candidates}
    # Two lags, and none to four variables.
    gains, errors = (np.array(scores[k]["magnetisation"]) for k in ("gain", "standard_error"))
    assert gains.shape == errors.shape == (2, 5) and (gains[:, 0] == 0).all()
    assert scores["elapsed"] == sorted(scores["elapsed"])
    assert Image.open(job.outputs["figures"] / "closure-forecast.png").width > 100


@pytest.mark.parametrize("sizes", [[[20, 12], [30, 24]], [[20, 12]]], ids=["with", "without"])
def test_a_model_of_other_sizes_than_the_large_one(make_job_of_run, tmp_path, sizes):
    """Learned from 2 of 4 patches of one size, with 2 of 12 of the large one or without."""
    job = make_job_of_run({"sizes": {"train": sizes}})
    found = evaluated(job, tmp_path)
    told = [
        (size["sites"], size["patches_evolved"], size["patches_total"], size["used"])
        for size in found["covariance_factor"]["ours"]["sizes"]
    ]
    assert told == [(720, 2, 12, 6.0), (240, 2, 4, 2.0)][2 - len(sizes) :]
    assert found["samples"]["patches_total"] == told[0][2]
    assert found["covariance_factor"]["ours"]["used"] == told[0][3]


def test_without_closure_variables_nothing_is_judged(make_job_of_run, tmp_path):
    job = make_job_of_run({"closure": {**LITTLE["closure"], "dimension": 0}})
    found = evaluated(job, tmp_path)["closure"]
    assert found["variables"] == {} and found["forecast"] == {}
    assert not (job.outputs["figures"] / "closure-forecast.png").exists()
    assert not (job.outputs["figures"] / "closure-variables.png").exists()


def analysis_job(evaluation: Job, name: str, options: dict[str, str], folder: Path) -> Job:
    """The job of an analysis of one run."""
    here = folder / "analyses" / name
    return Job(
        stage=name,
        config={"options": options, "runs": [evaluation.subject]},
        inputs={evaluation.subject: evaluation.outputs},
        outputs={"findings": here / "findings.json", "figures": here / "figures"},
    )


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
    make_job_of_run: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = make_job_of_run({})
    metrics = evaluated(job, tmp_path)
    found = metrics["residual_by_age"]["ours"]
    assert found["age"] == [0, 1, 3] and found["degrees_of_freedom"] == 2
    assert set(found["residual"]) == {"magnetisation", "domain_wall_density", "closure_0"}
    assert found["chi2_per_degree_all"] > 0
    assert [row["dt"] for row in metrics["step_errors"]["table"]] == [0.25, 0.5]
    assert metrics["step_errors"]["source"] == "pairs"
    assert len(metrics["compensation"]["gain"]) == 3 and min(metrics["compensation"]["gain"]) >= 1
    # Of seven groups one is held out: it has no error by group. What a variable is worth, so few
    # do not tell, and there is no wider buffer.
    few = (
        "covariance_factor",
        "closure.variables",
        "closure.all",
        "closure.forecast",
        "step_errors",
    )
    others = [path for path in metrics["unavailable"] if not path.startswith(few)]
    assert others == ["residual_by_age.ours.held_out"]
    unknown = [path for path in metrics["unavailable"] if path.startswith("step_errors")]
    assert unknown and all(path.endswith("boundary") for path in unknown)

    def broken(*_: Any) -> None:
        raise ValueError("a wrong call")

    monkeypatch.setattr(module, "compare_horizon", broken)
    with pytest.raises(ValueError, match="a wrong call"):
        evaluate(job)


ALONE = (
    *FIGURES[:5],
    "trajectories/transient/ours",
    "trajectories/transient/polynomial",
    "trajectories/transient-size-4x4/ours",
    "equilibrium/transient-size-4x4",
    "sampled-equilibrium",
)


def test_evaluation_of_a_run_without_a_reference(
    make_job_of_run: Callable[..., Job], tmp_path: Path
) -> None:
    evaluate_keys = {"reference": "none", "equilibrium": {"burn_in": 3, "samples": 4, "spacing": 2}}
    changes = {"evaluate": evaluate_keys, "baselines": ["polynomial"]}
    changes["closure"] = {**LITTLE["closure"], "dimension": 0}
    job = make_job_of_run({**changes, "simulate": {"groups": 12}})
    metrics = evaluated(job, tmp_path, ALONE, "transient-size-4x4")
    assert not (job.outputs["figures"] / "equilibrium" / "transient.png").exists()
    assert list(metrics["horizons"]) == ["transient-size-4x4"]
    assert metrics["horizons"]["transient-size-4x4"]["ours"]["test_error"]["mean"] > 0
    assert metrics["checked"] == {"transient-size-4x4": [4, 4]}
    assert set(metrics["costs"]) == {"ours", "check"}
    schemes = metrics["predicted"]["transient"]
    assert set(schemes) == {"ours", "polynomial"}
    assert len(schemes["ours"]["agreement"]["members"]) == 2
    assert schemes["ours"]["agreement"]["chance"] > 0 and "difference" not in schemes["ours"]
    assert schemes["polynomial"]["difference"]["mean"] > 0
    assert -1 <= schemes["ours"]["late"]["magnetisation"]["mean"] <= 1
    found = metrics["sampled_equilibrium"]
    assert set(found) == {"here", "size-4x4"}
    magnetisation = found["here"]["magnetisation"]
    assert magnetisation["direct"] is None and abs(magnetisation["predicted"]) <= 1
    assert found["size-4x4"]["magnetisation"]["direct"] is not None
    row = summary_row(metrics)
    assert row["transient:disagreement"] == schemes["ours"]["agreement"]["mean"]
    verdict = judge(metrics)
    assert verdict.headline.startswith("There is no reference: the large system was not simulated")
    assert "direct simulation at 4x4" in verdict.headline


def test_evaluation_of_a_run_that_is_compared_with_nothing(
    make_job_of_run: Callable[..., Job], tmp_path: Path
) -> None:
    job = make_job_of_run({"evaluate": {"reference": "none", "sizes": [[30, 24]]}})
    case = "transient-size-30x24"
    figures = (*FIGURES[:5], f"trajectories/{case}/ours")
    metrics = evaluated(job, tmp_path, figures, case)
    assert metrics["horizons"] == metrics["checked"] == metrics["costs"]["check"] == {}
    assert list(metrics["predicted"]) == [case]
    assert not any(column.endswith(":ours") for column in summary_row(metrics))


def test_evaluation_of_a_run_that_lacks_almost_all(
    make_job_of_run: Callable[..., Job], tmp_path: Path
) -> None:
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
        ),
        tmp_path,
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
