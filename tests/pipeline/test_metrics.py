"""The metrics of a run: strict JSON, what it has cost, and whose they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from macrodyn.evaluation.available import Findings
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import costs_by_stage, plain, read_metrics, write_metrics
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.sealed import write_sealed_json


def test_plain_values_are_strict_json():
    value = {
        1: np.float64(0.5),
        "array": np.array([1.0, np.nan, np.inf]),
        "nested": ({"n": np.int64(3)}, [True, None, "text"]),
        "minus": float("-inf"),
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "1": 0.5,
        "array": [1.0, None, "diverged"],
        "nested": [{"n": 3}, [True, None, "text"]],
        "minus": "diverged",
    }


def carrier(stage, role, output="data", updates=True):
    """Where the cost of a stage is read, as the plan says it."""
    return {"stage": stage, "role": role, "output": output, "updates": updates}


def job_of(tmp_path, inputs, **config):
    outputs = {"metrics": tmp_path / "base" / "metrics.json"}
    return Job(stage="e", config=config, inputs=inputs, outputs=outputs, subject="base", key="k")


def test_costs_of_a_stage_are_added_up(tmp_path):
    data, training = tmp_path / "data.nc", tmp_path / "training.json"
    write_dataset(xr.Dataset(), data, {"site_updates": 10.0, "core_seconds": 2.0})
    write_sealed_json(training, {"cost": {"core_seconds": 0.5}})
    model = {"model": tmp_path / "model.safetensors", "training": training}
    inputs = {"cost/a": {"data": data}, "cost/b": {"data": data}, "cost/c": model}
    carriers = [carrier("evolve", "cost/a"), carrier("evolve", "cost/b")]
    carriers.append(carrier("dynamics", "cost/c", "training", updates=False))
    assert costs_by_stage(job_of(tmp_path, inputs), carriers) == {
        "evolve": {"site_updates": 20.0, "core_seconds": 4.0},
        "dynamics": {"site_updates": 0.0, "core_seconds": 0.5},
    }


@pytest.mark.parametrize("kind", ["site_updates", "core_seconds"])
def test_a_cost_that_is_missing_is_not_taken_for_zero(tmp_path, kind):
    data = tmp_path / "data.nc"
    costs = {"site_updates": 10.0, "core_seconds": 2.0}
    write_dataset(xr.Dataset(), data, {k: v for k, v in costs.items() if k != kind})
    job = job_of(tmp_path, {"cost/a": {"data": data}})
    with pytest.raises(StoreError, match=rf"does not say its cost \({kind}\)"):
        costs_by_stage(job, [carrier("evolve", "cost/a")])
    # Updates are asked of those stages alone that count them.
    learned = [carrier("encode", "cost/a", updates=False)]
    if kind == "core_seconds":
        with pytest.raises(StoreError, match="core_seconds"):
            costs_by_stage(job, learned)
    else:
        assert costs_by_stage(job, learned)["encode"]["site_updates"] == 0


@pytest.mark.parametrize("content", [{"a": 1}, {"cost": {}}, {"cost": 3}], ids=str)
def test_a_json_file_that_does_not_say_its_cost_is_refused(tmp_path, content):
    training = tmp_path / "training.json"
    write_sealed_json(training, content)
    job = job_of(tmp_path, {"cost/a": {"training": training}})
    with pytest.raises(StoreError, match=f"{training} does not say its cost"):
        costs_by_stage(job, [carrier("fit", "cost/a", "training", updates=False)])


def test_metrics_are_read_back_with_whose_they_are_and_what_they_cost(tmp_path):
    data = tmp_path / "data.nc"
    write_dataset(xr.Dataset(), data, {"site_updates": 10.0, "core_seconds": 2.0})
    run = {"method": "m:Own", "system": {"name": "s"}}
    costs = {"ours": [carrier("sample", "cost/a")], "direct": []}
    job = job_of(tmp_path, {"cost/a": {"data": data}}, run=run, costs=costs, order=["b", "a"])
    findings = Findings()
    findings.lack("error", "there is nothing")
    write_metrics(job, {"error": float("nan"), "rate": np.float64(0.5)}, findings)
    assert read_metrics(job.outputs["metrics"]) == {
        "run": "base",
        "method": "m:Own",
        "identity": "k",
        "error": None,
        "rate": 0.5,
        "costs": {"ours": {"sample": {"site_updates": 10.0, "core_seconds": 2.0}}, "direct": {}},
        "config": run,
        "order": ["b", "a"],
        "unavailable": {"error": "there is nothing"},
    }


def test_metrics_in_the_folder_of_another_run_are_refused(tmp_path):
    path = tmp_path / "other" / "metrics.json"
    write_sealed_json(path, {"run": "base"})
    with pytest.raises(StoreError, match=f"was made for another run: base: rm {path}, then"):
        read_metrics(path)
