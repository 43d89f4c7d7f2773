"""How far a study is, from folders that are made up: every state, the pace, and the words."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from macrodyn.config.load import load_study
from macrodyn.pipeline.identity import (
    MODEL,
    SUMMARY,
    SummaryOrigin,
    run_identities,
    write_summary_origin,
)
from macrodyn.pipeline.monitor.job_states import JobStatus, job_states
from macrodyn.pipeline.monitor.snakemake_log import SnakemakeLog
from macrodyn.pipeline.monitor.status import StudyStatus, study_folder, study_status
from macrodyn.pipeline.monitor.status_text import duration, status_text
from macrodyn.pipeline.planner import StudyPlan, plan_study
from macrodyn.pipeline.record import RecordError, write_record
from macrodyn.storage.sealed import write_sealed_json

NOW = datetime(2026, 3, 1, 12).timestamp()
FRAMES = [f"  frame {number}" for number in range(20)]
TRACEBACK = ["Traceback (most recent call last):", *FRAMES, "ValueError: no"]
COMMAND = "snakemake --profile slurm --configfile my.yaml"
# What is proposed for one run.
ANALYSES = ("error_against_size", "covariance_factors", "costs")


class Folder:
    """A study's folder, to fill with outputs and logs; times are in seconds before now."""

    def __init__(self, path: Path, plans: StudyPlan) -> None:
        self.path, self.plans = path, plans
        (plan,) = list(plans.values())[:1]
        self.stages = {
            "simulate": plan["small"],
            "upsample": plan["snapshots"],
            "closure": plan["closure"],
            "reference": plan["reference"],
            "evolve": plan["pairs/ours"],
            "encode": plan["latents/ours"],
            "dynamics": plan["model/ours"],
            "predict": plan["prediction/ours/transient"],
        }

    def at(self, stage: str) -> Path:
        return self.path / self.stages[stage].folder

    def output(self, path: Path, ago: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (NOW - ago, NOW - ago))

    def metrics(self, run: str, ago: float) -> Path:
        """Write a run's figures."""
        path = self.path / run / "metrics.json"
        identity = run_identities(self.plans)[run]
        write_sealed_json(path, {"run": run, "identity": identity})
        os.utime(path, (NOW - ago, NOW - ago))
        return path

    def model(self, run: str, identity: str = "") -> None:
        """Write what says which configuration the trained model of a run is of."""
        trained = self.plans[run].trained
        assert trained is not None
        path = self.path / run / MODEL
        write_sealed_json(path, {"identity": identity or trained.key})
        os.utime(path.parent, (NOW - 5, NOW - 5))

    def finish(self) -> None:
        """Write what a finished study keeps when its stages are deleted."""
        for run in self.plans:
            self.metrics(run, ago=5)
            (self.path / run / "figures").mkdir()
            self.model(run)
        for name in self.plans.analyses:
            self.output(self.path / "analyses" / name / "findings.json", ago=5)
            (self.path / "analyses" / name / "figures").mkdir()
        for name in (
            "summary.csv",
            "overview.html",
            "configuration.html",
            "provenance.html",
            "pages/study/01-a.html",
            "pages/runs/only/01-a.html",
        ):
            self.output(self.path / name, ago=5)
        self.summary(run_identities(self.plans))

    def summary(self, runs: dict[str, str], missing: dict[str, str] | None = None) -> None:
        """Write what the summary was made from."""
        analyses = {name: stage.key for name, stage in self.plans.analyses.items()}
        origin = SummaryOrigin(runs, missing or {}, analyses=analyses)
        write_summary_origin(self.path / SUMMARY, origin)

    def log(self, path: Path, *lines: tuple[float, str], touched: float | None = None) -> None:
        """Write a log of lines, each with its age; the last one's is the file's if not given."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = ""
        for ago, line in lines:
            stamp = datetime.fromtimestamp(NOW - ago).isoformat(" ", "milliseconds")
            text += f"{stamp.replace('.', ',')} {line}\n"
        path.write_text(text, encoding="utf-8")
        last = NOW - (lines[-1][0] if touched is None else touched)
        os.utime(path, (last, last))

    def shard(self, stage: str, number: int, *lines: tuple[float, str], **options: float) -> None:
        """Write a shard's log, without its output."""
        name = f"shard-{number}-of-{self.stages[stage].shards}"
        first = (lines[0][0] if lines else 0.0, f"rule {stage} starts with 1 thread(s)")
        self.log(self.at(stage) / "logs" / f"{name}.log", first, *lines, **options)

    def finished(self, stage: str, number: int, ago: float, seconds: float) -> None:
        """A shard with its output and the log of a job that took so long."""
        name = f"shard-{number}-of-{self.stages[stage].shards}"
        self.output(self.at(stage) / f"{name}.nc", ago)
        self.log(
            self.at(stage) / "logs" / f"{name}.log",
            (ago + seconds, f"rule {stage} starts with 1 thread(s)"),
            (ago, f"done in {seconds} s"),
        )

    def status(self) -> StudyStatus:
        jobs = tuple(job_states(self.path, self.plans, NOW))
        return StudyStatus("made-up", self.path, jobs, COMMAND, NOW)

    def states(self, rule: str, stage: str | None = None) -> list[str]:
        return [
            found.state
            for found in self.status().jobs
            if found.job.rule == rule and stage in (None, found.job.stage.name)
        ]


@pytest.fixture
def make_folder(make_run, tmp_path) -> Callable[..., Folder]:
    """Make the folder of a study of one run, or of more, in so many simulation shards."""

    def make(simulate: int = 3, runs: dict[str, Any] | None = None) -> Folder:
        shards = {"simulate": simulate, "upsample": 1, "evolve": 1, "reference": 1}
        base = make_run({"baselines": [], "execution": {"shards": shards}}).model_dump(mode="json")
        study = load_study({**base, "study": "made-up", "runs": runs or {"only": {}}})
        return Folder(tmp_path / "results" / "made-up", plan_study(study))

    return make


@pytest.fixture
def folder(make_folder) -> Folder:
    return make_folder()


def test_of_a_study_that_never_ran_every_job_waits(folder):
    status = folder.status()
    assert {job.state for job in status.jobs} == {"waiting"}
    assert Counter(job.job.rule for job in status.jobs) == {
        "simulate": 3,
        "upsample": 1,
        "evolve": 1,
        "reference": 1,
        "gather": 4,
        "closure": 1,
        "encode": 1,
        "dynamics": 1,
        "predict": 1,
        "evaluate": 1,
        "trained_model": 1,
        **dict.fromkeys(ANALYSES, 1),
        "summarise": 1,
    }
    assert status.pace().left is None and status.pace().unknown == 20


READING = (30, "reading")
STATES: dict[str, Callable[[Folder], None]] = {
    "done": lambda it: it.finished("simulate", 0, ago=100, seconds=20),
    "running": lambda it: it.shard("simulate", 0, READING),
    "failed": lambda it: it.shard("simulate", 0, READING, (20, "failed after 3.0 s")),
    "stopped": lambda it: it.shard("simulate", 0, READING, (20, "stopped by SIGTERM: step 3")),
    "lost": lambda it: it.shard("simulate", 0, READING, touched=61),
}


@pytest.mark.parametrize(("state", "make"), STATES.items(), ids=STATES)
def test_a_shard_has_the_state_that_its_files_tell(folder, state, make):
    make(folder)
    assert folder.states("simulate") == [state, "waiting", "waiting"]


def test_a_heartbeat_keeps_a_job_alive_that_has_nothing_to_say(folder):
    folder.shard("simulate", 0, (5000, "reading"), touched=9)
    assert folder.states("simulate")[0] == "running"


def test_an_output_newer_than_its_log_is_done(folder):
    folder.shard("simulate", 0, (500, "failed after 3.0 s"))
    folder.output(folder.at("simulate") / "shard-0-of-3.nc", ago=400)
    folder.shard("simulate", 1, (500, "reading"))
    folder.output(folder.at("simulate") / "shard-1-of-3.nc", ago=600)
    assert folder.states("simulate") == ["done", "lost", "waiting"]


def test_an_output_without_a_log_is_done(folder):
    folder.output(folder.at("reference") / "shard-0-of-1.nc", ago=5)
    assert folder.states("reference") == ["done"]


def test_a_finished_job_whose_output_was_deleted_waits(folder):
    folder.finished("simulate", 0, ago=10, seconds=1)
    (folder.at("simulate") / "shard-0-of-3.nc").unlink()
    assert folder.states("simulate") == ["waiting"] * 3


def test_a_model_without_its_description_is_not_done(folder):
    for stage in ("simulate", "upsample"):
        folder.output(folder.at(stage) / "data.nc", ago=50)
    for name in ("model.safetensors", "training.json"):
        folder.output(folder.at("closure") / name, ago=5)
    assert folder.states("closure") == ["waiting"]
    folder.output(folder.at("closure") / "model.json", ago=5)
    assert folder.states("closure") == ["done"]


def test_shards_of_a_gathered_stage_are_not_missed(folder):
    folder.output(folder.at("simulate") / "data.nc", ago=5)
    assert folder.states("simulate") == ["done"] * 3
    assert folder.states("gather", "simulate") == ["done"]
    assert folder.states("gather", "upsample") == ["waiting"]


def test_stages_that_no_unfinished_run_needs_are_not_missed(make_folder):
    """Two runs share all but the dynamics; of one only the metrics were kept."""
    folder = make_folder(runs={"one": {}, "two": {"dynamics": {"steps": 30}}})
    one, two = (folder.plans[run].stages() for run in ("one", "two"))
    for stage, key in one.keys() & two.keys():
        files = ("model.safetensors", "model.json", "training.json")
        for name in files if stage == "closure" else ("data.nc",):
            folder.output(folder.path / "stages" / stage / key / name, ago=50)
    folder.metrics("one", ago=5)
    folder.model("one")

    def missed() -> set[tuple[str, str]]:
        jobs = (found.job for found in folder.status().jobs if found.state != "done")
        return {job.id for job in jobs if job.stage.kind.place == "digest"}

    assert missed() == two.keys() - one.keys()
    assert {stage for stage, _ in missed()} == {"dynamics", "predict"}
    folder.metrics("two", ago=5)
    folder.model("two")
    assert missed() == set()


def test_what_reads_an_unfinished_stage_waits_for_it(folder):
    """It will be made again, as what it reads is newer then."""
    for stage in ("simulate", "upsample", "evolve", "reference", "encode", "predict"):
        folder.output(folder.at(stage) / "data.nc", ago=50)
    for stage in ("closure", "dynamics"):
        for name in ("model.safetensors", "model.json", "training.json"):
            folder.output(folder.at(stage) / name, ago=50)
    assert {job.job.rule for job in folder.status().jobs if job.state != "done"} == {
        "evaluate",
        "trained_model",
        *ANALYSES,
        "summarise",
    }
    folder.shard("evolve", 0, READING)
    assert folder.states("evolve") == ["running"]
    assert folder.states("gather", "evolve") == ["waiting"]
    assert folder.states("gather", "upsample") == ["done"]
    for rule in ("encode", "dynamics", "predict"):
        assert folder.states(rule) == ["waiting"]
    assert folder.states("closure") == ["done"]


def test_an_empty_log_belongs_to_a_job_that_has_not_begun(folder):
    log = folder.at("simulate") / "logs/shard-0-of-3.log"
    for age in (5, 5000):
        folder.log(log, touched=age)
        assert folder.states("simulate")[0] == "waiting"


def slurm_log(folder: Folder, text: str, ago: float) -> Path:
    """Write SLURM's log of the first shard's job."""
    key = folder.stages["simulate"].key
    root = folder.path.absolute().parent.parent
    path = root / ".snakemake/slurm_logs/rule_simulate" / f"{key}_0_3" / "7.log"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW - ago, NOW - ago))
    return path


LIMIT = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T11:50:00 DUE TO TIME LIMIT ***"


@pytest.mark.parametrize("lines", [[], [READING]], ids=["not begun", "killed"])
def test_a_job_whose_end_only_slurm_knows_has_failed_with_slurms_words(folder, lines):
    if lines:
        folder.shard("simulate", 0, *lines, touched=3000)
    else:
        folder.log(folder.at("simulate") / "logs/shard-0-of-3.log", touched=3000)
    path = slurm_log(folder, f"Provided cores: 1\n{LIMIT}\n", ago=10)
    found = folder.status().jobs[0]
    assert (found.state, found.reasons, found.told_by) == ("failed", (LIMIT,), path)
    text = status_text(folder.status())
    assert f":\n    {path}\n    {LIMIT}\n" in text and "without a word" not in text
    # That of an earlier attempt says nothing of this one.
    os.utime(path, (NOW - 4000, NOW - 4000))
    assert folder.states("simulate")[0] == ("lost" if lines else "waiting")


def test_a_full_disk_is_told_as_the_job_told_it(folder):
    """The log of a job on a full disk is empty, but touched as long as the job lives."""
    folder.log(folder.at("simulate") / "logs/shard-0-of-3.log", touched=70)
    reason = "a.nc cannot be written: the disk is full (0.0 of 8 MiB left)"
    slurm_log(folder, f"rule simulate: {reason} (log: a.log)\nRuleException:\n", ago=60)
    assert folder.status().jobs[0].reasons == (reason,)


def test_a_job_that_sbatch_refused_has_failed_as_snakemake_says(folder):
    log = folder.at("simulate") / "logs/shard-0-of-3.log"
    folder.log(log, touched=100)
    failures = {str(log.absolute().relative_to(folder.path.absolute().parent.parent)): "no account"}

    def told(at: float) -> JobStatus:
        snakemake = SnakemakeLog(NOW - at, failures)
        return job_states(folder.path, folder.plans, NOW, snakemake=snakemake)[0]

    assert (told(at=99).state, told(at=99).reasons) == ("failed", ("no account",))
    # An earlier run of Snakemake says nothing of a job that was sent after it.
    assert told(at=300).state == "waiting"
    # Nor does it of one that is under way.
    folder.shard("simulate", 0, READING)
    assert told(at=20).state == "running"


def gathered(folder: Folder, stage: str, shards: int, ago: float) -> None:
    """A gathered stage of so many shards."""
    folder.output(folder.at(stage) / "data.nc", ago)
    log = folder.at(stage) / "logs/gather.log"
    lines = [f"gathering {shards} shard(s)", "done in 1.0 s"]
    folder.log(log, (ago, "rule gather starts with 1 thread(s)"), *((ago, line) for line in lines))


def test_a_stage_that_was_cut_otherwise_is_not_made_again(folder):
    """As in Snakemake, whose gathering asks for the shards that it was gathered from."""
    folder.finish()
    for stage in ("simulate", "upsample", "evolve", "reference"):
        gathered(folder, stage, folder.stages[stage].shards, ago=50)
    assert {job.state for job in folder.status().jobs} == {"done"}
    gathered(folder, "simulate", 2, ago=50)
    assert {job.state for job in folder.status().jobs} == {"done"}
    assert folder.states("simulate") == ["done"] * 2
    names = [found.job.name for found in folder.status().jobs if found.job.rule == "simulate"]
    assert names == ["shard-0-of-2", "shard-1-of-2"]
    # Of one that is unfinished, the shards of another cut are of no use.
    (folder.at("simulate") / "data.nc").unlink()
    (folder.path / "only" / "metrics.json").unlink()
    for number in range(2):
        folder.output(folder.at("simulate") / f"shard-{number}-of-2.nc", ago=90)
    assert folder.states("simulate") == ["waiting"] * 3
    assert folder.states("gather", "simulate") == ["waiting"]


def test_an_analysis_waits_for_its_runs_and_counts_by_its_outputs(make_folder):
    folder = make_folder(runs={"one": {}, "two": {"dynamics": {"steps": 30}}})
    folder.finish()
    assert folder.states("costs") == folder.states("error_against_size") == ["done"]
    (folder.path / "analyses/costs/findings.json").unlink()
    assert folder.states("costs") == ["waiting"]
    assert folder.states("error_against_size") == ["done"]
    # It reads an analysis that will be made again.
    assert folder.states("summarise") == ["waiting"]
    # The sizes are those of the first run alone, which has no results now.
    (folder.path / "one/metrics.json").unlink()
    assert folder.states("error_against_size") == ["waiting"]


def test_metrics_of_another_configuration_are_not_those_of_this_one(folder):
    folder.finish()
    assert {job.state for job in folder.status().jobs} == {"done"}
    metrics = folder.path / "only" / "metrics.json"
    write_sealed_json(metrics, {"run": "only", "identity": "another"})
    # The stages that the run reads were deleted, and are needed now.
    assert {job.state for job in folder.status().jobs} == {"waiting"}


def test_a_summary_that_lacks_a_run_has_yet_to_be_made(make_folder):
    folder = make_folder(runs={"one": {}, "two": {"dynamics": {"steps": 30}}})
    folder.finish()
    identities = run_identities(folder.plans)
    folder.summary({"one": identities["one"]}, {"two": "no results yet"})
    assert folder.states("summarise") == ["waiting"]
    assert folder.states("evaluate") == ["done", "done"]


def test_a_summary_of_other_analyses_has_yet_to_be_made(make_folder):
    folder = make_folder()
    folder.finish()
    assert folder.states("summarise") == ["done"]
    analyses = dict.fromkeys(folder.plans.analyses, "another")
    write_summary_origin(
        folder.path / SUMMARY, SummaryOrigin(run_identities(folder.plans), {}, analyses=analyses)
    )
    assert folder.states("summarise") == ["waiting"] and folder.states("evaluate") == ["done"]


def test_a_snakemake_that_no_longer_looks_after_its_jobs_is_told(study):
    plan = plan_study(load_study(study))["only"]
    logs = Path("results/made-up") / plan["reference"].folder / "logs"
    stamp = datetime.fromtimestamp(NOW - 1200).isoformat(" ", "milliseconds").replace(".", ",")
    logs.mkdir(parents=True)
    name = f"shard-0-of-{plan['reference'].shards}"
    (logs / f"{name}.log").write_text(f"{stamp} done in 3.0 s\n", encoding="utf-8")
    log = Path(".snakemake/log/2026-03-01T100000.000000.snakemake.log")
    lock = Path(".snakemake/locks/0.output.lock")
    for path in (log, lock):
        path.parent.mkdir(parents=True)
        path.write_text("results/made-up/summary.csv\n", encoding="utf-8")
    os.utime(lock, (NOW - 7000, NOW - 7000))

    def told(silent: float) -> str:
        os.utime(log, (NOW - silent, NOW - silent))
        return " ".join(status_text(study_status("made-up", NOW)).split())

    silence = "Snakemake no longer looks after its jobs, or is gone: it has said nothing for 83 min"
    assert silence in told(5000) and "with --unlock" in told(5000)
    assert "no longer looks" not in told(1100)
    lock.unlink()
    assert "no longer looks" not in told(5000)


def test_the_text_fits_a_terminal(make_folder):
    """But for paths, commands and lines of logs, which are not broken."""
    folder = make_folder(5)
    folder.finished("simulate", 0, ago=100, seconds=0.12345)
    folder.shard("simulate", 1, (30, "failed after 3.0 s"))
    folder.shard("simulate", 2, READING, (20, "stopped by SIGTERM: step 3"))
    folder.shard("simulate", 3, READING, touched=900)
    folder.shard("simulate", 4, READING, (3, "simulating small systems: 3 of 9, 1/s, 6 s left"))
    log = folder.at("simulate") / "logs/shard-4-of-5.log"
    place = "rule simulate starts with 1 thread(s) on node-with-a-long-name, SLURM job 12345678"
    log.write_text(
        log.read_text(encoding="utf-8").replace("rule simulate starts with 1 thread(s)", place),
        encoding="utf-8",
    )
    os.utime(log, (NOW, NOW))
    text = status_text(
        replace(
            folder.status(),
            configuration="studies/of/a/project/my.yaml",
            others=("small-8", "small-16", "published-setting"),
            forgotten=NOW - 5000,
            folder=Path("results/made-up"),
        )
    )
    assert "node-with-a-long-name" in text and "published-setting" in text
    kept = (str(folder.path), COMMAND)
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert [line for line in wide if not any(part in line for part in kept)] == []


def pace_of(folder: Folder, rule: str):
    return folder.status().paces()[rule]


def test_pace_of_one_after_the_other(make_folder):
    folder = make_folder(5)
    for number in range(3):
        folder.finished("simulate", number, ago=100 - 20 * number, seconds=20)
    pace = pace_of(folder, "simulate")
    assert pace.mean == 20 and pace.speed == pytest.approx(1)
    assert pace.per_minute == pytest.approx(3)
    assert pace.left == pytest.approx(2 * 20)


def test_pace_of_two_at_a_time(make_folder):
    folder = make_folder(7)
    for number in range(4):
        folder.finished("simulate", number, ago=100 - 20 * (number // 2), seconds=20)
    pace = pace_of(folder, "simulate")
    assert pace.speed == pytest.approx(2) and pace.per_minute == pytest.approx(6)
    assert pace.left == pytest.approx(3 * 20 / 2)


def test_time_to_start_jobs_counts(make_folder):
    """Jobs of 1 s, one every 5 s: the rest takes 5 s a job, not 1 s."""
    folder = make_folder(7)
    for number in range(5):
        folder.finished("simulate", number, ago=100 - 5 * number, seconds=1)
    pace = pace_of(folder, "simulate")
    assert pace.per_minute == pytest.approx(60 * 5 / 21)
    assert pace.left == pytest.approx(2 * 21 / 5)


def test_a_pause_does_not_count(make_folder):
    folder = make_folder(7)
    folder.finished("simulate", 0, ago=1500, seconds=20)
    for number in (1, 2):
        folder.finished("simulate", number, ago=80 - 20 * number, seconds=20)
    pace = pace_of(folder, "simulate")
    assert pace.per_minute == pytest.approx(3) and pace.left == pytest.approx(4 * 20)


def test_what_is_long_ago_does_not_count_for_the_pace(make_folder):
    folder = make_folder(7)
    for number in range(4):
        folder.finished("simulate", number, ago=90_000, seconds=20)  # four at a time, yesterday
    folder.finished("simulate", 4, ago=10, seconds=20)
    pace = pace_of(folder, "simulate")
    assert pace.speed == pytest.approx(1) and pace.left == pytest.approx(2 * 20)


def test_a_running_job_counts_by_its_progress_else_by_the_mean(make_folder):
    folder = make_folder(3)
    folder.finished("simulate", 0, ago=10, seconds=20)
    folder.shard("simulate", 1, (10, "a: 1 of 9, 1/s, 100 s left"), touched=3)
    folder.shard("simulate", 2, (10, "reading"), touched=3)
    pace = pace_of(folder, "simulate")
    # Of the 100 s of ten seconds ago 90 are left, though the log was touched since.
    assert pace.work == pytest.approx(90 + 10)
    assert pace.longest == pytest.approx(90) and pace.left >= 90


def test_the_study_takes_no_less_than_a_chain_of_its_rules(make_folder):
    folder = make_folder(2)
    for number in range(2):
        folder.finished("simulate", number, ago=300, seconds=60)
    folder.output(folder.at("simulate") / "data.nc", ago=290)
    folder.shard("upsample", 0, (0, "a: 1 of 9, 1/s, 40 s left"))
    folder.log(folder.at("closure") / "logs/closure.log", (0, "a: 1 of 9, 1/s, 30 s left"))
    pace = folder.status().pace()
    assert pace.speed == pytest.approx(2)
    assert pace.work == pytest.approx(70) and pace.left == pytest.approx(70)
    # Of 19 jobs three are done and two run.
    assert pace.unknown == 14


def test_the_text_of_a_study_in_trouble(folder):
    folder.finished("simulate", 0, ago=100, seconds=20)
    folder.shard("simulate", 1, (30, "failed after 3.0 s"))
    log = folder.at("simulate") / "logs/shard-1-of-3.log"
    log.write_text(
        log.read_text(encoding="utf-8") + "\n".join(TRACEBACK) + "\n\n", encoding="utf-8"
    )
    os.utime(log, (NOW - 30, NOW - 30))
    folder.shard("simulate", 2, (700, "simulate: 3 of 9, 1/s, 6 s left"))
    (folder.at("simulate") / "checkpoint" / "shard-2-of-3").mkdir(parents=True)
    folder.shard("reference", 0, (20, "reference: 3 of 9, 1/s, 6 s left"))
    text = status_text(folder.status(), lines=3)
    assert f"study made-up in {folder.path}\n" in text
    assert "\n1 of 20 jobs done, 1 running, 16 waiting, 1 failed, 1 lost\n" in text
    table = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:1].isalpha()}
    assert table["rule"][:6] == ["jobs", "done", "running", "waiting", "failed", "lost"]
    assert table["simulate"][:6] == ["3", "1", "0", "0", "1", "1"]
    key = folder.stages["simulate"].key
    reference = folder.stages["reference"].key
    assert f"  reference {reference} shard 0 of 1, 20 s: reference: 3 of 9" in text
    failed = text[text.index("Failed:") : text.index("Lost:")].splitlines()
    # A path that is too long for the line has one of its own.
    assert failed[1:3] == [f"  simulate {key} shard 1 of 3, 30 s ago:", f"    {log}"]
    # The last lines only, not the whole traceback.
    assert failed[3:6] == ["      frame 18", "      frame 19", "    ValueError: no"]
    assert f"simulate {key} shard 2 of 3, 12 min ago, has a checkpoint:\n" in text
    assert f"To go on, once Snakemake has ended: {COMMAND}" in text
    assert "--unlock" not in text


def test_no_lines_of_logs_if_none_are_wanted(folder):
    folder.shard("simulate", 1, (30, "failed after 3.0 s"))
    assert "failed after" not in status_text(folder.status(), lines=0)
    assert "failed after" in status_text(folder.status(), lines=1)


def test_the_text_says_what_it_does_not_know(make_folder):
    folder = make_folder(4)
    text = status_text(folder.status())
    assert "\n21 jobs of unknown length\n" in text and f"To run it: {COMMAND}" in text
    folder.finished("simulate", 0, ago=100, seconds=20)
    text = status_text(folder.status())
    assert "\n3 jobs a minute; at least 60 s left; 17 jobs of unknown length\n" in text


def test_the_text_of_many_jobs_stays_short(folder):
    folder.shard("simulate", 0, (30, "a: 1 of 9, 1/s, 8 s left"))
    running = next(job for job in folder.status().jobs if job.state == "running")
    text = status_text(StudyStatus("s", folder.path, (running,) * 50, COMMAND, NOW))
    assert text.count("a: 1 of 9") == 20 and "\n  ... and 30 more\n" in text
    assert f"If Snakemake was ended, go on with: {COMMAND}" in text
    failed = JobStatus(running.job, "failed", running.log)
    text = status_text(StudyStatus("s", folder.path, (failed,) * 50, COMMAND, NOW))
    assert text.count(str(running.job.log)) == 10 and "\n  ... and 40 more\n" in text


def test_the_text_of_a_finished_study(folder):
    folder.finish()
    text = status_text(folder.status())
    assert "20 of 20 jobs done\n" in text
    assert text.endswith(f"All done: macrodyn summary {folder.path}")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda it: it.write_bytes(it.read_bytes()[:-9]), "no seal at its end"),
    "empty": (lambda it: it.write_bytes(b""), "no seal at its end"),
    "changed": (lambda it: it.write_bytes(it.read_bytes().replace(b"only", b"onle")), "damaged"),
    "a folder": (lambda it: (it.unlink(), it.mkdir()), "Is a directory"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("logged", [True, False], ids=["logged", "without a log"])
def test_figures_that_cannot_be_read_are_not_done(folder, damage, reason, logged):
    folder.finish()
    if logged:
        folder.log(folder.path / "only/logs/evaluate.log", (9, "done in 3.0 s"))
    metrics = folder.path / "only" / "metrics.json"
    damage(metrics)
    assert folder.states("evaluate") == ["failed"]
    # The stages that the evaluation reads were deleted: they are made again, and the summary.
    assert {job.state for job in folder.status().jobs} == {"failed", "waiting"}
    text = status_text(folder.status())
    failed, remove, *_ = text[text.index("Failed:") :].split("\n    rm -r ")
    failed = " ".join(failed.split())
    assert failed.startswith(f"Failed: evaluate only: {metrics} cannot be read (")
    assert reason in failed and failed.endswith("; remove it before you go on:")
    assert remove.splitlines()[0] == str(metrics)
    assert text.endswith(f"To go on, once Snakemake has ended: {COMMAND}")


def test_a_trained_model_of_another_configuration_has_yet_to_be_written(folder):
    folder.finish()
    assert folder.states("trained_model") == ["done"]
    folder.model("only", identity="0123456789ab")
    assert folder.states("trained_model") == ["waiting"]
    # The stages that it is written from were deleted: they are made again, and what follows.
    assert {job.state for job in folder.status().jobs} == {"waiting"}
    folder.model("only")
    assert {job.state for job in folder.status().jobs} == {"done"}


def test_figures_that_cannot_be_read_count_as_missing_for_what_else_is_made(make_folder):
    folder = make_folder(runs={"one": {}, "two": {"dynamics": {"steps": 30}}})
    folder.finish()
    metrics = folder.path / "two" / "metrics.json"
    metrics.write_bytes(b"{}")
    damaged = [job.state for job in folder.status().jobs]
    metrics.unlink()
    missing = [job.state for job in folder.status().jobs]
    assert [state.replace("failed", "waiting") for state in damaged] == missing
    assert Counter(damaged)["failed"] == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (7200, "2.0 h"), (4e5, "4.6 d")],
)
def test_durations_are_in_the_unit_that_suits_them(seconds, words):
    assert duration(seconds) == words


@pytest.fixture
def study(make_run, tmp_path, monkeypatch) -> dict[str, Any]:
    """A study's configuration, and a working folder that holds its record."""
    config = {**make_run().model_dump(mode="json"), "study": "made-up", "runs": {"only": {}}}
    monkeypatch.chdir(tmp_path)
    write_record(Path("results/made-up"), config, ["--profile", "slurm"])
    Path("my.yaml").write_text(json.dumps(config), encoding="utf-8")
    return config


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ("made-up", "snakemake --profile slurm"),
        ("results/made-up", "snakemake --profile slurm"),
        ("my.yaml", "macrodyn run my.yaml"),
    ],
    ids=["name", "folder", "configuration"],
)
def test_a_study_is_found_by(study, given, command):
    status = study_status(Path(given), NOW)
    assert status.name == "made-up" and status.folder == Path("results/made-up")
    assert status.command == command
    assert {job.state for job in status.jobs} == {"waiting"}


def test_a_lock_on_the_study_is_told_and_one_on_another_is_not(study):
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/other/summary.csv\n", encoding="utf-8")
    assert not study_status(Path("made-up"), NOW).locked
    (locks / "1.output.lock").write_text("results/made-up/summary.csv\n", encoding="utf-8")
    text = status_text(study_status(Path("made-up"), NOW))
    assert "If Snakemake was ended, go on with: snakemake" in text
    assert "if no Snakemake runs there: first the same with --unlock" in text


def test_a_study_that_is_not_there_is_said_not_to_be(study):
    with pytest.raises(FileNotFoundError, match="there is no study other: give its configuration"):
        study_status(Path("other"))


def test_a_folder_without_a_record_asks_for_the_configuration(study, tmp_path):
    Path("results/made-up/study.json").unlink()
    with pytest.raises(RecordError, match="name the configuration instead"):
        study_status(Path("made-up"))
    assert study_status(Path("my.yaml")).name == "made-up"


def test_a_study_of_a_system_that_is_not_installed_here_has_a_status(study):
    """Its folder may have been copied from where it ran."""
    study["system"] = {"name": "no_such_package:System", "parameters": {}}
    write_record(Path("results/made-up"), study, [])
    assert study_status(Path("made-up")).jobs


def test_a_record_of_a_wrong_configuration_says_what_to_do(study):
    write_record(Path("results/made-up"), {**study, "seed": "x"}, [])
    with pytest.raises(RecordError) as refusal:
        study_status(Path("made-up"))
    first, key, remedy = str(refusal.value).splitlines()
    assert first == "results/made-up/study.json is wrong:"
    assert key == "  seed: must be a whole number, not 'x'"
    assert remedy == (
        "The next run writes it anew; name the configuration instead (macrodyn status CONFIG.yaml)"
    )


@pytest.mark.parametrize("given", ["made-up", "results/made-up", "my.yaml"])
def test_a_studys_folder_is_found_by(study, given):
    assert study_folder(Path(given)) == Path("results/made-up")
