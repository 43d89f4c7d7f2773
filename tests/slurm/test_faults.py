"""Whatever ends a job, only what is missing is made again, and the results have the same bits."""

from __future__ import annotations

import os
import re
import signal

import pytest

from . import cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

# Seconds that a step takes in jobs that shall be hit: a shard has 64 steps.
SLOW = 1.0


def asked_for(workflow, resource: str, name: str) -> list[str]:
    """What a job's attempts asked for, one after the other."""
    return [cluster.describe(job)[resource] for job, named in workflow.jobs() if named == name]


def submitted(workflow) -> list[str]:
    return [name for _, name in workflow.jobs()]


def continued_from(workflow, number: int) -> int:
    """The step from which a job went on."""
    (step,) = re.findall(r"continuing from step (\d+)", workflow.log(number))
    return int(step)


def test_an_outage_loses_no_job_and_only_a_cancelled_one_is_made_again(workflow, same_as_local):
    workflow.burden(seconds=SLOW)
    run = workflow.start(workflow.reference, "--retries", "0")
    workflow.wait_for_steps(0, 1)
    for number, daemon in enumerate(("munged", "slurmctld"), start=1):
        with cluster.outage(daemon):
            workflow.wait_for_words("SLURM does not answer", number)
        workflow.wait_for_words("SLURM answers again", number)
    workflow.burden(seconds=SLOW / 4)
    cancelled = workflow.job(1)
    cluster.slurm("scancel", cancelled)
    printed = workflow.finish(run, succeeds=False)
    assert f"'{cancelled}' failed, SLURM status is: 'CANCELLED'" in printed
    assert workflow.shard(0).exists() and not workflow.shard(1).exists()
    finished = workflow.shard(0).stat().st_mtime

    workflow.burden()
    before = len(workflow.jobs())
    workflow.run(workflow.reference)
    assert submitted(workflow)[before:] == ["reference 1", "gather"]
    assert workflow.shard(0).stat().st_mtime == finished
    same_as_local(workflow, workflow.reference)


def test_a_job_over_its_time_limit_goes_on_with_a_longer_one(workflow, same_as_local):
    workflow.burden(seconds=SLOW)
    shard = workflow.reference.replace("data", "shard-0-of-2")
    limit, sooner = "reference:runtime=attempt", "slurm_extra='--signal=TERM@30'"
    run = workflow.start(shard, "--set-resources", limit, "--default-resources", sooner)
    cluster.wait_until(lambda: "stopped by SIGTERM" in workflow.log(0), "SIGTERM", 90)
    workflow.burden()
    printed = workflow.finish(run)
    assert "SLURM status is: 'TIMEOUT'" in printed
    assert asked_for(workflow, "TimeLimit", "reference 0") == ["00:01:00", "00:02:00"]
    assert continued_from(workflow, 0) > 1
    same_as_local(workflow, shard)


@pytest.fixture
def slow_job(workflow):
    """One slow job on its way: the run, its shard, its number, its node."""
    workflow.burden(seconds=SLOW)
    shard = workflow.reference.replace("data", "shard-0-of-2")
    run = workflow.start(shard)
    workflow.wait_for_steps(0)
    job = workflow.job(0)
    return run, shard, job, cluster.describe(job)["NodeList"]


def test_a_preempted_job_goes_on_under_its_number(workflow, same_as_local, slow_job):
    run, shard, job, node = slow_job
    cluster.slurm("sbatch", "-p", "urgent", "-w", node, "-c", "4", "--wrap", "sleep 15")
    cluster.wait_until(lambda: "stopped by SIGTERM" in workflow.log(0), "SIGTERM", 30)
    workflow.burden()
    workflow.finish(run)
    again = cluster.describe(job)
    assert (again["JobState"], again["Restarts"]) == ("COMPLETED", "1")
    assert continued_from(workflow, 0) > 1
    same_as_local(workflow, shard)


def test_the_job_of_a_failed_node_goes_to_another(workflow, same_as_local, slow_job):
    run, shard, job, node = slow_job
    cluster.fail_node(node)
    workflow.burden()
    workflow.finish(run)
    again = cluster.describe(job)
    assert (again["JobState"], again["Restarts"]) == ("COMPLETED", "1")
    assert again["NodeList"] != node
    same_as_local(workflow, shard)


def test_only_a_job_over_its_memory_comes_back_with_more(workflow, same_as_local, full_disk):
    full_disk(workflow.results / "stages" / "simulate")
    workflow.burden(megabytes=900, seconds=SLOW / 10)
    shard = workflow.reference.replace("data", "shard-0-of-2")
    limits = ("--retries", "1", "--set-resources", "reference:mem_mb=900*attempt")
    printed = workflow.run(shard, workflow.simulated, *limits, succeeds=False)
    assert re.search(r"SLURM status is: '(OUT_OF_MEMORY|FAILED)'", printed)
    assert asked_for(workflow, "MinMemoryNode", "reference 0") == ["900M", "1800M"]
    same_as_local(workflow, shard)
    # A full disk leaves the job's log empty, and is no reason to ask for more.
    assert asked_for(workflow, "MinMemoryNode", "simulate") == ["4000M"] * 2
    assert asked_for(workflow, "TimeLimit", "simulate") == ["01:00:00"] * 2
    assert printed.count("left no reason in its own log") == 1
    assert re.search(r"^    .* the disk is full .*: make room", printed, re.M)


def test_snakemake_is_killed_and_started_again(workflow, same_as_local):
    workflow.burden(seconds=SLOW / 4)
    run = workflow.start(workflow.reference)
    workflow.wait_for_steps(0, 1)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    # One job goes on without Snakemake to its end; the other is cancelled, as the guide says.
    cluster.slurm("scancel", workflow.job(1))
    workflow.burden()
    cluster.wait_until(lambda: not cluster.jobs(cluster.ACTIVE), "the other job to end")
    finished = workflow.shard(0).stat().st_mtime

    printed = workflow.run(workflow.reference, succeeds=False)
    assert "--unlock" in printed
    workflow.run("--unlock")
    before = len(workflow.jobs())
    workflow.run(workflow.reference)
    assert submitted(workflow)[before:] == ["reference 1", "gather"]
    assert workflow.shard(0).stat().st_mtime == finished
    same_as_local(workflow, workflow.reference)
