"""Provenance: what a file says of its making."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from macrodyn.storage import provenance as module
from macrodyn.storage.errors import StoreError
from macrodyn.storage.provenance import check_origin, git_commit, place, provenance, software


@pytest.fixture(autouse=True)
def forget():
    """What is remembered within a process must not pass from test to test."""
    for function in (git_commit, software):
        function.cache_clear()
    yield
    for function in (git_commit, software):
        function.cache_clear()


def test_attributes_are_text_that_a_file_can_hold():
    found = provenance("evolve", {"seed": 3, "sizes": (8, 8)})
    assert set(found) == {
        "stage",
        "stage_config",
        "macrodyn_version",
        "git_commit",
        "software",
    }
    assert all(isinstance(value, str) for value in found.values())
    assert found["stage"] == "evolve"
    assert json.loads(found["stage_config"]) == {"seed": 3, "sizes": [8, 8]}


def test_equal_configurations_read_alike():
    one = provenance("a", {"x": 1, "y": {"b": 2, "a": 1}})
    other = provenance("a", {"y": {"a": 1, "b": 2}, "x": 1})
    assert one == other


def test_versions_are_those_installed():
    found = json.loads(provenance("a", {})["software"])
    for name in ("numpy", "numba", "torch", "xarray", "netCDF4", "snakemake"):
        assert found[name] == version(name)


def test_a_package_that_is_not_installed_is_said_to_be(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "a-package-that-nobody-has"))
    found = software()
    assert found["a-package-that-nobody-has"] == "not installed as a package"
    assert found["numpy"] == version("numpy")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """A source tree in a Git repository of its own, in place of the package's."""
    if shutil.which("git") is None:
        pytest.skip("Git is not installed")
    file = tmp_path / "package" / "provenance.py"
    file.parent.mkdir()
    file.write_text("first\n", encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "First")
    monkeypatch.setattr(module, "__file__", str(file))
    return file


def test_commit_of_a_clean_tree(source):
    assert git_commit() == git(source.parent, "rev-parse", "HEAD")
    assert len(git_commit()) == 40


def test_edited_tree_is_marked(source):
    source.write_text("second\n", encoding="utf-8")
    assert git_commit() == git(source.parent, "rev-parse", "HEAD") + "+changes"


def test_files_that_git_does_not_know_are_no_change(source):
    (source.parent / "results.txt").write_text("results\n", encoding="utf-8")
    assert not git_commit().endswith("+changes")


def test_repository_that_does_not_hold_the_package_has_no_commit(source, monkeypatch):
    """As where an environment with the package stands in the folder of a study."""
    installed = source.parent / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("installed\n", encoding="utf-8")
    monkeypatch.setattr(module, "__file__", str(installed))
    assert git_commit() == ""


def test_outside_git_the_commit_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    assert git_commit() == ""


def test_without_git_the_commit_is_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() == ""


IN_STAGE = {"stage": "simulate", "stage_key": "0123456789ab"}
PLACES = {
    "results/a/stages/simulate/0123456789ab/data.nc": IN_STAGE,
    "/x/stages/simulate/0123456789ab/shard-3-of-12.nc": {**IN_STAGE, "shard": 3, "shards": 12},
    "shard-0-of-1.nc": {"shard": 0, "shards": 1},
    "results/a/stages/simulate/0123456789ab/checkpoint/model/data.nc": {},
    "results/a/stages/simulate/short/data.nc": {},
    "results/a/base/metrics.json": {},
    "data.nc": {},
}


@pytest.mark.parametrize(("path", "expected"), PLACES.items(), ids=PLACES)
def test_a_path_says_where_a_file_belongs(path, expected):
    assert place(Path(path)) == expected


def test_relative_paths_are_those_of_the_working_folder(tmp_path, monkeypatch):
    folder = tmp_path / "stages" / "simulate" / "0123456789ab"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert place(Path("data.nc")) == IN_STAGE


SHARD = Path("/x/stages/simulate/0123456789ab/shard-3-of-12.nc")
RIGHT = {**IN_STAGE, "shard": 3, "shards": 12, "seed": 5}


def test_file_in_its_place_is_accepted():
    check_origin(RIGHT, SHARD)
    check_origin({**RIGHT, "shard": "3"}, SHARD)
    check_origin({}, Path("/x/data.nc"))


@pytest.mark.parametrize("name", ["stage", "stage_key", "shard", "shards"])
def test_file_that_does_not_say_where_it_belongs_is_refused(name):
    with pytest.raises(StoreError, match=rf"does not say for which {name} it was made: rm "):
        check_origin({k: v for k, v in RIGHT.items() if k != name}, SHARD)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stage", "evolve"), ("stage_key", "ab0123456789"), ("shard", 4), ("shards", 3)],
)
def test_file_of_another_place_is_refused(name, value):
    with pytest.raises(StoreError, match=f"its {name} is {value}, not {RIGHT[name]}: rm {SHARD}"):
        check_origin({**RIGHT, name: value}, SHARD)
