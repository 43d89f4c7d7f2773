"""Publishing copies the study's own files into one folder, and nothing from or to elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import xarray as xr

from macrodyn.pipeline.publish import RUN_FIGURES, publish
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.sealed import write_sealed_json

CONFIG = Path("config/a.yaml")
ROW = {"run": "base", "small": "8x8", "short_ours": 0.25, "short_ours_std": 0.01}
ROW |= {"short_naive": "", "short_full": "", "short_sampling": 0.001}
COSTS = {"stage": {"core_seconds": 2.0}}


def write_table(study: Path, **changes) -> None:
    row = ROW | changes
    with (study / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)


@pytest.fixture
def results(tmp_path) -> Path:
    """A study's folder with all that is published of it."""
    study = tmp_path / "results" / "a"
    figures = [study / "figures" / "costs.png"]
    figures += [study / "base" / "figures" / f"{kind}.png" for kind in RUN_FIGURES]
    figures += [study / "base" / "figures" / "trajectories" / "short-ours.png"]
    for figure in figures:
        figure.parent.mkdir(parents=True, exist_ok=True)
        figure.write_bytes(b"a figure")
    write_table(study)
    metrics = {
        "horizons": {"short": {}},
        "samples": {"patches_evolved": 2, "patches_total": 4},
        "config": {"published": {}, "seed": 5},
        "costs": {"ours": COSTS, "direct": COSTS},
    }
    write_sealed_json(study / "base" / "metrics.json", metrics)
    data = study / "stages" / "simulate" / ("a" * 12) / "data.nc"
    write_dataset(xr.Dataset(), data, {"git_commit": "0123456789abcdef+changes"})
    return study


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "published"


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_table_figures_and_provenance_are_copied(results, target):
    written = publish(results, target, CONFIG, ["base"])
    assert sorted(path.name for path in written) == sorted(
        ["README.md", "summary.csv", "costs.png", "base-trajectories-short-ours.png"]
        + [f"base-{kind}.png" for kind in RUN_FIGURES]
    )
    assert {path.parent for path in written} == {target}
    page = (target / "README.md").read_text()
    assert "| base | 8x8 | 2 of 4 | 2.5e-01 ± 1.0e-02 |" in page
    assert "0123456789+" in page and "![costs](costs.png)" in page


def test_mmd_and_exact_deviations_stand_in_the_table(results, target):
    known = {"diffusion_rms_percent": 1.54, "diffusion_max_percent": 3.21}
    unknown = {"drift_rms_percent": "", "drift_max_percent": ""}
    write_table(results, short_ours_mmd=0.0123, **unknown, **known)
    publish(results, target, CONFIG, [])
    lines = (target / "README.md").read_text().splitlines()
    (head,) = (line for line in lines if line.startswith("| run |"))
    (row,) = (line for line in lines if line.startswith("| base |"))
    assert head.endswith("| MMD² | drift %: rms (max) | diffusion %: rms (max) |")
    assert row.endswith("| 1.0e-03 | 1.2e-02 | - | 1.5 (3.2) |")


NAMES = ["..", ".", "", "../outside", "a/../../b", "/etc", "a\nb", "a\0b", "C:\\x", "~", ".base"]


@pytest.mark.parametrize("name", [*NAMES, "x" * 300], ids=repr)
def test_name_that_is_a_path_is_refused(results, target, tmp_path, name):
    (tmp_path / "results" / "outside" / "figures").mkdir(parents=True)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match="is no name of a run"):
        publish(results, target, CONFIG, [name])
    assert not {path for path in everything(tmp_path) if target not in path.parents} - set(before)


def test_run_that_is_not_there_is_named(results, target):
    with pytest.raises(FileNotFoundError, match="is 'other' a run of this study"):
        publish(results, target, CONFIG, ["other"])


def test_table_with_the_name_of_another_folder_is_refused(results, target, tmp_path):
    write_sealed_json(tmp_path / "results" / "secret" / "metrics.json", {"a": 1})
    write_table(results, run="../secret")
    with pytest.raises(ValueError, match=r"'\.\./secret' is no name of a run"):
        publish(results, target, CONFIG, [])


def test_link_to_a_file_elsewhere_is_not_copied(results, target, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (results / "figures" / "more.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"more\.png leads out of"):
        publish(results, target, CONFIG, [])
    assert not target.exists()


def test_link_in_the_target_is_replaced_and_not_written_through(results, target, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    target.mkdir()
    for name in ("costs.png", "README.md", "summary.csv"):
        (target / name).symlink_to(precious)
    publish(results, target, CONFIG, [])
    assert precious.read_text() == "precious"
    assert (target / "costs.png").read_bytes() == b"a figure"


def test_study_whose_folder_is_a_link_is_copied(results, target, tmp_path):
    elsewhere = tmp_path / "scratch"
    results.rename(elsewhere)
    results.symlink_to(elsewhere)
    publish(results, target, CONFIG, ["base"])
    assert (target / "base-markov.png").exists()


@pytest.mark.parametrize("pattern", ["summary.csv", "base/metrics.json", "stages/*/*/data.nc"])
def test_damaged_file_is_named(results, target, pattern):
    (path,) = results.glob(pattern)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="cannot be read") as caught:
        publish(results, target, CONFIG, [])
    assert str(path) in str(caught.value)


def test_study_that_was_not_run_is_named(tmp_path, target):
    with pytest.raises(FileNotFoundError, match=r"summary\.csv is missing: run the study first"):
        publish(tmp_path, target, CONFIG, [])
