"""SIGKILL at random moments: nothing is lost, and the results are the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from macrodyn.storage.models import load_model
from macrodyn.storage.netcdf import read_dataset

CAMPAIGN = Path(__file__).parent / "campaign.py"
LONG = {"simulate", "upsample", "evolve", "closure", "dynamics", "predict", "reference"}
KILLS = 12


def results(folder: Path) -> dict[str, dict[str, bytes]]:
    """What the data and models of a study's stages hold, by their paths."""
    found: dict[str, dict[str, bytes]] = {}
    for path in folder.glob("stages/*/*/data.nc"):
        variables = read_dataset(path).variables
        content = {str(name): v.values.tobytes() for name, v in variables.items()}
        found[str(path.relative_to(folder))] = content
    for path in folder.glob("stages/*/*/model.safetensors"):
        tensors, _ = load_model(path)
        content = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        found[str(path.relative_to(folder))] = content
    return found


@pytest.mark.slow
def test_every_long_job_survives_kills_at_random_moments(tmp_path, tally):
    done = subprocess.run(
        [sys.executable, CAMPAIGN, tmp_path / "c", "--kills", str(KILLS), "--seed", "7"],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    # The campaign stops at the first result that is partial, lost or changed, and says what.
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["job"] for line in lines} == LONG
    for line in lines:
        tally(f"SIGKILL of {line['job']}", KILLS, line["kills"])
    tally("a job twice at once", len(lines), len(lines))
    # Killed in the middle, not always before the first checkpoint.
    assert sum(line["resumed"] for line in lines) > KILLS


def wait_for_lock(workflow, process: subprocess.Popen[str]) -> None:
    """Return once Snakemake has locked its folder, or has ended: before, a kill leaves no trace."""
    locks = workflow.folder / ".snakemake" / "locks"
    deadline = time.monotonic() + 300
    while not any(path.stat().st_size for path in locks.glob("*.output.lock")):
        if process.poll() is not None:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.workflow
def test_a_workflow_killed_with_all_its_jobs_goes_on_to_the_same_bits(study, workflow, tally):
    """Snakemake and its jobs die together, as when a machine loses power, again and again."""
    config = workflow.write_config({**study.config, "runs": {"base": {"baselines": []}}})
    command = ["--cores", "2", "--configfile", config]
    rng = random.Random(3)
    kills = 0
    deadline = time.monotonic() + 600
    while True:
        process = workflow.start(*command, session=True)
        wait_for_lock(workflow, process)
        try:
            # Less and less often: each time some jobs come to their end.
            printed, _ = process.communicate(timeout=rng.uniform(1, 4) + 3 * kills)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            assert time.monotonic() < deadline
            # What the message of the next call says to do.
            refused = workflow.run(*command)
            if "Nothing to be done" in refused.stdout:  # killed between its last job and its end
                break
            assert refused.returncode and "--unlock" in refused.stdout, refused.stdout
            assert workflow.run("--unlock", "--configfile", config).returncode == 0
            continue
        assert process.returncode == 0, printed
        break
    assert kills >= 2
    found = results(workflow.folder / "results" / "tiny")
    assert len(found) == 8
    for path, content in found.items():
        assert content == results(study.results)[path], path
    tally("SIGKILL of Snakemake and all jobs", kills, kills)
