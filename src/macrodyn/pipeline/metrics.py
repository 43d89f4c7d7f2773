"""The metrics of a run: what every method writes beside its own figures of merit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macrodyn.evaluation.available import Findings
from macrodyn.paths import StrPath
from macrodyn.pipeline.job import Job
from macrodyn.storage.errors import refusal
from macrodyn.storage.netcdf import read_attributes
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json


def write_metrics(job: Job, metrics: dict[str, Any], findings: Findings | None = None) -> None:
    """Write the metrics of a run, with what it is, what it was made from, and what it has cost.

    Args:
        job: The job of the run's evaluation.
        metrics: The figures of merit.
        findings: Notes which of them cannot be had, and why; they are null, and the reasons stand
            under ``unavailable``.

    Raises:
        StoreError: If a file does not say its cost.
    """
    run = job.config["run"]
    head = {"run": job.subject, "method": run["method"], "identity": job.key}
    costs = {way: costs_by_stage(job, found) for way, found in job.config["costs"].items()}
    tail: dict[str, Any] = {"costs": costs, "config": run, "order": job.config["order"]}
    if findings is not None:
        tail["unavailable"] = findings.reasons
        for path, reason in findings.reasons.items():
            job.info(f"{path} cannot be had: {reason}")
    write_sealed_json(job.outputs["metrics"], plain({**head, **metrics, **tail}))


def write_findings(job: Job, findings: Any) -> None:
    """Write what an analysis across runs has found, with what it is and was made with.

    Args:
        job: The analysis' job.
        findings: Plain values, for whoever wants the figure's numbers.
    """
    content = {"analysis": job.subject, "key": job.key, **job.config, "findings": findings}
    write_sealed_json(job.outputs["findings"], plain(content))


def read_metrics(path: StrPath) -> dict[str, Any]:
    """Read the metrics of a run.

    Raises:
        StoreError: If they are missing or damaged, or stand in the folder of another run.
    """
    path = Path(path)
    metrics = read_sealed_json(path)
    if metrics.get("run") != path.parent.name:
        raise refusal(path, f"was made for another run: {metrics.get('run')}")
    return metrics


def read_runs(job: Job) -> list[dict[str, Any]]:
    """Read the metrics of the runs of an analysis, in their order."""
    return [read_metrics(job.input(run)) for run in job.config["runs"]]


def plain(value: Any) -> Any:
    """Make a value fit for strict JSON: arrays to lists; nan and infinities to null or a word."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "diverged"
    return value


def costs_by_stage(job: Job, carriers: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Add up the costs that the results of stages carry.

    Args:
        job: The job.
        carriers: For each stage its name, its role to the job, the output that says its cost, and
            whether site updates are counted.

    Returns:
        Site updates and core seconds by name of the stage.

    Raises:
        StoreError: If a file does not say its cost.
    """
    costs: dict[str, dict[str, float]] = {}
    for carrier in carriers:
        path = job.input(carrier["role"], carrier["output"])
        attributes = _attributes(path)
        total = costs.setdefault(carrier["stage"], {"site_updates": 0.0, "core_seconds": 0.0})
        for kind in total:
            if kind not in attributes and (kind == "core_seconds" or carrier["updates"]):
                raise refusal(path, f"does not say its cost ({kind})")
            total[kind] += float(attributes.get(kind, 0.0))
    return costs


def _attributes(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        cost = read_sealed_json(path).get("cost")
        return cost if isinstance(cost, dict) else {}
    return read_attributes(path)
