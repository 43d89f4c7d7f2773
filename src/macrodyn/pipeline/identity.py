"""Which configuration made the results that stand outside of the folders of stages.

A stage's folder is named by what it was made from. Metrics, figures and the summary stand at places
of their own, so each carries a digest of its run instead, by which it is told from what another
configuration left there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macrodyn.paths import StrPath
from macrodyn.pipeline.planner import RunPlan
from macrodyn.pipeline.stage import Stage
from macrodyn.storage.errors import StoreError
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

# What summary.csv, the figures and the pages across runs were made from.
SUMMARY = "summary.json"
# What describes the trained model of a run, in the run's folder.
MODEL = "model/model.json"

# Why a run has no results.
NONE, OTHER = "no results yet", "made with another configuration"
_EARLIER = "made by a version of macrodyn that did not note the configuration"


def run_identities(plans: Mapping[str, RunPlan]) -> dict[str, str]:
    """Return the identity of each run of a study, by name.

    It is the key of what evaluates the run: a digest of its stages, and of what the evaluation
    reads from the configuration. Values count, and neither how they were written nor how the work
    is cut.

    Args:
        plans: The runs.
    """
    return {name: plan.evaluation.key for name, plan in plans.items()}


@dataclass(frozen=True)
class RunResults:
    """What stands in a run's folder.

    Attributes:
        problem: Why there are no results of the configuration that was asked about; empty if
            there are.
        damaged: Whether it is because the metrics cannot be read.
    """

    problem: str = ""
    damaged: bool = False


def run_results(folder: StrPath, identity: str) -> RunResults:
    """Find out whether a run's folder holds the results of a configuration.

    Args:
        folder: The run's folder.
        identity: The identity of the run in that configuration.
    """
    path = Path(folder) / "metrics.json"
    if not path.exists():
        return RunResults(NONE)
    try:
        found = read_sealed_json(path).get("identity")
    except StoreError as error:
        return RunResults(error.problem, damaged=True)
    if found == identity:
        return RunResults()
    return RunResults(OTHER if found else _EARLIER)


def model_written(folder: StrPath, identity: str) -> bool:
    """Whether a run's folder holds the trained model of a configuration.

    Args:
        folder: The run's folder.
        identity: Key of the stage that writes it, in that configuration.
    """
    path = Path(folder) / MODEL
    try:
        return path.exists() and bool(read_sealed_json(path).get("identity") == identity)
    except StoreError:
        return False


def missing_runs(folder: StrPath, identities: Mapping[str, str]) -> dict[str, str]:
    """Return the runs of which there are no results of a configuration, and why.

    Args:
        folder: The study's folder.
        identities: The identities of its runs in that configuration.
    """
    found = {name: run_results(Path(folder) / name, key) for name, key in identities.items()}
    return {name: results.problem for name, results in found.items() if results.problem}


@dataclass(frozen=True)
class SummaryOrigin:
    """What a study's summary was made from.

    Attributes:
        runs: The identities of the runs that it shows.
        missing: The runs that it lacks, and why; empty of a study that has run to its end.
        title: The study's title.
        analyses: The keys of the analyses that it shows.
    """

    runs: dict[str, str]
    missing: dict[str, str]
    title: str = ""
    analyses: dict[str, str] = field(default_factory=dict)


def write_summary_origin(path: StrPath, origin: SummaryOrigin) -> None:
    """Write down what a summary was made from, beside it."""
    write_sealed_json(Path(path), vars(origin))


def read_summary_origin(folder: StrPath) -> SummaryOrigin | None:
    """Read what a study's summary was made from.

    Args:
        folder: The study's folder.

    Returns:
        Its origin; None where it is not known, as there is no summary, it was not finished, or it
        cannot be read.
    """
    try:
        content: dict[str, Any] = read_sealed_json(Path(folder) / SUMMARY)
        runs, missing, analyses = (dict(content[k]) for k in ("runs", "missing", "analyses"))
        return SummaryOrigin(runs, missing, str(content["title"]), analyses)
    except (StoreError, KeyError, TypeError, ValueError):
        return None


def unsummarised(
    folder: StrPath,
    identities: Mapping[str, str],
    title: str | None = None,
    analyses: Mapping[str, Stage] | None = None,
) -> dict[str, str]:
    """Return what keeps a study's summary and report from being those of a configuration.

    Args:
        folder: The study's folder.
        identities: The identities of its runs in that configuration.
        title: Its title; any if left out.
        analyses: Its analyses; any if left out.

    Returns:
        The runs without results and why; where they all have some, ``summary`` and why it does not
        show them. Empty if nothing is wrong.
    """
    if missing := missing_runs(folder, identities):
        return missing
    origin = read_summary_origin(folder)
    if origin is None:
        return {"summary": NONE}
    shown = origin.runs == dict(identities) and not origin.missing
    keys = None if analyses is None else {name: stage.key for name, stage in analyses.items()}
    alike = title in (None, origin.title) and keys in (None, origin.analyses)
    return {} if shown and alike else {"summary": OTHER}


def not_run(folder: StrPath, configuration: str, reasons: Mapping[str, str], command: str) -> str:
    """Say that a study has not been run with a configuration.

    Args:
        folder: The study's folder.
        configuration: Name of the configuration's file.
        reasons: Why each of the runs that have no results has none.
        command: The command that runs it.
    """
    runs = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
    return (
        f"{folder} has not been run with the configuration {configuration}; these runs differ:\n"
        f"{runs}\nrun the study first: {command}"
    )
