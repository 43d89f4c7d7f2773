"""Before any job, Snakemake says if the cluster cannot do it, or not tell how it ends."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.slurm import gpu_problem, read_gpus, read_settings, status_problem

# AccountingStorageType, MinJobAge and slurm-status-command, with words of the message.
CASES = {
    "accounts and the default age": ("slurmdbd", 300, "squeue", None),
    "no accounts and the default age": ("none", 300, "squeue", None),
    "accounts and sacct": ("slurmdbd", 300, "sacct", None),
    "no accounts and sacct": ("none", 300, "sacct", "set slurm-status-command: squeue"),
    "accounts and a short age": ("slurmdbd", 150, "squeue", "set slurm-status-command: sacct"),
    "accounts and an age that the plugin minds": ("slurmdbd", 60, "squeue", None),
    "no accounts and a short age": ("none", 150, "squeue", "MinJobAge = 300 or more"),
    "no accounts and a very short age": ("none", 2, "squeue", "MinJobAge = 300 or more"),
    "accounts and sacct at a short age": ("slurmdbd", 2, "sacct", None),
}
PRINTED = """\
Configuration data as of 2026-01-01T00:00:00
AccountingStorageTRES   = cpu,mem,energy,node
AccountingStorageType   = accounting_storage/{accounts}
MinJobAge               = {age} sec
"""


@pytest.mark.parametrize(("accounts", "age", "command", "words"), CASES.values(), ids=CASES)
def test_status_command_suits_the_cluster_or_the_key_is_named(accounts, age, command, words):
    problem = status_problem(PRINTED.format(accounts=accounts, age=age), command, 40)
    if words is None:
        assert problem is None
    else:
        assert words in problem


def test_a_cluster_that_does_not_answer_is_left_to_snakemake(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert read_settings() == "" and read_gpus() == ""
    assert status_problem("", "squeue", 40) is None
    assert gpu_problem("") is None


# What sinfo prints, a line for each partition, and whether one of them has GPUs.
GRES = {
    "none": ("(null)\n(null)\n", False),
    "other things": ("craynetwork:4\n(null)\n", False),
    "in one partition": ("(null)\ngpu:2\n", True),
    "by their name": ("gpu:a100:4(S:0-1)\n", True),
    "beside other things": ("lustre:1,gpu:v100:2\n", True),
}


@pytest.mark.parametrize(("printed", "has"), GRES.values(), ids=GRES)
def test_a_cluster_without_gpus_is_told_by_what_sinfo_prints(printed, has):
    problem = gpu_problem(printed)
    assert (problem is None) == has
    assert has or "set execution.device: cpu" in problem
