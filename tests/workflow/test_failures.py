"""What is wrong is said in one place, by name, before or instead of a result."""

from __future__ import annotations

import copy
import re

import pytest

from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.report.shown import shown_summary
from macrodyn.pipeline.report.summary import read_summary

pytestmark = pytest.mark.workflow

WRONG = {
    "unknown key": ({"dynamics": {"stepz": 10}}, "dynamics.stepz", "unknown key"),
    "patch that does not divide": ({"sizes": {"patch": [7, 12]}}, "sizes.patch", "divisor"),
    "negative temperature": (
        {"system": {"parameters": {"temperature": -1}}},
        "system.parameters.temperature",
        "greater than 0",
    ),
    "unknown parameter": (
        {"system": {"parameters": {"coupling": 1}}},
        "system.parameters.coupling",
        "unknown key",
    ),
    "unknown system": (
        {"system": {"name": "potts"}},
        "system.name",
        "installed systems: allen-cahn, curie-weiss, ising",
    ),
    "key of one run": (
        {"runs": {"estimated": {"evolve": {"patches": 13}}}},
        "runs.estimated.evolve.patches",
        "K = 12",
    ),
    "missing key": ({"sizes": {"small": None}}, "sizes.small", "is empty"),
}


def merged(base: dict, changes: dict) -> dict:
    result = copy.deepcopy(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


@pytest.mark.parametrize(("changes", "key", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_key_is_named_and_nothing_is_made(workflow, tiny, changes, key, reason):
    config = workflow.write_config(merged(tiny, changes))
    done = workflow.run("-n", "--configfile", config)
    assert done.returncode != 0
    (line,) = [line for line in done.stdout.splitlines() if f"{key}:" in line]
    assert reason in line
    assert "Traceback" not in done.stdout
    assert config.name in done.stdout
    assert not (workflow.folder / "results").exists()


def test_two_wrong_keys_are_told_at_once(workflow, tiny):
    config = workflow.write_config(merged(tiny, {"seed": "x", "evolve": {"dt": 0}}))
    done = workflow.run("-n", "--configfile", config)
    assert done.returncode != 0
    assert "seed:" in done.stdout and "evolve.dt:" in done.stdout


def test_a_stage_that_the_configuration_does_not_have_is_named(workflow, tiny):
    """A job on a cluster finds it so if the configuration was edited after the run began."""
    config = workflow.write_config(tiny)
    target = "results/tiny/stages/closure/0123456789ab/model.json"
    done = workflow.run("-n", target, "--configfile", config)
    assert done.returncode != 0
    assert (
        "study tiny has no stage closure/0123456789ab: the configuration was changed; run "
        "snakemake again with the one you want" in " ".join(done.stdout.split())
    )


def test_a_record_that_cannot_be_written_stops_the_run_with_the_reason(workflow, tiny):
    config = workflow.write_config(tiny)
    (workflow.folder / "results" / "tiny" / "study.json").mkdir(parents=True)
    done = workflow.run("--cores", "1", "--configfile", config)
    assert done.returncode != 0
    assert "results/tiny/study.json cannot be written" in done.stdout
    assert "Traceback" not in done.stdout and "Finished jobid" not in done.stdout


def test_failing_job_writes_its_traceback_to_its_log_and_names_the_file(copied_study, study):
    (small,) = study.results.glob("stages/simulate/*/data.nc")
    damaged = copied_study.folder / small.relative_to(study.folder)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    target = next(study.results.glob("stages/upsample/*/data.nc")).relative_to(study.folder)
    arguments = ("--cores", "1", "--retries", "1", "--configfile", study.config_file)
    done = copied_study.run(target, *arguments)
    assert done.returncode != 0
    name = str(damaged.relative_to(copied_study.folder))
    (log,) = (copied_study.folder / target).parent.glob("logs/shard-*.log")
    text = log.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert "StoreError" in text and f"{name} cannot be read" in text
    # The reason stands on the terminal as well, with where to read more.
    lines = [line for line in done.stdout.splitlines() if line.startswith("rule upsample: ")]
    for line in lines:
        assert name in line and str(log.relative_to(copied_study.folder)) in line
    # The second attempt knows that it would end as the first one did.
    assert ["not tried again" in line for line in lines] == [False, True]
    assert "not tried again" in text
    # A failed job leaves nothing that could be taken for a result.
    assert not list((copied_study.folder / target).parent.glob("shard-*.nc"))
    assert not list((copied_study.folder / target).parent.glob(".*"))


def test_of_a_study_with_one_bad_run_the_others_are_summarised(copied_study, study, monkeypatch):
    results = copied_study.folder / "results/tiny"
    plan = plan_study(load_study(study.config_file))["estimated"]
    damaged = results / plan["prediction/ours/transient"].folder / "data.nc"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    (results / "estimated" / "metrics.json").unlink()
    done = copied_study.run("--cores", "2", "--configfile", study.config_file)
    assert done.returncode != 0
    lacks = "it lacks estimated (no results yet)"
    assert f"results/tiny/summary.csv has the 2 finished run(s); {lacks}" in done.stdout
    rows = read_summary(results / "summary.csv")
    assert [row["run"] for row in rows] == ["base", "published-setting", "estimated"]
    assert rows[0]["transient:ours"] > 0 and rows[2]["transient:ours"] is None
    page = (results / "overview.html").read_text(encoding="utf-8")
    assert "not finished: no results of estimated" in page
    assert (results / "pages" / "runs" / "base").is_dir()
    monkeypatch.chdir(copied_study.folder)
    shown = shown_summary("tiny")
    assert [row["run"] for row in shown.rows] == ["base", "published-setting"]
    assert "  estimated: no results yet\n" in shown.missing
    # The next run makes it anew, with all runs; no report shows a part for the whole.
    damaged.write_bytes((study.folder / damaged.relative_to(copied_study.folder)).read_bytes())
    planned = copied_study.run("-n", "--configfile", study.config_file)
    assert re.search(r"^summarise +1$", planned.stdout, re.MULTILINE)
    report = copied_study.run("--report", "a.html", "--configfile", study.config_file)
    assert report.returncode != 0 and "  estimated: no results yet" in report.stdout
    assert not (copied_study.folder / "a.html").exists()
