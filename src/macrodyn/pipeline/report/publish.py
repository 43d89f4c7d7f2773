"""Copy the results of a study that are small enough to be committed, with their provenance."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from macrodyn.config.load import load_study
from macrodyn.config.section import Name
from macrodyn.config.study import Study
from macrodyn.methods.report import Report
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import not_run, run_identities, unsummarised
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.record import RecordError, read_record, run_command
from macrodyn.pipeline.report.summary import read_summary, report_of
from macrodyn.storage.errors import StoreError, refusal
from macrodyn.storage.files import atomic_path
from macrodyn.storage.machine import processor
from macrodyn.storage.netcdf import read_attributes
from macrodyn.storage.sealed import read_sealed_json


def publish(
    study: StrPath, target: StrPath, config: StrPath, runs: Sequence[str] = ()
) -> list[Path]:
    """Copy a study's table, its figures and those of some runs, and write a page about them.

    Args:
        study: The study's folder below results/.
        target: Folder to copy to.
        config: The configuration that made the study; it stands in the command on the page.
        runs: Runs whose own figures are copied as well.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: If the study or a run has no results.
        ConfigError: If the configuration cannot be read, or is wrong.
        ValueError: If it is the configuration of another study, or the results were made with
            another one; if a name could lead out of a folder, or a file to copy lies outside of
            the study's.
        StoreError: If a file of the study is damaged.
    """
    study, target, config, runs = Path(study), Path(target), Path(config), list(runs)
    if not (study / "summary.csv").exists():
        raise FileNotFoundError(f"{study / 'summary.csv'} is missing: run the study first")
    loaded = _load(study, config)
    _check_identity(study, config, loaded)
    sources = _sources(study, loaded, runs)
    text = _page(study, config, loaded, runs, [name for name in sources if name != "summary.csv"])
    for name, source in sources.items():
        with atomic_path(target / name) as temporary:
            shutil.copyfile(source, temporary)
    page = target / "README.md"
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [*(target / name for name in sources), page]


def _load(study: Path, config: Path) -> Study:
    """Read the configuration and check that it is that of the study."""
    loaded = load_study(config, check_systems=False)
    try:
        name = read_record(study).config.get("study")
    except RecordError:
        name = Path(os.path.abspath(study)).name
    if loaded.name != name:
        raise ValueError(
            f"{config} is the configuration of {loaded.name!r}, but {study} holds the study "
            f"{name!r}: give the configuration that made it"
        )
    return loaded


def _check_identity(study: Path, config: Path, loaded: Study) -> None:
    """Check that what is copied was made with the configuration whose name is put on it."""
    rows = [_checked(row["run"]) for row in read_summary(study / "summary.csv")]
    if unknown := [name for name in rows if name not in loaded.runs]:
        raise ValueError(
            f"{study / 'summary.csv'} has the runs {', '.join(unknown)}, which {config} does not "
            "name: give the configuration that made it, or run the study again"
        )
    plans = plan_study(loaded)
    identities = run_identities(plans)
    for name in identities:
        if (study / name / "metrics.json").exists():
            read_sealed_json(study / name / "metrics.json")  # says what to do if it is damaged
    if wrong := unsummarised(study, identities, loaded.title, plans.analyses):
        raise ValueError(not_run(study, str(config), wrong, _made_by(study, config)))


def _made_by(study: Path, config: Path) -> str:
    """Return the command that runs the study: the recorded one, if it is of this configuration."""
    try:
        record = read_record(study)
    except RecordError:
        return run_command(config)
    return record.command if record.names(config) else run_command(config)


def _sources(study: Path, loaded: Study, runs: list[str]) -> dict[str, Path]:
    """Return what is copied, by the name of the copy.

    No name holds a tilde, so that no run's figure takes the place of another's.
    """
    sources = {"summary.csv": study / "summary.csv"}
    for name in loaded.analyses:
        figures = _figures(study / "analyses" / name / "figures")
        for part, path in figures.items():
            sources[f"{name}.png" if len(figures) == 1 else f"{name}~{part}"] = path
    for run in map(_checked, runs):
        folder = study / run / "figures"
        if not folder.exists():
            raise FileNotFoundError(f"{folder} is missing: is {run!r} a run of this study?")
        sources |= {f"{run}~{part}": path for part, path in _figures(folder).items()}
    for source in sources.values():
        if not source.resolve().is_relative_to(study.resolve()):
            raise ValueError(f"{source} leads out of {study}: only the study's files are copied")
    return sources


def _figures(folder: Path) -> dict[str, Path]:
    """Return the figures below a folder, by their paths with tildes for slashes."""
    found = sorted(folder.rglob("*.png"))
    return {"~".join(path.relative_to(folder).parts): path for path in found}


def _checked(run: str) -> str:
    """Check that a run's name is one, and no path."""
    try:
        return TypeAdapter(Name).validate_python(run)
    except ValidationError:
        raise ValueError(f"{run!r} is no name of a run") from None


def _page(study: Path, config: Path, loaded: Study, runs: list[str], figures: Sequence[str]) -> str:
    rows = read_summary(study / "summary.csv")
    names = [row["run"] for row in rows]
    metrics = {name: read_sealed_json(study / name / "metrics.json") for name in names}
    lines = [f"# Results of {config}", ""]
    for report, of in _by_report(metrics):
        lines += [report.columns, ""] if report.columns else []
        try:
            head, *body = report.published([r for r in rows if r["run"] in of], of)
        except StoreError as error:
            raise refusal(study / "summary.csv", error.problem) from None
        lines += [_row(head), _row(["---"] * len(head)), *map(_row, body), ""]
    commits, versions = _origins(study, loaded)
    command = ["macrodyn", "publish", str(study), "DIRECTORY", "--config", str(config)]
    command += ["--runs", *runs] if runs else []
    ways = dict.fromkeys(way for m in metrics.values() for way in m["costs"])
    spent = {
        way: sum(
            s["core_seconds"] for m in metrics.values() for s in m["costs"].get(way, {}).values()
        )
        for way in ways
    }
    lines += [
        f"Made by `{_made_by(study, config)}`, then `{shlex.join(command)}`.",
        "",
        f"- commits that made the data: {', '.join(commits) or 'unknown'}",
        f"- versions that made the data: {', '.join(versions) or 'unknown'}",
        f"- seed: {metrics[rows[0]['run']]['config']['seed']}",
        f"- copied with Python {platform.python_version()} on {processor()}",
        "- core seconds of all runs, shared stages counted in each: "
        + ", ".join(f"{seconds:.0f} ({way})" for way, seconds in spent.items()),
        "",
    ]
    lines += [f"![{name.removesuffix('.png')}]({name})" for name in figures]
    return "\n".join(lines) + "\n"


def _by_report(
    metrics: Mapping[str, dict[str, Any]],
) -> list[tuple[Report, dict[str, dict[str, Any]]]]:
    """Return the reports of different methods, each with the metrics of its runs."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, run in metrics.items():
        found.setdefault(run["method"], {})[name] = run
    return [(report_of(next(iter(of.values()))), of) for of in found.values()]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _origins(study: Path, loaded: Study) -> tuple[list[str], list[str]]:
    """Return the commits and the versions that the study's data name, each once.

    Changes that were not committed are marked by a +. Folders of an earlier configuration do not
    count, nor does what was deleted.
    """
    commits: set[str] = set()
    versions: dict[str, set[str]] = {}
    for stage in plan_study(loaded).stages.values():
        path = study / stage.folder / "data.nc"
        if not path.exists():
            continue
        attributes = read_attributes(path)
        commit, _, changed = str(attributes.get("git_commit", "")).partition("+")
        commits |= {commit[:10] + ("+" if changed else "")} if commit else set()
        for name, version in json.loads(attributes.get("software", "{}")).items():
            versions.setdefault(name, set()).add(version)
    found = [f"{name} {' and '.join(sorted(numbers))}" for name, numbers in versions.items()]
    return sorted(commits), found
