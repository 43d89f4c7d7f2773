"""Whether jobs can run on a SLURM cluster, and Snakemake can learn how they end."""

from __future__ import annotations

import re
import subprocess

# Longest time between two looks of Snakemake at its jobs, in seconds, and some more.
_LONGEST_PAUSE = 200
_PROFILE = "profiles/slurm/config.yaml"


def read_settings() -> str:
    """Return what ``scontrol show config`` prints, nothing where SLURM does not answer."""
    return _printed("scontrol", "show", "config")


def read_gpus() -> str:
    """Return what ``sinfo`` prints of the partitions' generic resources, a line for each."""
    return _printed("sinfo", "--noheader", "--format=%G")


def gpu_problem(gres: str) -> str | None:
    """Say why no job would get the GPU that it asks for, if none would.

    Args:
        gres: The generic resources of the partitions, as `read_gpus` returns them.

    Returns:
        A message that names the key to change, or None.
    """
    if not gres.strip() or re.search(r"\bgpu\b", gres):
        return None
    return (
        "execution.device is cuda, but no partition of this cluster has a GPU (sinfo -o %G shows "
        "none): set execution.device: cpu, or run where there is one"
    )


def _printed(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def status_problem(settings: str, command: str | None, first_look: int) -> str | None:
    """Say why Snakemake would wait for its jobs for ever, if it would.

    ``squeue`` knows a job for ``MinJobAge`` seconds after its end, ``sacct`` only where the cluster
    keeps accounts. The executor plugin takes ``sacct`` instead of ``squeue`` where ``MinJobAge``
    is below three times its first look.

    Args:
        settings: What ``scontrol show config`` prints.
        command: The profile's ``slurm-status-command``.
        first_look: The profile's ``slurm-init-seconds-before-status-checks``.

    Returns:
        A message that names the key to change, or None.
    """
    found = dict(re.findall(r"^(\w+)\s*= *(.*?) *$", settings, re.MULTILINE))
    accounts = found.get("AccountingStorageType", "")
    age = re.match(r"\d+", found.get("MinJobAge", ""))
    if not accounts or age is None:
        return None
    accounted, seconds = not accounts.endswith("/none"), int(age[0])
    if command == "sacct" and not accounted:
        return (
            "sacct does not know jobs on this cluster, which keeps no accounts "
            f"(AccountingStorageType = {accounts}): set slurm-status-command: squeue in {_PROFILE}"
        )
    if command == "squeue" and seconds < max(_LONGEST_PAUSE, 3 * first_look):
        forgets = f"squeue forgets jobs {seconds} s after their end (MinJobAge = {seconds})"
        if not accounted:
            return (
                f"{forgets}, and this cluster keeps no accounts (AccountingStorageType = "
                f"{accounts}): ask its administrators for MinJobAge = 300 or more"
            )
        if seconds >= 3 * first_look:
            return f"{forgets}: set slurm-status-command: sacct in {_PROFILE}"
    return None
