"""What the workflow itself costs: planning, starting jobs, files; and the shard size that follows.

Three measurements, printed as Markdown tables:

- Planning: dry runs of studies of about 10, 1,000 and 10,000 jobs, once as one run in many shards
  and once as many runs in one shard each; what reading the Snakefile adds to Snakemake's own
  start, in the first process and in the job on a cluster that reads it again; and the time of
  `macrodyn status` of the study when it is finished (its files are made up).
- Starting: a small study is run for real, one job at a time; what the jobs' logs do not account
  for is the overhead of a job. Files and folders are counted afterwards.
- Shards: how long a job must take for that overhead to be below 5 %.

    python benchmarks/workflow_overhead.py                 # all, a few minutes
    python benchmarks/workflow_overhead.py --jobs 10 1000  # smaller studies
    python benchmarks/workflow_overhead.py --no-run        # planning only
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from macrodyn.config.load import load_study
from macrodyn.pipeline.identity import (
    SUMMARY,
    SummaryOrigin,
    run_identities,
    write_summary_origin,
)
from macrodyn.pipeline.logs import read_log
from macrodyn.pipeline.monitor.expected import GATHER, expected_jobs
from macrodyn.pipeline.planner import plan_study
from macrodyn.pipeline.record import FILE
from macrodyn.storage.files import write_json
from macrodyn.storage.sealed import write_sealed_json

ROOT = Path(__file__).parents[1]
# A run without baselines has, beside its shards, four gathers and five more jobs; a study two.
SAMPLED, OTHERS_OF_A_RUN, OTHERS_OF_A_STUDY = 4, 9, 2
# Largest part of a job's time that its overhead may take.
PART = 0.05


def base(name: str) -> dict[str, Any]:
    """Keys that all studies here share: as little work as the workflow takes."""
    return {
        "study": name,
        "system": {"name": "ising", "parameters": {"temperature": 2.5}},
        "sizes": {"small": [8, 8], "large": [16, 16]},
        "simulate": {"groups": 2, "replicas": 4, "times": [0, 1]},
        "upsample": {"snapshots": 2, "relaxation": {"duration": 1}},
        "closure": {"dimension": 1, "channels": [4], "hidden": 8, "steps": 2},
        "dynamics": {"members": 2, "hidden": [8], "steps": 2},
        "evaluate": {
            "initial": [0.0],
            "replicas": 4,
            "predicted_replicas": 2,
            "horizons": {"transient": {"spacing": 1, "points": 5}},
        },
        "baselines": [],
        "analyses": {},
    }


def cut(shards: int) -> dict[str, Any]:
    """Cut every sampling stage into so many shards."""
    return {"shards": dict.fromkeys(("simulate", "upsample", "evolve", "reference"), shards)}


def by_shards(jobs: int) -> dict[str, Any]:
    """A study of one run in as many shards as make so many jobs."""
    shards = max(1, (jobs - OTHERS_OF_A_RUN - OTHERS_OF_A_STUDY) // SAMPLED)
    study = base(f"shards-{jobs}") | {"execution": cut(shards), "runs": {"only": {}}}
    study["simulate"] |= {"groups": max(2, shards)}
    study["evaluate"] |= {"replicas": max(4, shards)}
    return study


def by_runs(jobs: int) -> dict[str, Any]:
    """A study of as many runs as make so many jobs; they differ in their seed and share nothing."""
    number = max(1, round((jobs - OTHERS_OF_A_STUDY) / (SAMPLED + OTHERS_OF_A_RUN)))
    runs = {f"run-{seed}": {"seed": seed} for seed in range(number)}
    return base(f"runs-{jobs}") | {"execution": cut(1), "runs": runs}


def call(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Run a Python module in a folder; return wall time, processor time and what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
    )
    start, used = time.perf_counter(), processor_time()
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-4000:]}")
    return wall, processor_time() - used, done.stdout


def processor_time() -> float:
    """Seconds of processor time of all processes that were called and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def median_call(folder: Path, repeats: int, *arguments: str) -> float:
    """Return the median wall time of some calls."""
    return statistics.median(call(folder, *arguments)[0] for _ in range(repeats))


def make_up_results(folder: Path, config: dict[str, Any]) -> None:
    """Write what a finished study leaves, as far as `macrodyn status` looks at it."""
    plans = plan_study(load_study(config))
    for job in expected_jobs(folder, plans):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        for name in job.outputs:
            (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (job.folder / name).touch()
        said = f"gathering {job.stage.shards} shard(s)" if job.rule == GATHER else "at work"
        job.log.write_text(
            f"2026-01-01 12:00:00,000 rule {job.rule} starts with 1 thread(s)\n"
            f"2026-01-01 12:00:01,000 {said}\n"
            "2026-01-01 12:01:00,000 done in 60.0 s\n",
            encoding="utf-8",
        )
    identities = run_identities(plans)
    for run, identity in identities.items():
        write_sealed_json(folder / run / "metrics.json", {"run": run, "identity": identity})
    write_summary_origin(folder / SUMMARY, SummaryOrigin(identities, {}))
    write_json(folder / FILE, {"command": "snakemake", "config": config})


def measure_planning(folder: Path, jobs: Sequence[int], repeats: int) -> None:
    """Print the times of dry runs, of reading the Snakefile, and of `macrodyn status`."""
    empty = folder / "empty.smk"
    empty.write_text("rule all:\n    input: []\n", encoding="utf-8")
    options = ("snakemake", "--directory", str(folder), "--list-rules")
    alone = median_call(folder, repeats, *options, "--snakefile", str(empty))
    print(
        "| study | jobs | dry run, s | its CPU, s | Snakefile, first, s | in a job, s | status, s |"
    )
    print("|---|---|---|---|---|---|---|")
    for wanted in jobs:
        for kind, make in (("shards", by_shards), ("runs", by_runs)):
            config = folder / f"{kind}-{wanted}.json"
            study = make(wanted)
            config.write_text(json.dumps(study), encoding="utf-8")
            chosen = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config))
            plan = ("snakemake", "--directory", str(folder), *chosen, "--cores", "2", "-n")
            calls = [call(folder, *plan) for _ in range(repeats if wanted < 5000 else 1)]
            wall, used = (statistics.median(made[i] for made in calls) for i in (0, 1))
            found = re.search(r"^total +(\d+)$", calls[0][2], re.MULTILINE)
            assert found, calls[0][2]
            first = median_call(folder, repeats, *options, *chosen) - alone
            again = median_call(folder, repeats, *options, *chosen, "--mode", "remote") - alone
            results = folder / "results" / study["study"]
            make_up_results(results, study)
            status = median_call(folder, repeats, "macrodyn.cli", "status", str(results))
            print(
                f"| by {kind} | {int(found[1]):,} | {wall:.2f} | {used:.2f} | {first:.2f} "
                f"| {again:.2f} | {status:.2f} |",
                flush=True,
            )
    print(f"\nSnakemake with an empty Snakefile takes {alone:.2f} s of its own.\n")


def measure_run(folder: Path, jobs: int) -> float:
    """Run a small study, print what its jobs cost, and return the overhead of a job in seconds."""
    config = folder / "real.json"
    config.write_text(json.dumps(by_shards(jobs) | {"study": "real"}), encoding="utf-8")
    arguments = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder))
    options = ("snakemake", *arguments, "--configfile", str(config), "--cores", "1")
    wall, nothing = call(folder, *options)[0], call(folder, *options)[0]
    results, internal = folder / "results" / "real", folder / ".snakemake"
    logs = [read_log(path) for path in results.rglob("*.log")]
    own = [log.seconds for log in logs if log and log.end == "done" and log.seconds is not None]
    number = len(own)
    overhead = (wall - nothing - sum(own)) / number
    print("| real study, one job at a time | |")
    print("|---|---|")
    print(f"| jobs | {number} |")
    print(f"| wall time, s | {wall:.1f} |")
    print(f"| of it the jobs' own (`done in`), s | {sum(own):.1f} |")
    print(f"| of it Snakemake's own start and end (second call), s | {nothing:.1f} |")
    print(f"| overhead of a job, s | {overhead:.2f} |")
    for name, where in (("results", results), (".snakemake", internal)):
        files = [path for path in where.rglob("*") if path.is_file()]
        folders = [path for path in where.rglob("*") if path.is_dir()]
        print(f"| files a job in {name} | {len(files) / number:.1f} |")
        print(f"| folders a job in {name} | {len(folders) / number:.2f} |")
    print(flush=True)
    return overhead


def print_shards(overhead: float, cluster: float) -> None:
    """Print how long a job must take for its overhead to be a small part."""
    print(f"| where | overhead of a job, s | a job's own time for less than {PART:.0%}, s |")
    print("|---|---|---|")
    for name, seconds in (("local", overhead), ("SLURM", cluster)):
        print(f"| {name} | {seconds:.1f} | {seconds * (1 - PART) / PART:.0f} |")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[10, 1000, 10_000], help="sizes of planned studies"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="calls of which the median counts (default 3)"
    )
    parser.add_argument("--real-jobs", type=int, default=31, help="jobs of the study that is run")
    parser.add_argument(
        "--cluster", type=float, default=6.0, help="overhead of a job on SLURM, s (default 6)"
    )
    parser.add_argument("--no-run", action="store_true", help="plan only, run nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workflow-overhead-") as name:
        folder = Path(name)
        measure_planning(folder, given.jobs, given.repeats)
        if not given.no_run:
            print_shards(measure_run(folder, given.real_jobs), given.cluster)


if __name__ == "__main__":
    main()
