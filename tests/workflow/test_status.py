"""`macrodyn status` tells of a real study what Snakemake tells of it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from macrodyn.cli import main
from macrodyn.config.load import load_study
from macrodyn.pipeline.identity import run_identities
from macrodyn.pipeline.monitor.status import study_status
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.record import read_record

pytestmark = pytest.mark.workflow


def unfinished(folder: Path) -> Counter[str]:
    return Counter(
        job.job.rule for job in study_status(folder / "results/tiny").jobs if job.state != "done"
    )


def test_a_finished_study_is_done_job_by_job(study, job_counts):
    status = study_status(study.results)
    assert {job.state for job in status.jobs} == {"done"}
    counts = job_counts(study.first)
    del counts["all"]
    assert Counter(job.job.rule for job in status.jobs) == counts
    # Each job's log was found, ended well, and says when it began.
    assert all(job.log and job.log.end == "done" and job.log.began for job in status.jobs)
    assert all(pace.mean is not None and pace.left == 0 for pace in status.paces().values())


def test_the_command_prints_the_finished_study(study, capsys, monkeypatch):
    monkeypatch.chdir(study.folder)
    assert main(["status", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "study tiny in results/tiny\n44 of 44 jobs done\n" in printed
    assert "All done: macrodyn summary results/tiny" in printed


def test_a_run_leaves_its_configuration_and_its_command(study):
    record = read_record(study.results)
    assert {**record.config, "runs": None} == {**study.config, "runs": None}
    asked, kept = (
        run_identities(plan_study(load_study(config))) for config in (study.config, record.config)
    )
    assert kept == asked
    assert record.command.startswith("snakemake --cores ")
    assert record.command.endswith(f"--configfile {study.config_file}")


def test_a_dry_run_leaves_nothing(workflow, study):
    done = workflow.run("-n", "--configfile", study.config_file)
    assert done.returncode == 0, done.stdout
    assert not (workflow.folder / "results").exists()


DELETED = {
    "shards of gathered stages": ["stages/*/*/shard-*.nc"],
    "all stages of a finished study": ["stages"],
    "an evaluation": ["base/metrics.json"],
    "predictions": ["base/metrics.json", "stages/predict/*/data.nc"],
    "pairs and an evaluation": ["estimated/metrics.json", "stages/encode/*/data.nc"],
    "a stage whole": ["*/metrics.json", "stages/upsample"],
    "the summary": ["summary.csv"],
}


@pytest.mark.parametrize("patterns", DELETED.values(), ids=DELETED)
def test_what_is_missing_is_what_snakemake_would_make(copied_study, study, job_counts, patterns):
    for pattern in patterns:
        found = list((copied_study.folder / "results/tiny").glob(pattern))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = copied_study.run("-n", "--configfile", study.config_file)
    assert done.returncode == 0, done.stdout
    planned = job_counts(done.stdout)
    planned.pop("all", None)
    assert unfinished(copied_study.folder) == planned


def test_a_failed_job_is_shown_with_its_last_lines(copied_study, study, capsys, monkeypatch):
    (small,) = (copied_study.folder / "results/tiny").glob("stages/simulate/*/data.nc")
    small.write_bytes(small.read_bytes()[:-1000])
    done = copied_study.run("--cores", "2", "--configfile", study.config_file)
    assert done.returncode != 0
    monkeypatch.chdir(copied_study.folder)
    assert main(["status", "tiny", "--lines", "2"]) == 0
    printed = capsys.readouterr().out
    status = study_status(Path("tiny"))
    failed = [job for job in status.jobs if job.state == "failed"]
    assert {job.job.rule for job in failed} == {"upsample", "evolve"}
    for job in failed:
        lines = job.job.log.read_text(encoding="utf-8").split("\n")
        last = [line for line in lines if line.strip()][-2:]
        expected = "\n".join(f"    {line.rstrip()}" for line in last)
        assert f"{job.job.log}\n{expected}\n" in printed
    command = f"snakemake --cores 2 --configfile {study.config_file}"
    assert f"To go on, once Snakemake has ended: {command}" in printed
