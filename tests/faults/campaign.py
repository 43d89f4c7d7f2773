"""Kill the jobs of a small study at random moments, and see that nothing is lost.

``python tests/faults/campaign.py FOLDER --kills 100`` prints one line of JSON a job. Every job is
run by its real script in a process of its own, once undisturbed, and then killed by SIGKILL again
and again: at a moment drawn from the time that it takes, resumed, killed again. After each kill
there must be no result or the whole one; and the result in the end must have the bits of the
undisturbed one. Then the job is run twice at once, in one folder.

The processes are forked from this one, which has loaded all modules and kernels: a kill then falls
into the job's work, not into two seconds of imports.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The one of numba's threading layers that a fork does no harm, chosen before numba is loaded.
os.environ.update(NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="1", OMP_NUM_THREADS="1")

import numpy as np
from numba.np.ufunc import parallel

from macrodyn.lattice import PatchGeometry
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.pipeline import job as job_module
from macrodyn.pipeline.planner import plan_run
from macrodyn.pipeline.stage import Stage
from macrodyn.pipeline.stage_system import described_system
from macrodyn.storage import checkpoints
from macrodyn.storage.models import load_model
from macrodyn.storage.netcdf import read_dataset

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "sizes": {"small": [16, 16], "large": [64, 64]},
    "simulate": {"groups": 12, "replicas": 24, "times": [0, 1, 4, 16, 64]},
    "upsample": {"snapshots": 2, "relaxation": {"duration": 4, "sweep": 0.5}},
    "evolve": {"dt": 2.0, "lags": [1, 2, 4], "patches": 8},
    "closure": {"dimension": 1, "steps": 60, "batch": 32, "validation_every": 25},
    "dynamics": {"members": 2, "hidden": [16, 16], "steps": 400, "batch": 32},
    "evaluate": {
        "initial": [-0.5, 0.5],
        "replicas": 12,
        "predicted_replicas": 200,
        "horizons": {"transient": {"spacing": 2.0, "points": 80}},
    },
    "baselines": [],
}
LONG = ("simulate", "upsample", "evolve", "closure", "dynamics", "predict", "reference")
# Attributes and entries that tell of the time taken and the state of the source, and the digest
# that covers them.
TIMES = {"core_seconds", "seconds", "cost", "seal", "git_commit"}


class Rule:
    """One job: its script, and the object that Snakemake would put into it."""

    script = ROOT / "scripts" / "stage.py"

    def __init__(self, stage: Stage, *, shard: bool = False, gather: bool = False) -> None:
        self.name = "gather" if gather else stage.name
        self.folder = Path(stage.folder)
        outputs = {"data": "shard-0-of-1.nc"} if shard else stage.kind.outputs
        self.outputs = {role: self.folder / name for role, name in outputs.items()}
        params = {"work": stage.kind.work, "config": stage.config, "key": stage.key}
        params["inputs"] = {
            role: {n: f"{parent.folder}/{file}" for n, file in parent.kind.outputs.items()}
            for role, parent in stage.inputs.items()
        }
        if gather:
            params["work"] = "macrodyn.pipeline.gathering:gather"
            params["stage"] = stage.name
            params["scatter"] = vars(stage.kind.scatter)
            params["inputs"] = {"shards": {0: f"{stage.folder}/shard-0-of-1.nc"}}
        first = next(iter(self.outputs.values()))
        self.snakemake = SimpleNamespace(
            rule=self.name,
            log=[str(self.folder / "logs" / f"{first.stem}.log")],
            threads=1,
            params=params,
            output={role: str(path) for role, path in self.outputs.items()},
            wildcards={"key": stage.key} | ({"shard": "0", "shards": "1"} if shard else {}),
            resources={},
            config={"execution": {"checkpoint_minutes": 1e-9}},
            scriptdir=str(ROOT / "scripts"),
        )


def rules() -> Iterator[Rule]:
    """All jobs of the study, in an order in which each finds its inputs."""
    plan = plan_run("run", PartialEvolutionRun.model_validate(CONFIG))
    for stage in plan.stages().values():
        if stage.kind.scatter:
            yield Rule(stage, shard=True)
            yield Rule(stage, gather=True)
        else:
            yield Rule(stage)


def load_kernels() -> None:
    """Load what the scripts import, and the compiled kernels, so that no fork has to."""
    for module in ("encoding", "learn", "predict"):
        import_module(f"macrodyn.methods.partial_evolution.{module}")
    system = described_system(CONFIG)
    keys = np.arange(2, dtype=np.uint64)
    states = system.initial_states(np.zeros(2), (6, 6), keys)
    system.observe(system.evolve(states, 0.1, keys))
    system.evolve_patch(states, PatchGeometry((4, 4), 1, 0, "frozen"), 0.1, keys)


def start(rule: Rule, folder: Path) -> int:
    """Fork a process that runs a job's script in a folder; return its number."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        # All forks would share the lock of numba's threads, and one killed while it holds it
        # would leave the others waiting. A process of its own, as a job is, has its own.
        parallel._set_init_process_lock()
        os.chdir(folder)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        # Short blocks and a checkpoint after each: many moments that differ.
        job_module.Work = functools.partial(job_module.Work, seconds=0.01)  # type: ignore[misc]
        checkpoints._SHARE = 1.0
        runpy.run_path(str(rule.script), init_globals={"snakemake": rule.snakemake})
        status = 0
    finally:
        os._exit(status)


def ended(number: int, within: float) -> int | None:
    """Wait for a process; its exit status, None if it still runs."""
    end = time.monotonic() + within
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.001)


def finish(rule: Rule, folder: Path) -> float:
    """Run a job to its end; return the seconds that it took."""
    began = time.monotonic()
    status = ended(start(rule, folder), 300)
    if status != 0:
        log = folder / rule.snakemake.log[0]
        raise SystemExit(f"{rule.name} ended with {status}:\n{log.read_text(encoding='utf-8')}")
    return time.monotonic() - began


def content(folder: Path, rule: Rule) -> dict[str, Any]:
    """All that a job's outputs hold, but for times; raises if one of them is not whole."""
    found: dict[str, Any] = {}
    for role, path in rule.outputs.items():
        if path.suffix == ".nc":
            data = read_dataset(folder / path)
            found |= {f"{role}.{name}": v.values.tobytes() for name, v in data.variables.items()}
            attributes = {k: v for k, v in data.attrs.items() if k not in TIMES}
            found[f"{role}.attributes"] = repr(sorted(attributes.items()))
        elif path.suffix == ".safetensors":
            tensors, metadata = load_model(folder / path)
            found |= {f"{role}.{name}": t.numpy().tobytes() for name, t in tensors.items()}
            found[f"{role}.metadata"] = without_times(metadata)
        elif role == "training":
            found[role] = without_times(json.loads((folder / path).read_text(encoding="utf-8")))
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what differs."""
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


def without_times(value: Any) -> Any:
    """A JSON value without the entries that tell how long something took."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def disturb(
    rule: Rule,
    folder: Path,
    expected: dict[str, Any],
    seconds: float,
    kills: int,
    rng: random.Random,
) -> dict[str, int]:
    """Kill a job so often, then let it end; raises if anything is lost or changed."""
    counts = {"kills": 0, "resumed": 0, "ended before the kill": 0, "left whole": 0}
    log = folder / rule.snakemake.log[0]
    while counts["kills"] < kills:
        number = start(rule, folder)
        status = ended(number, rng.uniform(0.0, 1.1 * seconds))
        if status is None:
            os.kill(number, signal.SIGKILL)
            status = ended(number, 60)
        if status == -signal.SIGKILL:
            counts["kills"] += 1
        elif status == 0:
            counts["ended before the kill"] += 1
        else:
            raise SystemExit(
                f"{rule.name} failed with {status}:\n{log.read_text(encoding='utf-8')}"
            )
        if log.exists():
            counts["resumed"] += "continuing from step" in log.read_text(encoding="utf-8")
        there = [(folder / path).exists() for path in rule.outputs.values()]
        if all(there):
            if changed := differences(content(folder, rule), expected):
                raise SystemExit(f"{rule.name}: other {changed} after {counts}")
            counts["left whole"] += status != 0
        if status == 0 or any(there):
            # As Snakemake does before it runs a job again; checkpoints stay.
            for path in rule.outputs.values():
                (folder / path).unlink(missing_ok=True)
    finish(rule, folder)
    if changed := differences(content(folder, rule), expected):
        raise SystemExit(f"{rule.name}: other {changed} in the end")
    left = [path.name for path in (folder / rule.folder).iterdir()]
    extra = set(left) - {path.name for path in rule.outputs.values()} - {"logs"}
    extra -= {"shard-0-of-1.nc"}
    if extra:
        raise SystemExit(f"{rule.name} left {sorted(extra)}")
    return counts


def together(rule: Rule, folder: Path, expected: dict[str, Any]) -> None:
    """Run a job twice at the same time, as when the cluster still runs one from before."""
    for path in rule.outputs.values():
        (folder / path).unlink(missing_ok=True)
    pair = [start(rule, folder), start(rule, folder)]
    ends = [ended(number, 300) for number in pair]
    if ends != [0, 0]:
        log = (folder / rule.snakemake.log[0]).read_text(encoding="utf-8")
        raise SystemExit(f"{rule.name}, twice at once, ended with {ends}:\n{log}")
    if changed := differences(content(folder, rule), expected):
        raise SystemExit(f"{rule.name}, twice at once: other {changed}")


def campaign(folder: Path, kills: int, seed: int, report: Callable[[dict[str, Any]], None]) -> None:
    """Run all jobs, and kill the long ones."""
    whole, killed = folder / "whole", folder / "killed"
    rng = random.Random(seed)
    load_kernels()
    for rule in rules():
        for place in (whole, killed):
            place.mkdir(parents=True, exist_ok=True)
        # The first run may wait for a compiler.
        seconds = min(finish(rule, whole), finish(rule, whole))
        if rule.name not in LONG:
            finish(rule, killed)
            continue
        began = time.monotonic()
        expected = content(whole, rule)
        counts = disturb(rule, killed, expected, seconds, kills, rng)
        together(rule, killed, expected)
        took = time.monotonic() - began
        report({"job": rule.name, "seconds": round(seconds, 2), **counts, "in": round(took, 1)})


def main() -> None:
    """Read the command line and run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20, help="kills of each job")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    campaign(
        given.folder.resolve(),
        given.kills,
        given.seed,
        lambda line: print(json.dumps(line), flush=True),
    )


if __name__ == "__main__":
    sys.exit(main())
