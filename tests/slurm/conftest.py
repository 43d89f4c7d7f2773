"""The cluster, copies of the workflow that run on it, and a finished local run to compare with."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from safetensors.numpy import load_file

from macrodyn.config.load import load_study
from macrodyn.pipeline.planner import RunPlan, plan_study
from tests.once import shared_folder

from . import cluster
from .systems import VARIABLE

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "configs" / "small.yaml"
PARTS = ("workflow", "scripts", "config", "profiles", "envs")
# Snakemake first looks after its jobs after 40 s, and then less and less often. Those of the tests
# last seconds.
POLLING = """

if workflow.is_main_process:
    from snakemake_executor_plugin_slurm import Executor

    Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, _: None)
"""


@dataclass
class Workflow:
    """A copy of the workflow, with a study on whose reference the faults are tried."""

    folder: Path
    runs: list[subprocess.Popen] = field(default_factory=list)

    @classmethod
    def copied_to(cls, folder: Path) -> Workflow:
        """Copy all that a clone has and Snakemake needs."""
        folder.mkdir(parents=True)
        (folder / "Snakefile").write_text(
            (ROOT / "Snakefile").read_text(encoding="utf-8") + POLLING, encoding="utf-8"
        )
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part)
        (folder / "src").symlink_to(ROOT / "src")
        (folder / "slurm").symlink_to(os.readlink(ROOT / "slurm"))
        shutil.copy2(SMALL, folder / "small.yaml")
        return cls(folder)

    def edit(self, section: str, **changes: Any) -> None:
        """Replace keys of a section of the study."""
        path = self.folder / "small.yaml"
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        study[section] |= changes
        path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")

    def burden(self, **load: float) -> None:
        """Say how slow and how large the jobs are from now on."""
        part = self.folder / "burden.part"
        part.write_text(json.dumps(load), encoding="utf-8")
        part.rename(self.folder / "burden.json")

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start ``snakemake --profile slurm``, as its users do."""
        return self.call("--profile", "slurm", *arguments)

    def call(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        systems = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        burden = {VARIABLE: str(self.folder / "burden.json")}
        with self.output.open("w", encoding="utf-8") as output:
            run = subprocess.Popen(
                ["snakemake", *arguments, "--configfile", "small.yaml"],
                cwd=self.folder,
                env=os.environ | threads | burden | {"PATH": path, "PYTHONPATH": systems},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.runs.append(run)
        return run

    def run(self, *arguments: str, succeeds: bool = True) -> str:
        """Run ``snakemake --profile slurm`` to its end; return what it printed."""
        return self.finish(self.start(*arguments), succeeds)

    def finish(self, run: subprocess.Popen, succeeds: bool = True) -> str:
        """Wait for the end of Snakemake; return what it printed."""
        run.wait(420)
        printed = self.output.read_text(encoding="utf-8")
        assert (run.returncode == 0) == succeeds, printed[-8000:]
        return printed

    def stop(self) -> None:
        """Kill what still runs."""
        for run in self.runs:
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
                run.wait()

    @property
    def output(self) -> Path:
        """What the latest call of Snakemake printed."""
        return self.folder / "printed.txt"

    @property
    def results(self) -> Path:
        """The study's folder."""
        return self.folder / "results" / "small"

    @property
    def reference(self) -> str:
        """The direct simulation: two shards without inputs, and their gathering."""
        return f"results/small/{self._plan()['reference'].folder}/data.nc"

    @property
    def simulated(self) -> str:
        """The simulation of small systems: its only shard."""
        return f"results/small/{self._plan()['small'].folder}/shard-0-of-1.nc"

    def _plan(self) -> RunPlan:
        # Keys hold the parameters as the system reads them: it must be found, as in the jobs.
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parent))
            return plan_study(load_study(SMALL, check_systems=False))["base"]

    def shard(self, number: int) -> Path:
        """A shard of the direct simulation."""
        return (self.folder / self.reference).with_name(f"shard-{number}-of-2.nc")

    def log(self, number: int) -> str:
        """Read the log of a shard's job, empty before it has one."""
        path = self.shard(number).parent / "logs" / f"shard-{number}-of-2.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def jobs(self, states: str = "all") -> list[tuple[str, str]]:
        """List the jobs submitted from here: their numbers, and their rules with shards."""
        found = []
        for job in cluster.jobs(states):
            if job["folder"] == str(self.folder):
                rule, _, wildcards = job["comment"].removeprefix("rule_").partition("_wildcards_")
                shard = wildcards.split("_")[-2] if rule == "reference" else ""
                found.append((job["id"], f"{rule} {shard}".strip()))
        return found

    def job(self, number: int) -> str:
        """Return SLURM's number of a shard's running job, empty for none."""
        return dict((name, id) for id, name in self.jobs("running")).get(f"reference {number}", "")

    def wait_for_steps(self, *numbers: int) -> None:
        """Wait until shards' jobs are under way, which they say after five seconds."""
        cluster.wait_until(
            lambda: all(self.job(n) and "reference: " in self.log(n) for n in numbers),
            f"shards {numbers} to begin",
            90,
        )

    def wait_for_words(self, words: str, times: int = 1) -> None:
        """Wait until Snakemake has printed something that many times."""
        cluster.wait_until(
            lambda: self.output.read_text(encoding="utf-8").count(words) >= times,
            f"'{words}', {times} times",
            90,
        )


@pytest.fixture(scope="session")
def daemons() -> Iterator[None]:
    """A running SLURM, the same one for all processes of the test run."""
    reason = cluster.lacking()
    if reason:
        pytest.skip(reason)
    with cluster.used():
        yield


@pytest.fixture
def slurm(daemons: None) -> Iterator[None]:
    """The cluster, whole and empty, for one test alone."""
    with (cluster.HOME / "test").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster.empty_queue()
        cluster.revive_nodes()
        yield
        cluster.empty_queue()
        cluster.revive_nodes()


@pytest.fixture
def workflow(slurm: None, tmp_path: Path) -> Iterator[Workflow]:
    """A fresh copy of the workflow, to run on the cluster."""
    copy = Workflow.copied_to(tmp_path / "clone")
    yield copy
    copy.stop()


@pytest.fixture
def full_disk() -> Iterator[Callable[[Path], None]]:
    """Put a real small disk, full, in a folder's place."""
    mounted: list[Path] = []

    def fill(folder: Path) -> None:
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        with suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    yield fill
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The study, finished without a cluster, once for all processes of the test run."""
    with shared_folder(tmp_path_factory, "slurm-local") as base:
        folder = base / "slurm-local"
        if not folder.exists():
            copy = Workflow.copied_to(folder)
            copy.finish(copy.call("--cores", "2"))
    found = Workflow(folder)
    assert (found.results / "summary.csv").exists(), found.output.read_text(encoding="utf-8")[
        -8000:
    ]
    return found


def contents(path: Path) -> Any:
    """What a result says, without what each run costs in seconds, and the seal over that."""
    if path.suffix == ".safetensors":
        return {name: array.tobytes() for name, array in load_file(path).items()}
    if path.suffix == ".json":
        return {
            k: v
            for k, v in json.loads(path.read_text(encoding="utf-8")).items()
            if k not in ("costs", "seal")
        }
    with xr.open_dataset(path, engine="netcdf4", decode_times=False) as data:
        return {name: np.asarray(v.values).tobytes() for name, v in data.variables.items()}


@pytest.fixture
def same_as_local(local: Workflow) -> Callable[..., None]:
    """Check that results of another copy have the bits of the local run's."""

    def check(other: Workflow, *paths: str | Path) -> None:
        for path in paths:
            assert contents(other.folder / path) == contents(local.folder / path), path

    return check
