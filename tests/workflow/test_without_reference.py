"""A study whose large system is never simulated, from end to end, the report included."""

from __future__ import annotations

import json

import pytest

import macrodyn
from macrodyn.cli import main
from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.report.summary import read_summary

pytestmark = pytest.mark.workflow

CHECK = "transient-size-20x12"


def test_the_large_system_is_predicted_and_never_simulated(
    workflow, tiny, job_counts, monkeypatch, capsys
):
    tiny["evaluate"]["reference"] = "none"
    tiny |= {"baselines": ["naive", "polynomial"], "runs": {"base": {}}}
    config = workflow.write_config(tiny)
    planned = plan_study(load_study(config))
    simulated = [s for s in planned.stages.values() if s.name == "reference"]
    assert [list(stage.config["large"]) for stage in simulated] == [[20, 12]]
    done = workflow.run("--cores", "2", "--configfile", config)
    assert done.returncode == 0, done.stdout[-6000:]
    counts = job_counts(done.stdout)
    assert (counts["reference"], counts["predict"], counts["evaluate"]) == (1, 6, 1)

    results = workflow.folder / "results" / "tiny"
    metrics = json.loads((results / "base" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["predicted"]) == ["transient"] and list(metrics["horizons"]) == [CHECK]
    assert set(metrics["predicted"]["transient"]) == {"ours", "naive", "polynomial"}
    (row,) = read_summary(results / "summary.csv")
    assert row["transient:disagreement"] > 0 and row[f"{CHECK}:ours"] > 0
    assert not [name for name in row if name.startswith("transient:") and row[name] is None]

    front = (results / "overview.html").read_text(encoding="utf-8")
    assert "There is no reference: the large system was not simulated" in front
    assert "direct simulation at 20x12" in front
    assert "Prediction without a reference: transient" in front
    assert f"Comparison with direct simulation: {CHECK}" in front
    assert "Comparison with direct simulation: transient<" not in front
    target = workflow.folder / "report.html"
    report = workflow.run("--configfile", config, "--report", target)
    assert report.returncode == 0, report.stdout
    assert "WARNING/" not in report.stdout and "ERROR/" not in report.stdout, report.stdout
    assert target.stat().st_size > 100_000

    monkeypatch.chdir(workflow.folder)
    assert main(["status", "tiny"]) == 0
    assert "All done: macrodyn summary results/tiny" in capsys.readouterr().out
    model = macrodyn.load(results, "base")
    assert "- reference: none: the large system was not simulated" in model.card()
    assert f"- test error, {CHECK}: " in model.card()
