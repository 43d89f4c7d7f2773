"""The conda environments hold the versions of the lock."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.pipeline.study_kinds import SUMMARISE

ROOT = Path(__file__).parents[1]
LOCK_FILES = ("lock.txt", "torch.txt")
CONDA_NAMES = {"torch": "pytorch"}
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


def conda_name(package: str) -> str:
    """Return what conda-forge calls a package of the Python index."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    return CONDA_NAMES.get(name, name)


def read_lock() -> dict[str, str]:
    """Return the locked version of every package, by its conda name."""
    text = "\n".join(
        (ROOT / "requirements" / name).read_text(encoding="utf-8") for name in LOCK_FILES
    )
    pins = re.findall(r"^([\w.-]+)==([^\s\\;]+)", text, flags=re.MULTILINE)
    return {conda_name(package): version for package, version in pins}


def differences(specs: list[object], lock: dict[str, str]) -> list[str]:
    """Return one message for every dependency that does not hold the lock's version."""
    messages = []
    for spec in specs:
        match = re.fullmatch(r"([a-z0-9._-]+)(?:\s*==\s*([^\s,*|<>=]+))?", str(spec))
        name, version = match.groups() if match else (re.split(r"[\s=<>!]", str(spec))[0], None)
        if name not in lock:
            messages.append(f"{name}: not in requirements/ (add it to pyproject.toml, make lock)")
        elif version is None:
            messages.append(f"'{spec}': no exact pin; write '{name} =={lock[name]}'")
        elif version != lock[name]:
            messages.append(f"{name}: {version} here, {lock[name]} in requirements/")
    return messages


def without_python(specs: list[object]) -> list[object]:
    """Return the dependencies without the interpreter, which no lock file names."""
    return [spec for spec in specs if not re.match(r"python\b(?!-)", str(spec))]


def load(path: Path) -> dict[str, list[object]]:
    """Return the content of an environment file; what pip installs stands among the rest."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = [part for part in content["dependencies"] if isinstance(part, dict)]
    of_pip = [spec for part in parts for spec in part["pip"]]
    of_conda = [spec for spec in content["dependencies"] if not isinstance(spec, dict)]
    assert "pip" in {str(spec).split()[0] for spec in of_conda} or not of_pip
    return {**content, "dependencies": of_conda + [re.sub(r"\[.*\]", "", s) for s in of_pip]}


def test_there_are_environments() -> None:
    assert {path.stem for path in ENVIRONMENTS} >= {"simulate", "learn", "report"}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_versions_are_those_of_the_lock(path: Path) -> None:
    messages = differences(without_python(load(path)["dependencies"]), read_lock())
    assert not messages, "\n  ".join([f"envs/{path.name} and the lock differ:", *messages])


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_channels_and_python(path: Path) -> None:
    environment = load(path)
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert "python =3.11" in environment["dependencies"]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_no_package_is_named_twice(path: Path) -> None:
    names = [re.split(r"[\s=<>]", str(spec))[0] for spec in load(path)["dependencies"]]
    assert len(names) == len(set(names))


def works() -> dict[str, str]:
    """Return the environment of what each rule does, by its module."""
    method = PartialEvolution()
    kinds = [*method.kinds, method.evaluation, *(a.stage for a in method.analyses), SUMMARISE]
    found = {kind.work.partition(":")[0]: Path(kind.environment_file).stem for kind in kinds}
    finishes = {k.scatter.finish: Path(k.environment_file).stem for k in kinds if k.scatter}
    found |= {finish.partition(":")[0]: name for finish, name in finishes.items() if finish}
    # What is written out: the gathering of shards, and the rule that ends the study.
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    written = re.findall(r"envs/(\w+)\.yaml.*?work=(\S+),", text, flags=re.DOTALL)
    assert [environment for environment, _ in written] == ["simulate", "report"]
    assert found[SUMMARISE.work.partition(":")[0]] == written[1][0]
    return {**found, written[0][1].strip('"').partition(":")[0]: written[0][0]}


IMPORTED = {"pytorch": "torch", "pyyaml": "yaml", "netcdf4": "netCDF4"}
# Runs a job's imports while what its environment lacks cannot be found.
IMPORT_ALONE = """
import importlib, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
for module in ("macrodyn.pipeline.interrupt", "macrodyn.pipeline.job", sys.argv[1]):
    importlib.import_module(module)
"""


@pytest.mark.parametrize("work", works())
def test_a_work_imports_no_more_than_its_environment_has(work: str) -> None:
    def packages(path: Path) -> set[str]:
        specs = without_python(load(path)["dependencies"])
        return {re.split(r"[\s=<>]", str(spec))[0] for spec in specs}

    everything = set().union(*map(packages, ENVIRONMENTS))
    lacking = everything - packages(ROOT / "envs" / f"{works()[work]}.yaml")
    lacking.discard("pandas")  # comes with xarray
    modules = [IMPORTED.get(name, name) for name in sorted(lacking)]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE, work, *modules],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr


def test_every_rule_runs_the_one_script_which_imports_what_was_tried() -> None:
    scripts = re.findall(
        r"scripts/(\w+)\.py", "".join(path.read_text(encoding="utf-8") for path in RULES)
    )
    assert set(scripts) == {path.stem for path in (ROOT / "scripts").glob("*.py")} == {"stage"}
    tree = ast.parse((ROOT / "scripts" / "stage.py").read_text(encoding="utf-8"))
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported == {"macrodyn.pipeline.interrupt", "macrodyn.pipeline.job"}
    assert not any(isinstance(node, ast.Import) for node in tree.body)


def test_kinds_name_environments_that_there_are() -> None:
    assert set(works().values()) == {path.stem for path in ENVIRONMENTS}


LOCK = {"numpy": "2.4.6", "pytorch": "2.13.0"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("numpy ==2.4.6", None),
        ("pytorch==2.13.0", None),
        ("numpy ==2.4.5", "numpy: 2.4.5 here, 2.4.6 in requirements/"),
        ("numpy ==2.4", "numpy: 2.4 here, 2.4.6 in requirements/"),
        ("numpy", "'numpy': no exact pin"),
        ("numpy =2.4.6", "'numpy =2.4.6': no exact pin"),
        ("numpy >=2.4.6", "'numpy >=2.4.6': no exact pin"),
        ("numpy ==2.4.*", "'numpy ==2.4.*': no exact pin"),
        ("torch ==2.13.0", "torch: not in requirements/"),
        ("cupy ==13.0", "cupy: not in requirements/"),
    ],
)
def test_a_difference_is_told(spec: str, expected: str | None) -> None:
    messages = differences([spec], LOCK)
    if expected is None:
        assert messages == []
    else:
        (message,) = messages
        assert message.startswith(expected)


def test_the_interpreter_is_not_a_locked_package() -> None:
    specs: list[object] = ["python =3.11", "python-dateutil ==2.9", "numpy ==2.4.6"]
    assert without_python(specs) == ["python-dateutil ==2.9", "numpy ==2.4.6"]
