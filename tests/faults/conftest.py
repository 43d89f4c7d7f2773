"""The finished tiny study to damage, small disks to fill, and a table of the faults tried."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest


def load_fixtures(path: Path) -> Any:
    """Load the fixtures of another folder's tests; both use one and the same finished study."""
    spec = spec_from_file_location("faults_workflow_fixtures", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


FIXTURES = load_fixtures(Path(__file__).parents[1] / "workflow" / "conftest.py")
study, copied_study = FIXTURES.study, FIXTURES.copied_study
workflow, tiny, job_counts = FIXTURES.workflow, FIXTURES.tiny, FIXTURES.job_counts


@pytest.fixture
def config() -> Path:
    """The tiny study's configuration."""
    return FIXTURES.TINY


@pytest.fixture
def tally(record_property) -> Callable[..., None]:
    """Count faults: how many were tried, and of how many nothing was lost or misread."""

    def count(fault: str, tried: int, survived: int) -> None:
        record_property("fault", (fault, tried, survived))
        assert survived == tried, f"{fault}: {survived} of {tried}"

    return count


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the counts of all tests, as a table."""
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "fault":
                    tried[value[0]] += value[1]
                    survived[value[0]] += value[2]
    if tried:
        terminalreporter.write_sep("=", "faults")
        for fault, number in tried.items():
            terminalreporter.write_line(f"{fault}: tried {number}, survived {survived[fault]}")


@pytest.fixture
def small_disk() -> Iterator[Callable[..., Path]]:
    """Mount file systems of a few blocks; skip the test where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str = "4m") -> Path:
        if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
            pytest.skip("only root can mount a small disk")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        # Lazily: a library that failed on the full disk may still hold a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, mode: str) -> None:
    """Make a mounted file system read-only (``ro``) or writable again (``rw``)."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def messages(printed: str) -> list[str]:
    """The lines in which jobs tell their errors on the terminal."""
    return [line for line in printed.splitlines() if line.startswith("rule ")]


def removals(printed: str) -> list[str]:
    """The files that the messages say to remove."""
    found = re.findall(r": rm (.*?), then run the same command again", "\n".join(messages(printed)))
    return [file for command in found for file in shlex.split(command)]
