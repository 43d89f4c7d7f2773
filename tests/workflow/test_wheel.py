"""What is given to others: a wheel, built from its source distribution, that needs no checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import xarray as xr
import yaml
from PIL import Image

import macrodyn
from macrodyn.storage.netcdf import read_dataset

from .conftest import ROOT, TINY

pytestmark = [pytest.mark.slow, pytest.mark.workflow]

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Made by builds, runs and tools, or pictures, which no distribution holds.
LEFT_OUT = ("build", "_build", "dist", "results", "logs", "slurm", "__pycache__")
PATTERNS = (".*", "*.egg-info", "*.nb[ic]", "*.part", "*.png", "*.csv", "slurm-*.out")
WORKFLOW = ("Snakefile", "workflow", "scripts", "envs", "profiles")


@dataclass(frozen=True)
class Built:
    """A source distribution, and the wheel that was built from it."""

    source: Path
    sdist: Path
    wheel: Path

    def files(self, *folders: str) -> set[str]:
        """What a clone has in these folders, relative to it."""
        found = [p for f in folders for p in [self.source / f, *(self.source / f).rglob("*")]]
        return {p.relative_to(self.source).as_posix() for p in found if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, from a copy of the source tree."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT, *PATTERNS))
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (sdist,), (wheel,) = ((folder / "dist").glob(end) for end in ("*.tar.gz", "*.whl"))
    for left in (*source.glob("build"), *source.glob("src/*.egg-info")):
        shutil.rmtree(left)
    return Built(source, sdist, wheel)


def test_wheel_holds_the_package_and_the_workflow(built: Built) -> None:
    package = {str(PurePosixPath(file).relative_to("src")) for file in built.files("src")}
    workflow = {f"macrodyn/_workflow/{file}" for file in built.files(*WORKFLOW)}
    with zipfile.ZipFile(built.wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package | workflow
    assert "macrodyn/_workflow/workflow/rules/stages.smk" in held


def test_source_distribution_holds_all_that_a_clone_has(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = [PurePosixPath(member.name) for member in archive if member.isfile()]
    held = {str(PurePosixPath(*name.parts[1:])) for name in names}
    assert built.files(*os.listdir(built.source)) <= held


class Installed:
    """The wheel in an environment of its own, and an empty folder to work in.

    Args:
        wheel: The wheel.
        folder: Where both are made.
    """

    def __init__(self, wheel: Path, folder: Path) -> None:
        environment = folder / "environment"
        venv.create(environment, with_pip=False)
        self.python = environment / "bin" / "python"
        self.folder = folder / "work"
        self.folder.mkdir()
        pip = [sys.executable, "-m", "pip", f"--python={self.python}", "install", "--quiet"]
        self.call(*pip, "--no-deps", "--no-index", wheel)
        # The dependencies are those of these tests. Links to source trees that stand beside them,
        # as of an editable install, are not followed from here.
        packages = Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))"))
        lines = sorted({sysconfig.get_path(name) for name in ("purelib", "platlib")})
        (packages / "dependencies.pth").write_text("\n".join(lines), encoding="utf-8")
        self.package = packages / "macrodyn"

    def call(self, *command: str | Path) -> str:
        """Run a command in the folder, and return what it prints."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout.strip()

    def ask(self, code: str) -> str:
        """Run Python code, and return what it prints."""
        return self.call(self.python, "-c", code)

    def macrodyn(self, *arguments: str) -> str:
        """Run the command ``macrodyn``."""
        return self.call(self.python.parent / "macrodyn", *arguments)

    # How a study is made, run and reported.

    def begin(self, study: str, content: dict[str, Any]) -> None:
        """Make a study's configuration."""
        path = self.folder / f"{study}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def run(self, study: str) -> None:
        """Run a study to its end."""
        self.macrodyn("run", f"{study}.yaml", "--cores", "2")

    def report(self, study: str, file: str) -> None:
        """Make the report of a finished study."""
        self.macrodyn("report", f"{study}.yaml", "--output", file)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel's environment."""
    return Installed(built.wheel, tmp_path_factory.mktemp("installed"))


def test_package_is_that_of_the_wheel(installed: Installed) -> None:
    found = installed.ask("import macrodyn; print(macrodyn.__file__)")
    assert Path(found) == installed.package / "__init__.py"
    version = PYPROJECT["project"]["version"]
    assert installed.ask("import macrodyn; print(macrodyn.__version__)") == version
    assert installed.macrodyn("--version") == f"macrodyn {version}"


def test_study_is_begun_without_a_checkout(installed: Installed) -> None:
    """As it was written it can be run."""
    installed.macrodyn("init", "study", "begun")
    assert "study begun" in installed.macrodyn("check", "begun.yaml")
    assert "evaluate" in installed.macrodyn("run", "begun.yaml", "--dry-run", "--cores", "1")


PREDICT = """
import macrodyn

model = macrodyn.load("results/tiny", "base")
found = model.predict({"magnetisation": [-0.5, 0.2]}, times=[0, 0.5, 1], replicas=3)
found.to_netcdf("predicted.nc")
model.plot.trajectories(found).savefig("predicted.png")
"""


def test_study_runs_without_a_checkout(installed: Installed, monkeypatch) -> None:
    """To its end, with its report; the model is the same to who has a checkout."""
    if shutil.which("git"):
        # An environment may stand in the repository of a study.
        installed.call("git", "init", "--quiet", installed.folder.parent)
    # Its first run alone: the others use no other part of the workflow.
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    installed.begin("tiny", content | {"runs": {"base": {}}})
    installed.run("tiny")
    (done, jobs) = re.findall(r"(\d+) of (\d+) jobs done", installed.macrodyn("status", "tiny"))[0]
    assert int(done) == int(jobs) > 10
    assert "base" in installed.macrodyn("summary", "results/tiny")

    (data,) = installed.folder.glob("results/tiny/stages/reference/*/data.nc")
    attributes = read_dataset(data).attrs
    assert attributes["git_commit"] == ""
    assert attributes["macrodyn_version"] == PYPROJECT["project"]["version"]

    installed.ask(PREDICT)
    assert Image.open(installed.folder / "predicted.png").width > 100
    monkeypatch.chdir(installed.folder)
    model = macrodyn.load("results/tiny", "base")
    here = model.predict({"magnetisation": [-0.5, 0.2]}, times=[0, 0.5, 1], replicas=3)
    with xr.open_dataset("predicted.nc") as there:
        assert there["z"].notnull().all()
        xr.testing.assert_identical(there["z"].drop_attrs(), here["z"].drop_attrs())

    installed.report("tiny", "report.html")
    assert "iframe" in (installed.folder / "report.html").read_text(encoding="utf-8")
