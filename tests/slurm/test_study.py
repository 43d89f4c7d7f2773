"""A study from end to end by ``snakemake --profile slurm``: as by a local run, and on GPUs."""

from __future__ import annotations

import os
import shutil

import pytest

from . import cluster
from .conftest import Workflow
from .systems import Burdened

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

# What each script adds to a file at its end: its rule, and the GPUs that its job saw.
WITNESS = """
import os

with open("devices.txt", "a") as file:
    file.write(f"{snakemake.rule} [{os.environ.get('CUDA_VISIBLE_DEVICES', '')}]\\n")
"""
RULES = {
    "simulate",
    "reference",
    "upsample",
    "evolve",
    "gather",
    "closure",
    "encode",
    "dynamics",
    "predict",
    "evaluate",
    "trained_model",
    "error_against_size",
    "covariance_factors",
    "costs",
    "summarise",
}


def gpus_by_rule(workflow: Workflow) -> dict[str, set[str]]:
    """The GPUs that the jobs of each rule asked SLURM for."""
    found: dict[str, set[str]] = {}
    for job, name in workflow.jobs():
        gpus = cluster.describe(job).get("TresPerJob", "gres:gpu:0").removeprefix("gres:gpu:")
        found.setdefault(name.split()[0], set()).add(gpus)
    return found


def witnesses(workflow: Workflow) -> set[str]:
    return set((workflow.folder / "devices.txt").read_text(encoding="utf-8").split("\n")) - {""}


@pytest.fixture
def expected_gpus(workflow) -> dict[str, str]:
    """Of each rule, what it asks for where the study says cuda: sampling as the system can."""
    sampled = "1" if "cuda" in Burdened.devices else "0"
    asked = {"closure": "1", "dynamics": "1", "predict": "1"}
    asked |= {"upsample": sampled, "evolve": sampled}
    return {rule: asked.get(rule, "0") for rule in RULES}


def test_study_on_gpus_has_the_bits_of_a_local_run(workflow, local, same_as_local, expected_gpus):
    for script in (workflow.folder / "scripts").glob("*.py"):
        script.write_text(script.read_text(encoding="utf-8") + WITNESS, encoding="utf-8")
    workflow.edit("execution", device="cuda")
    workflow.run()
    paths = [
        path.relative_to(local.folder)
        for pattern in ("data.nc", "model.safetensors", "metrics.json")
        for path in local.results.rglob(pattern)
    ]
    # Six stages have data, two a network, whose copies the run's trained model holds.
    assert len(paths) == 6 + 2 + 2 + 1
    # The GPUs are none: what is trained, is trained on the CPU, with a line that says so.
    same_as_local(workflow, *paths)
    for log in workflow.results.glob("stages/dynamics/*/logs/*.log"):
        assert "computing on the CPU" in log.read_text(encoding="utf-8")

    assert gpus_by_rule(workflow) == {rule: {number} for rule, number in expected_gpus.items()}
    for line in witnesses(workflow):
        rule, devices = line.split()
        assert (devices != "[]") == (expected_gpus[rule] == "1"), line
    assert {line.split()[0] for line in witnesses(workflow)} == RULES

    assert "Nothing to be done" in workflow.run()
    workflow.finish(workflow.call("--report", "report.html"))
    assert (workflow.folder / "report.html").stat().st_size > 100_000


def test_a_gpu_is_asked_for_by_its_name_where_the_profile_has_one(workflow, local):
    for path in ("results", ".snakemake"):
        shutil.copytree(local.folder / path, workflow.folder / path)
    workflow.edit("execution", device="cuda")
    script = workflow.folder / "scripts" / "stage.py"
    script.write_text(script.read_text(encoding="utf-8") + WITNESS, encoding="utf-8")
    (model,) = workflow.results.glob("stages/closure/*/model.safetensors")
    model.unlink()
    target = str(model.relative_to(workflow.folder))
    workflow.run(target, "--default-resources", "gpu_gres='gpu:1'")
    ((job, rule),) = workflow.jobs()
    assert rule == "closure"
    asked = cluster.describe(job)
    assert asked["TresPerNode"] == "gres:gpu:1" and "TresPerJob" not in asked
    assert witnesses(workflow) == {"closure [0]"}


def test_a_cluster_that_cannot_do_it_is_refused(workflow, tmp_path, monkeypatch):
    printed = workflow.run("--slurm-status-command", "sacct", succeeds=False)
    assert "set slurm-status-command: squeue in profiles/slurm/config.yaml" in printed
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho '(null)'\n", encoding="utf-8")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    workflow.edit("execution", device="cuda")
    printed = workflow.run(succeeds=False)
    assert "no partition of this cluster has a GPU" in printed
    assert not workflow.jobs()
