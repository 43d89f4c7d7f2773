"""What the machine lacks is told as such, with the cure, and not as a fault of the study."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from macrodyn.environment import EnvironmentFault, environment_fault
from macrodyn.systems import UnknownSystemError, registry, system_class
from macrodyn.systems.registry import describe_error

SOURCE = Path(__file__).parents[1] / "src" / "macrodyn"
STUDY = """\
study: s
system: {name: ising, parameters: {temperature: 2.5}}
sizes: {small: [8, 6], large: [16, 18]}
runs: {a: {}}
"""
NO_LOCATOR = "cannot cache function 'f': no locator available for file '/a/b.py'"


def raised(error: BaseException, module: str = "own") -> BaseException:
    """The error as code of a module raises it."""
    try:
        exec("raise error", {"__name__": module, "error": error})
    except BaseException as caught:
        return caught
    raise AssertionError


FAULTS = {
    "no folder for numba": (RuntimeError(NO_LOCATOR), "own", "export XDG_CACHE_HOME"),
    "full disk, numba": (
        OSError(28, "No space left on device"),
        "numba.core.caching",
        "NUMBA_CACHE",
    ),
    "read-only, matplotlib": (
        PermissionError(13, "Permission denied"),
        "matplotlib",
        "MPLCONFIGDIR",
    ),
    "matplotlib's own words": (
        OSError("Matplotlib requires access: set the MPLCONFIGDIR environment variable"),
        "matplotlib",
        "MPLCONFIGDIR=",
    ),
    "no temporary folder": (FileNotFoundError(2, "No usable temporary directory"), "own", "TMPDIR"),
    "missing library": (
        ImportError("libgomp.so.1: cannot open shared object file: No such file"),
        "own",
        r"libgomp\.so\.1",
    ),
}


@pytest.mark.parametrize(("error", "module", "cure"), FAULTS.values(), ids=FAULTS)
def test_fault_of_the_environment_is_known_with_its_cure(error, module, cure):
    with pytest.raises(EnvironmentFault, match=cure):
        describe_error(raised(error, module), "own")
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = raised(error, module)
    assert isinstance(environment_fault(wrapped), EnvironmentFault)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "data.txt"),
        RuntimeError("rates are negative"),
        ValueError("no locator available"),
        ModuleNotFoundError("No module named 'x'"),
    ],
    ids=repr,
)
def test_errors_of_own_code_stay_its_own(error):
    assert environment_fault(raised(error)) is None


def test_system_that_the_machine_keeps_from_loading_is_not_unknown(monkeypatch):
    def refuse(module):
        raise RuntimeError(NO_LOCATOR)

    monkeypatch.setattr(registry, "import_named", refuse)
    with pytest.raises(EnvironmentFault, match="NUMBA_CACHE_DIR"):
        system_class.__wrapped__("ising")
    monkeypatch.setattr(registry, "import_named", lambda module: 1 / 0)
    with pytest.raises(UnknownSystemError, match="ZeroDivisionError"):
        system_class.__wrapped__("ising")


@pytest.fixture
def without_rights() -> list[str]:
    """What to put before a command, so that permissions bind it: they do not bind root."""
    if os.geteuid():
        return []
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root ignores permissions, and setpriv cannot take its rights away")
    return command


def test_read_only_checkout_and_home(tmp_path, without_rights):
    package = tmp_path / "src" / "macrodyn"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir()
    (tmp_path / "cache").mkdir()
    config = tmp_path / "t0.yaml"
    config.write_text(STUDY, encoding="utf-8")
    folders = [tmp_path / "home", *(p for p in (tmp_path / "src").rglob("*") if p.is_dir())]
    hidden = {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "MPLCONFIGDIR"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "src")}

    def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*without_rights, sys.executable, *map(str, arguments)],
            env=environment | more,
            capture_output=True,
            encoding="utf-8",
        )

    try:
        for folder in folders:
            folder.chmod(0o555)
        done = call("-m", "macrodyn.cli", "check", config)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("macrodyn: numba finds no folder for the functions")
        assert "XDG_CACHE_HOME" in done.stderr and "system.name" not in done.stderr
        code = "from macrodyn.systems import system_class; print(system_class('ising').__module__)"
        cured = call("-c", code, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert cured.stdout == "macrodyn.systems.ising.system\n", cured.stderr
    finally:
        for folder in folders:
            folder.chmod(0o755)
