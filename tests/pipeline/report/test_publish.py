"""Publishing copies the study's own files into one folder, and nothing from or to elsewhere."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import xarray as xr
import yaml

from macrodyn.config.load import ConfigError, load_study
from macrodyn.pipeline.identity import (
    SUMMARY,
    SummaryOrigin,
    run_identities,
    write_summary_origin,
)
from macrodyn.pipeline.kind import StageKind
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.record import write_record
from macrodyn.pipeline.report.publish import publish
from macrodyn.pipeline.stage import Stage
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

STUDY = {
    "study": "a",
    "system": {"name": "ising", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [8, 8], "large": [16, 16]},
    "runs": {"base": {}},
}
VERSIONS = {"macrodyn": "0.1.0", "numpy": "1.26.4"}
ROW = {"run": "base", "small": "8x8", "short:ours": 0.25, "short:ours_std": 0.01}
ROW |= {"short:naive": "", "short:full": "", "short:sampling": 0.001}
RUN_FIGURES = ("drift-diffusion", "residual-by-age", "markov", "snapshots", "training")
COSTS = {"stage": {"core_seconds": 2.0}}


def write_table(study: Path, **changes) -> None:
    row = ROW | changes
    with (study / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)


@pytest.fixture
def config(tmp_path) -> Path:
    """The configuration of the study."""
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    return path


def write_data(study: Path, stage: Stage, **origin) -> None:
    """Write data of a stage, with the commit and the versions that made it."""
    attributes = {"git_commit": "0123456789abcdef+changes", "software": json.dumps(VERSIONS)}
    write_dataset(xr.Dataset(), study / stage.folder / "data.nc", attributes | origin)


def write_origin(study: Path, config: Path) -> dict[str, str]:
    """Write what the summary was made from; return the identities of the runs."""
    plans = plan_study(load_study(config))
    analyses = {name: stage.key for name, stage in plans.analyses.items()}
    identities = run_identities(plans)
    write_summary_origin(study / SUMMARY, SummaryOrigin(identities, {}, analyses=analyses))
    return identities


@pytest.fixture
def stages(config) -> dict[str, Stage]:
    """Stages of the study."""
    plan = plan_study(load_study(config))["base"]
    return {"simulate": plan["small"], "upsample": plan["snapshots"]}


@pytest.fixture
def results(tmp_path, stages, config) -> Path:
    """A study's folder with all that is published of it."""
    study = tmp_path / "results" / "a"
    figures = [study / "analyses" / "costs" / "figures" / "costs.png"]
    figures += [study / "base" / "figures" / f"{kind}.png" for kind in RUN_FIGURES]
    figures += [study / "base" / "figures" / "trajectories" / "short" / "ours.png"]
    for figure in figures:
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_bytes(b"a figure")
    write_table(study)
    identities = write_origin(study, config)
    metrics = {
        "run": "base",
        "method": "partial-evolution",
        "identity": identities["base"],
        "horizons": {"short": {}},
        "samples": {"patches_evolved": 2, "patches_total": 4},
        "config": {"published": {}, "seed": 5},
        "costs": {"ours": COSTS, "direct": COSTS},
    }
    write_sealed_json(study / "base" / "metrics.json", metrics)
    write_data(study, stages["simulate"])
    return study


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "published"


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_table_figures_and_provenance_are_copied(results, target, config):
    written = publish(results, target, config, ["base"])
    assert sorted(path.name for path in written) == sorted(
        ["README.md", "summary.csv", "costs.png", "base~trajectories~short~ours.png"]
        + [f"base~{kind}.png" for kind in RUN_FIGURES]
    )
    assert {path.parent for path in written} == {target}
    page = (target / "README.md").read_text(encoding="utf-8")
    assert "| base | 8x8 | 2 of 4 | 2.5e-01 ± 1.0e-02 |" in page
    assert "0123456789+" in page and "![costs](costs.png)" in page


def test_no_figure_takes_the_place_of_another(results, target, config):
    """Names may be such that joined with dashes they were the same."""
    others = ["base-equilibrium", "costs", "base-trajectories"]
    content = yaml.safe_load(config.read_text(encoding="utf-8")) | {
        "runs": {run: {} for run in ["base", *others]}
    }
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    identities = write_origin(results, config)
    metrics = read_sealed_json(results / "base" / "metrics.json")
    for run, identity in identities.items():
        write_sealed_json(results / run / "metrics.json", metrics | {"identity": identity})
    for run in others:
        for kind in RUN_FIGURES:
            path = results / run / "figures" / f"{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{kind} of {run}", encoding="utf-8")
    for horizon in RUN_FIGURES:
        for kind in ("equilibrium", "trajectories"):
            path = results / "base" / "figures" / kind / f"{horizon}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{kind} of base, {horizon}", encoding="utf-8")
    written = publish(results, target, config, ["base", *others])
    copied = [path.read_text(encoding="utf-8") for path in written if path.suffix == ".png"]
    drawn = [path.read_text(encoding="utf-8") for path in results.rglob("*.png")]
    assert sorted(copied) == sorted(drawn) and len(set(written)) == len(written)


def test_table_of_an_earlier_version_is_refused(results, target, config):
    table = results / "summary.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("short:", "short_"), encoding="utf-8"
    )
    with pytest.raises(StoreError, match=f"has no column short:ours: rm {table}, then run"):
        publish(results, target, config, [])


def test_mmd_and_exact_deviations_stand_in_the_table(results, target, config):
    known = {"diffusion_rms_percent": 1.54, "diffusion_max_percent": 3.21}
    unknown = {"drift_rms_percent": "", "drift_max_percent": ""}
    write_table(results, **{"short:ours_mmd": 0.0123}, **unknown, **known)
    publish(results, target, config, [])
    lines = (target / "README.md").read_text(encoding="utf-8").splitlines()
    (head,) = (line for line in lines if line.startswith("| run |"))
    (row,) = (line for line in lines if line.startswith("| base |"))
    assert head.endswith("| MMD² | drift %: rms (max) | diffusion %: rms (max) |")
    assert row.endswith("| 1.0e-03 | 1.2e-02 | - | 1.5 (3.2) |")


NAMES = ["..", ".", "", "../outside", "a/../../b", "/etc", "a\nb", "a\0b", "C:\\x", "~", ".base"]


@pytest.mark.parametrize("name", [*NAMES, "x" * 300], ids=repr)
def test_name_that_is_a_path_is_refused(results, target, tmp_path, name, config):
    (tmp_path / "results" / "outside" / "figures").mkdir(parents=True)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match="is no name of a run"):
        publish(results, target, config, [name])
    assert not {path for path in everything(tmp_path) if target not in path.parents} - set(before)


def test_run_that_is_not_there_is_named(results, target, config):
    with pytest.raises(FileNotFoundError, match="is 'other' a run of this study"):
        publish(results, target, config, ["other"])


def test_table_with_the_name_of_another_folder_is_refused(results, target, tmp_path, config):
    write_sealed_json(tmp_path / "results" / "secret" / "metrics.json", {"a": 1})
    write_table(results, run="../secret")
    with pytest.raises(ValueError, match=r"'\.\./secret' is no name of a run"):
        publish(results, target, config, [])


def test_link_to_a_file_elsewhere_is_not_copied(results, target, tmp_path, config):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    (results / "analyses" / "costs" / "figures" / "more.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"more\.png leads out of"):
        publish(results, target, config, [])
    assert not target.exists()


def test_link_in_the_target_is_replaced_and_not_written_through(results, target, tmp_path, config):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious", encoding="utf-8")
    target.mkdir()
    for name in ("costs.png", "README.md", "summary.csv"):
        (target / name).symlink_to(precious)
    publish(results, target, config, [])
    assert precious.read_text(encoding="utf-8") == "precious"
    assert (target / "costs.png").read_bytes() == b"a figure"


def test_study_whose_folder_is_a_link_is_copied(results, target, tmp_path, config):
    elsewhere = tmp_path / "scratch"
    results.rename(elsewhere)
    results.symlink_to(elsewhere)
    publish(results, target, config, ["base"])
    assert (target / "base~markov.png").exists()


@pytest.mark.parametrize("pattern", ["summary.csv", "base/metrics.json", "stages/*/*/data.nc"])
def test_damaged_file_is_named(results, target, pattern, config):
    (path,) = results.glob(pattern)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="cannot be read") as caught:
        publish(results, target, config, [])
    assert str(path) in str(caught.value)


def test_study_that_was_not_run_is_named(tmp_path, target, config):
    with pytest.raises(FileNotFoundError, match=r"summary\.csv is missing: run the study first"):
        publish(tmp_path, target, config, [])


def line(page: Path, start: str) -> str:
    """The line of a page that starts so."""
    (found,) = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(start)
    ]
    return found


WRONG_CONFIGS = {
    "missing": (None, r"cannot read the configuration .*a\.yaml: No such file"),
    "wrong": ({**STUDY, "seed": "x"}, "seed: must be a whole number"),
    "of another study": (
        {**STUDY, "study": "b"},
        r"a\.yaml is the configuration of 'b', but .*results/a holds the study 'a'",
    ),
    "of other runs": (
        {**STUDY, "runs": {"other": {}}},
        r"summary\.csv has the runs base, which .*a\.yaml does not name",
    ),
}


@pytest.mark.parametrize(("content", "reason"), WRONG_CONFIGS.values(), ids=WRONG_CONFIGS)
def test_configuration_that_did_not_make_the_study_is_refused(
    results, target, config, content, reason
):
    config.unlink()
    if content is not None:
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises((ConfigError, ValueError), match=reason):
        publish(results, target, config, [])
    assert not target.exists()


def test_study_whose_folder_was_renamed_is_known_by_its_record(results, target, config):
    renamed = results.rename(results.with_name("kept"))
    with pytest.raises(ValueError, match="holds the study 'kept'"):
        publish(renamed, target, config, [])
    write_record(renamed, STUDY, [])
    publish(renamed, target, config, [])


EDITS = {
    "a stage": {"system": {"name": "ising", "parameters": {"temperature": 5.0}}},
    "the evaluation alone": {"evaluate": {"equilibrium_fraction": 0.5}},
    "a further run": {"runs": {"base": {}, "more": {"seed": 3}}},
    "the title": {"title": "another"},
    "the analyses": {"analyses": {"costs": {"kind": "costs"}}},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_results_are_not_published_as_those_of_an_edited_configuration(
    results, target, config, edit
):
    config.write_text(yaml.safe_dump(STUDY | edit), encoding="utf-8")
    with pytest.raises(ValueError, match="has not been run with the configuration") as refusal:
        publish(results, target, config, ["base"])
    assert not target.exists()
    told = str(refusal.value)
    different = {"runs": "  more: no results yet", "title": "  summary: made with another"}
    different["analyses"] = different["title"]
    assert different.get(next(iter(edit)), "  base: made with another configuration") in told
    assert told.endswith(f"\nrun the study first: snakemake --cores all --configfile {config}")


def test_page_names_the_command_that_was_recorded(results, target, config):
    spaced = config.rename(config.with_name("my study.yaml"))
    write_record(results, STUDY, ["--profile", "slurm", "--configfile", str(spaced)])
    publish(results, target, spaced, [])
    assert line(target / "README.md", "Made by ").startswith(
        f"Made by `snakemake --profile slurm --configfile '{spaced}'`, then "
    )


@pytest.mark.parametrize(
    ("runs", "end"), [([], ""), (["base"], " --runs base")], ids=["no runs", "a run"]
)
def test_page_names_the_commands_that_remake_it(results, target, config, runs, end):
    publish(results, target, config, runs)
    assert line(target / "README.md", "Made by ") == (
        f"Made by `snakemake --cores all --configfile {config}`, then "
        f"`macrodyn publish {results} DIRECTORY --config {config}{end}`."
    )


def test_page_shows_every_figure_that_is_copied(results, target, config):
    written = publish(results, target, config, ["base"])
    page = (target / "README.md").read_text(encoding="utf-8")
    figures = [path.name for path in written if path.suffix == ".png"]
    assert len(figures) == 2 + len(RUN_FIGURES)
    assert [name for name in figures if f"]({name})" not in page] == []


def test_page_names_the_versions_that_made_the_data(results, target, config, stages):
    newer = {**VERSIONS, "numpy": "2.0.0"}
    write_data(results, stages["upsample"], git_commit="f" * 40, software=json.dumps(newer))
    # What an earlier configuration left is no part of the study.
    other = Stage(StageKind(name="simulate", work="a:b"), {"earlier": 1})
    write_data(results, other, git_commit="e" * 40, software=json.dumps({"numpy": "0.9"}))
    publish(results, target, config, [])
    page = target / "README.md"
    assert line(page, "- versions that") == (
        "- versions that made the data: macrodyn 0.1.0, numpy 1.26.4 and 2.0.0"
    )
    assert line(page, "- commits that") == (
        f"- commits that made the data: 0123456789+, {'f' * 10}"
    )


def test_page_of_a_study_whose_stages_were_deleted_does_not_guess(results, target, config):
    shutil.rmtree(results / "stages")
    publish(results, target, config, [])
    assert line(target / "README.md", "- versions that") == "- versions that made the data: unknown"
