"""The trial of an own system's methods says that it begins, ends in time, and is not repeated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from macrodyn.config.load import ConfigError, load_study
from macrodyn.systems.trial import limit as trial_limit
from macrodyn.systems.trial.limit import KNOWN, VARIABLE

SYSTEM = """
from macrodyn.systems.ising import Ising

class Own(Ising):
    def observe(self, states):
        {code}
        return super().observe(states)
"""
FORCES = """
from macrodyn.systems.predator_prey_pde import PredatorPreyPDE

class Own(PredatorPreyPDE):
    def forces(self, states, coordinates):
        {code}
        return super().forces(states, coordinates)
"""
FORCES_STUDY = {
    "study": "own",
    "method": "partial-forces",
    "system": {"name": "", "parameters": {}},
    "size": [20],
    "simulate": {
        "runs": 6,
        "initial_range": {"mean": [0.3, 0.5], "amplitude": [0.05, 0.1]},
        "times": {"spacing": 0.5, "points": 5},
    },
    "forces": {"number": 4},
    "closure": {"encoder": "modes", "dimension": 2},
    "dynamics": {"steps": 100},
    "evaluate": {"runs": 2, "step": 0.1},
    "runs": {"one": {}},
}
STUDY = {
    "study": "own",
    "system": {"name": "", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [4, 4], "large": [8, 8]},
    "simulate": {"groups": 2, "replicas": 2, "times": [0, 1]},
    "evolve": {"dt": 0.1, "patches": 2},
    "upsample": {"snapshots": 2},
    "runs": {"one": {}, "two": {"seed": 3}},
}
BEGINS = "Trying the methods of {} (60 s at most) ...\n"


@pytest.fixture
def study(tmp_path, monkeypatch, request):
    """Make a study of an Ising model in whose `observe` some more happens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trial_limit, "_here", {})
    monkeypatch.delenv(VARIABLE, raising=False)

    def make(code: str, source: str = SYSTEM, base: dict = STUDY) -> dict:
        module = f"own_{abs(hash(request.node.name))}"
        (tmp_path / f"{module}.py").write_text(source.format(code=code), encoding="utf-8")
        return {**base, "system": {**base["system"], "name": f"{module}:Own"}}

    return make


def test_a_trial_that_passed_is_not_repeated(study, capfd):
    Path(".snakemake").mkdir()
    content = study("print('measured')")
    name = content["system"]["name"]
    load_study(content)
    printed = capfd.readouterr()
    # Once for both runs, which differ in what it does not depend on.
    assert printed.err == BEGINS.format(name) and printed.out == ""
    (known,) = KNOWN.glob("*.json")
    assert json.loads(known.read_text(encoding="utf-8"))["passed"] is True
    trial_limit._here.clear()
    load_study(content)
    assert capfd.readouterr().err == ""
    # It is for another source.
    Path(f"{name.split(':')[0]}.py").open("a", encoding="utf-8").write("# changed\n")
    monkey = {**content, "runs": {"one": {}}}
    load_study(monkey)
    assert BEGINS.format(name) in capfd.readouterr().err


def test_a_slow_trial_ends_and_is_not_waited_for_again(study, capfd, monkeypatch):
    Path(".snakemake").mkdir()
    content = study("import time; time.sleep(300)")
    monkeypatch.setenv(VARIABLE, "0.5")
    begin = time.monotonic()
    load_study(content)
    assert time.monotonic() - begin < 30
    told = capfd.readouterr().err
    assert told.count("Trying the methods of") == 1
    assert told.count("were not tried to the end. The study goes on") == 2
    assert VARIABLE in told
    trial_limit._here.clear()
    load_study(content)
    assert "Trying" not in capfd.readouterr().err


def test_a_process_that_ends_in_the_trial_is_no_success(study):
    content = study("import os; os._exit(7)")
    with pytest.raises(ConfigError, match=r"ended the process that tried them \(7\)"):
        load_study(content)
    assert not Path(".snakemake").exists()


def test_a_system_with_forces_is_tried_in_a_process_of_its_own(study, capfd, monkeypatch):
    content = study("pass", FORCES, FORCES_STUDY)
    load_study(content)
    assert capfd.readouterr().err == BEGINS.format(content["system"]["name"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os._exit(7)", r"ended the process that tried them \(7\)"),
        ("states = states + coordinates.shape[1]", "forces on some coordinates are other than"),
    ],
)
def test_forces_that_are_wrong_there_are_named(study, code, message):
    with pytest.raises(ConfigError, match=message):
        load_study(study(code, FORCES, FORCES_STUDY))


def test_slow_forces_do_not_keep_a_study_from_starting(study, capfd, monkeypatch):
    content = study("import time; time.sleep(300)", FORCES, FORCES_STUDY)
    monkeypatch.setenv(VARIABLE, "0.5")
    begin = time.monotonic()
    load_study(content)
    assert time.monotonic() - begin < 30
    assert "were not tried to the end. The study goes on" in capfd.readouterr().err
