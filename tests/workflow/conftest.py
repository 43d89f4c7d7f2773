"""Copies of the workflow to run in, Snakemake, and one finished tiny study for all tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.once import shared_folder

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "configs" / "tiny.yaml"
PARTS = ("workflow", "scripts", "config", "profiles", "envs")


@dataclass(frozen=True)
class Workflow:
    """A copy of the workflow in a folder of its own."""

    folder: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the folder; standard error joins standard output."""
        with self.start(*arguments) as process:
            try:
                printed, _ = process.communicate(timeout=900)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, printed)

    def start(self, *arguments: str | Path, session: bool = False) -> subprocess.Popen[str]:
        """Start Snakemake in the folder; in a session of its own, to be killed with its jobs."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=session,
        )

    def write_config(self, content: dict[str, Any], name: str = "edited.yaml") -> Path:
        """Write a configuration beside the workflow."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path


@dataclass(frozen=True)
class FinishedStudy(Workflow):
    """The tiny study after its run: what both calls of Snakemake printed."""

    config: dict[str, Any]
    config_file: Path
    first: str
    second: str

    @property
    def results(self) -> Path:
        """The study's folder."""
        return self.folder / "results" / "tiny"


def copy_workflow(folder: Path) -> Path:
    """Copy all that Snakemake needs; the package is linked, for its compiled kernels."""
    folder.mkdir(parents=True)
    shutil.copy2(ROOT / "Snakefile", folder)
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A fresh copy of the workflow, without results."""
    return Workflow(copy_workflow(tmp_path / "workflow"))


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The tiny study's configuration, to edit."""
    return yaml.safe_load(TINY.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """The tiny study, run once for all processes of the test run; nothing may change in it."""
    with shared_folder(tmp_path_factory, "tiny-study") as base:
        folder, record = base / "tiny-study", base / "tiny-study.json"
        if not record.exists():
            record.write_text(
                json.dumps(_run_twice(Workflow(copy_workflow(folder)))), encoding="utf-8"
            )
    calls = json.loads(record.read_text(encoding="utf-8"))
    for status, printed in calls:
        if status:
            pytest.fail(f"the tiny study failed:\n{printed[-6000:]}")
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    return FinishedStudy(folder, content, TINY, calls[0][1], calls[1][1])


def _run_twice(workflow: Workflow) -> list[tuple[int, str]]:
    cores = str(min(2, os.cpu_count() or 1))
    calls = []
    for _ in range(2):
        done = workflow.run("--cores", cores, "--configfile", TINY)
        calls.append((done.returncode, done.stdout))
        if done.returncode:
            break
    return calls


@pytest.fixture
def copied_study(study: FinishedStudy, tmp_path: Path) -> Workflow:
    """A copy of the finished study, times of files included, to damage."""
    folder = tmp_path / "copy"
    shutil.copytree(study.folder, folder, symlinks=True)
    return Workflow(folder)


@pytest.fixture(scope="session")
def job_counts() -> Callable[[str], dict[str, int]]:
    """Read the number of jobs of each rule from what Snakemake prints."""

    def read(printed: str) -> dict[str, int]:
        lines = iter(printed.splitlines())
        if not any(line.startswith("Job stats:") for line in lines):
            assert "Nothing to be done" in printed, printed
            return {}
        counts: dict[str, int] = {}
        for line in lines:
            words = line.split()
            if len(words) == 2 and words[1].isdigit():
                if words[0] == "total":
                    return counts
                counts[words[0]] = int(words[1])
        raise AssertionError(f"no total of jobs in:\n{printed}")

    return read
