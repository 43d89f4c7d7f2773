"""The project's metadata, its lock files and what an installation offers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import macrodyn

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
TORCH = (ROOT / "requirements" / "torch.txt").read_text(encoding="utf-8")
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([\w.-]+)==([^\s\\;]+)", f"{LOCK}\n{TORCH}", re.MULTILINE)
}

LANGUAGE = "Programming Language :: Python"


def is_installed() -> bool:
    """Say whether the package is installed, not only found on the path."""
    try:
        metadata.version("macrodyn")
    except metadata.PackageNotFoundError:
        return False
    return True


needs_installation = pytest.mark.skipif(not is_installed(), reason="macrodyn is not installed")


def declared() -> list[str]:
    """Return every requirement that the lock must cover."""
    extras = PROJECT["optional-dependencies"]
    build = PYPROJECT["build-system"]["requires"]
    # What a GPU needs is not locked: it depends on the machine's CUDA.
    locked = [line for name, lines in extras.items() if name != "cuda" for line in lines]
    return [*build, *PROJECT["dependencies"], *locked]


@needs_installation
def test_version_is_that_of_the_metadata() -> None:
    assert macrodyn.__version__ == metadata.version("macrodyn") == PROJECT["version"]


def test_without_installation_the_version_is_unknown() -> None:
    source = (ROOT / "src" / "macrodyn" / "__init__.py").read_text(encoding="utf-8")
    source = source.replace('version("macrodyn")', 'version("macrodyn-that-nobody-installed")')
    namespace: dict[str, object] = {}
    exec(compile(source, "__init__.py", "exec"), namespace)
    assert namespace["__version__"] == "0+unknown"


def test_versions_of_the_citation_and_the_package_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    cited = {entry["identifiers"][0]["value"] for entry in citation["references"]}
    assert cited == {"arXiv:2511.12842", "arXiv:2410.23938"}


@pytest.mark.parametrize("target", PROJECT["entry-points"]["macrodyn.systems"].values())
def test_declared_system_exists(target: str) -> None:
    assert isinstance(resolve_name(target), type)


@needs_installation
def test_installed_systems_are_those_declared() -> None:
    found = metadata.distribution("macrodyn").entry_points.select(group="macrodyn.systems")
    assert {entry.name: entry.value for entry in found} == PROJECT["entry-points"][
        "macrodyn.systems"
    ]


def test_console_script_is_callable() -> None:
    assert callable(resolve_name(PROJECT["scripts"]["macrodyn"]))


@needs_installation
def test_console_script_runs() -> None:
    script = Path(sys.executable).parent / "macrodyn"
    done = subprocess.run([script, "--help"], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "macrodyn" in done.stdout


def test_package_is_marked_as_typed() -> None:
    assert (ROOT / "src" / "macrodyn" / "py.typed").is_file()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["macrodyn"]


def test_what_is_no_python_is_packaged_too() -> None:
    package = ROOT / "src" / "macrodyn"
    others = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    listed = PYPROJECT["tool"]["setuptools"]["package-data"]
    found = {
        path.relative_to(package).as_posix()
        for name, patterns in listed.items()
        for pattern in patterns
        for path in package.joinpath(*name.split(".")[1:]).glob(pattern)
    }
    assert found == others


@pytest.mark.parametrize("line", declared())
def test_lock_satisfies_requirement(line: str) -> None:
    requirement = Requirement(line)
    name = canonicalize_name(requirement.name)
    assert name in PINS, f"{line}: not in requirements/ (run make lock)"
    assert PINS[name] in requirement.specifier, f"{line}, but {PINS[name]} is locked"


@pytest.mark.parametrize("line", [*declared(), *PROJECT["optional-dependencies"]["cuda"]])
def test_requirement_has_a_lowest_version_and_no_highest(line: str) -> None:
    """`make lowest` installs that version; a highest one would keep others from installing."""
    requirement = Requirement(line)
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    assert requirement.marker is None


def test_lowest_versions_are_those_of_the_makefile() -> None:
    """What `make lowest` would install: every lowest version but that of torch."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (code,) = re.findall(r"-c '(import tomllib.*?)' \\\n", makefile, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["atomistic"], *extras["dev"]]
    expected = [line.replace(">=", "==") for line in wanted if not line.startswith("torch>")]
    assert done.stdout.split("\n")[:-1] == expected


def test_lock_needs_only_what_it_holds() -> None:
    """What the locked packages require of each other is locked as well."""
    missing = []
    for name, locked in PINS.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if Version(Version(distribution.version).public) != locked:
            continue
        for requirement in map(Requirement, distribution.requires or []):
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            accelerator = re.match("nvidia|cuda|triton", canonicalize_name(requirement.name))
            if needed and not accelerator and canonicalize_name(requirement.name) not in PINS:
                missing.append(f"{requirement.name} (for {name})")
    assert not missing, f"not in requirements/lock.txt: {', '.join(missing)}"


def test_every_pin_of_the_lock_has_hashes() -> None:
    without = [
        block.split("==")[0]
        for block in re.split(r"\n(?=[\w.-]+==)", LOCK)[1:]
        if "--hash=sha256:" not in block
    ]
    assert not without


@pytest.mark.parametrize("text", [LOCK, TORCH], ids=["lock.txt", "torch.txt"])
def test_lock_names_no_place(text: str) -> None:
    """No index, address or folder: where packages come from is the user's choice."""
    found = re.findall(r"^.*(?:--(?!hash=)[a-z]|://|file:|\s@\s|\.whl).*$", text, re.MULTILINE)
    assert not found
    assert "\n-e" not in text


def test_torch_is_requested_by_its_version_alone() -> None:
    lines = [line for line in TORCH.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", lines[0])
    assert not re.search(r"^torch==", LOCK, re.MULTILINE)


def test_supported_python_is_one_everywhere() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert "3.11" in supported
    assert "3.10" not in supported
    assert PYPROJECT["tool"]["mypy"]["python_version"] == "3.11"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert "(3, 11)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_supported_versions_of_python_are_named() -> None:
    named = {line.removeprefix(f"{LANGUAGE} :: ") for line in PROJECT["classifiers"]}
    found = {name for name in named if re.fullmatch(r"3\.\d+", name)}
    assert found == {"3.11", "3.12", "3.13"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"python{name}" in makefile for name in found)


def test_license_is_named_once() -> None:
    """A classifier beside the SPDX expression is refused by the index."""
    assert PROJECT["license"] == "MIT"
    assert not [line for line in PROJECT["classifiers"] if line.startswith("License ::")]


def test_addresses_are_of_one_place() -> None:
    home = PROJECT["urls"]["Homepage"]
    assert set(PROJECT["urls"]) == {"Homepage", "Documentation", "Issues", "Changelog"}
    for address in PROJECT["urls"].values():
        assert address.startswith(home)
    shown = PROJECT["urls"]["Changelog"].removeprefix(f"{home}/blob/main/")
    assert (ROOT / shown).is_file()


def test_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    named = re.findall(r"^## \[(.+)\] - (.+)$", text, re.MULTILINE)
    version, day = named[0]
    assert version == PROJECT["version"]
    assert day == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    assert [Version(name) for name, _ in named] == sorted(
        (Version(name) for name, _ in named), reverse=True
    )


def test_catalogue_of_workflows_is_told_what_it_asks_for() -> None:
    text = (ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8")
    usage = yaml.safe_load(text)["usage"]
    assert usage["report"] is True
    assert usage["software-stack-deployment"]["conda"] is True
    assert set(usage) <= {"mandatory-flags", "software-stack-deployment", "report"}
    rules = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "workflow" / "rules").glob("*.smk")
    )
    assert "conda:" in rules
    assert "container:" not in rules
    assert (ROOT / "workflow" / "Snakefile").is_file()
    files = set(
        re.findall(r"`([\w-]+\.yaml)`", (ROOT / "config/README.md").read_text(encoding="utf-8"))
    )
    assert files
    assert files <= {path.name for path in (ROOT / "config").glob("*.yaml")}


def test_ci_script_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
