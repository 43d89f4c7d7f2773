"""What `macrodyn init` writes works as it stands: studies, and a system of one's own."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.linalg import expm
from scipy.stats import chisquare

from macrodyn.cli import main
from macrodyn.config.load import load_study
from macrodyn.lattice import PatchGeometry, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems.registry import BUILT_IN

NAMES = ["1e3", "yes", "a.b-c_d", "2024"]
# As the installed command: Python does not look into the current folder by itself.
ELSEWHERE = "import sys; sys.path.remove(''); from macrodyn.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> Path:
    """An empty folder to begin in; modules that are imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


@pytest.mark.parametrize("system", sorted(BUILT_IN))
def test_the_study_of_a_built_in_system_is_accepted(system, capsys, empty):
    assert main(["init", "study", "mine", "--system", system]) == 0
    assert capsys.readouterr().out.startswith("mine.yaml\n\nNext: macrodyn check mine.yaml\n")
    study = load_study("mine.yaml", check_systems=system in ("ising", "predator-prey-pde"))
    assert study.name == "mine" and study.warnings == []
    assert {run.system.name for run in study.runs.values()} == {system}
    assert [path.name for path in empty.iterdir()] == ["mine.yaml"]


def test_the_study_is_of_ising_unless_another_is_asked_for():
    assert main(["init", "study", "mine"]) == 0
    assert load_study("mine.yaml", check_systems=False).runs["base"].system.name == "ising"


@pytest.mark.parametrize("name", NAMES)
def test_a_study_may_have_a_name_that_yaml_reads_otherwise(name):
    assert main(["init", "study", name]) == 0
    assert load_study(f"{name}.yaml", check_systems=False).name == name


@pytest.mark.parametrize("system", sorted(BUILT_IN))
def test_keys_that_are_commented_out_are_keys(system):
    """With the marks of comments taken away, the study is accepted as well."""
    assert main(["init", "study", "mine", "--system", system]) == 0
    _, study, rest = Path("mine.yaml").read_text(encoding="utf-8").partition("\nstudy:")
    body = re.sub(r"(?m)^( *)# ", r"\1", study + rest)
    found = load_study(yaml.safe_load(body), check_systems=False)
    assert len(found.runs) == 2


REFUSED = {
    "a path": (["study", "a/b"], "must be letters, digits"),
    "another system": (["study", "a", "--system", "isng"], "did you mean 'ising'?"),
    "no system": (["study", "a", "--system", "xyz"], "There are allen-cahn, curie-weiss, ising"),
    "no module": (["system", "My System"], "must be small letters and digits"),
    "a word of Python": (["system", "class"], "Python has a class of its own"),
    "a module of Python": (["system", "json"], "Python has a json of its own"),
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_wrong_names_are_refused(arguments, told, capsys, empty):
    assert main(["init", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("file", ["big_voters.py", "big-voters.yaml"])
def test_nothing_is_written_over(file, capsys, empty):
    Path(file).write_text("mine", encoding="utf-8")
    for what in ("system", "study") if file.endswith("yaml") else ("system",):
        assert main(["init", what, "big-voters"]) == 1
        told = capsys.readouterr().err
        assert told == f"macrodyn: {file} is there already: give another name, or move it away\n"
    assert [path.name for path in empty.iterdir()] == [file]
    assert Path(file).read_text(encoding="utf-8") == "mine"


def test_an_own_system_is_found_in_the_current_folder_and_accepted(capsys, empty):
    assert main(["init", "system", "big-voters"]) == 0
    assert capsys.readouterr().out.startswith("big_voters.py\nbig-voters.yaml\n\nNext: macrodyn ")
    assert "my" not in Path("big-voters.yaml").read_text(encoding="utf-8").lower()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, "check", "big-voters.yaml"],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("big-voters.yaml: study big-voters, 1 run(s)")
    assert "Trying the methods of big_voters:BigVoters" in done.stderr


def test_methods_of_the_own_system_are_tried(capsys):
    assert main(["init", "system", "voters"]) == 0
    module = Path("voters.py")
    text = module.read_text(encoding="utf-8")
    wrong = text.replace(".sum(axis=1) / side", ".mean(axis=1)")
    assert wrong != text
    module.write_text(wrong, encoding="utf-8")
    assert main(["check", "voters.yaml"]) == 1
    assert "system.name: Voters: " in capsys.readouterr().err


LENGTH = 4


@pytest.fixture
def voters():
    cls = import_module("macrodyn.templates.my_system").MySystem
    return cls(cls.Parameters(noise=0.3))


def rates(x):
    """Rate of each site's change: noise and half of the unlike neighbours."""
    return 0.3 + 0.5 * ((x != np.roll(x, 1, -1)) * 1.0 + (x != np.roll(x, -1, -1)))


def test_the_own_system_has_the_probabilities_of_its_master_equation(voters):
    number, duration = 20_000, 0.7
    states = (np.arange(2**LENGTH)[:, None] >> np.arange(LENGTH)) & 1
    q = np.zeros((2**LENGTH, 2**LENGTH))
    for i in range(LENGTH):
        q[np.arange(2**LENGTH), np.arange(2**LENGTH) ^ (1 << i)] = rates(states)[:, i]
    q -= np.diag(q.sum(axis=1))
    start = np.array([1, 0, 0, 1], dtype=np.uint8)
    rings = np.broadcast_to(start, (number, 1, LENGTH)).copy()
    after = voters.evolve(rings, duration, seeds(6, "evolve", index=number))
    bits = 1 << np.arange(LENGTH)
    observed = np.bincount(after[:, 0].astype(int) @ bits, minlength=2**LENGTH)
    expected = number * expm(q * duration)[start @ bits]
    assert expected.min() > 5
    assert chisquare(observed, expected).pvalue > 1e-3


def test_increments_of_the_own_system_sum_to_the_drift(voters):
    ring = voters.initial_states(np.array([[0.4]]), (24,), seeds(1, "ring", index=1))
    flipped = np.repeat(ring, 24, axis=0)
    flipped[np.arange(24), 0, np.arange(24)] ^= 1
    rate = rates(ring[0, 0])
    exact = rate @ (voters.observe(flipped) - voters.observe(ring))
    geometry = PatchGeometry((6,))
    windows = gather(ring, Tiling((24,), (6,)).origins() - geometry.margin, geometry.window)[0]
    drift = np.zeros(2)
    for number, window in enumerate(windows):
        for i in range(6):
            after = window.copy()
            after[0, geometry.margin + i] ^= 1
            change = voters.observable_increment(window[None], after[None], geometry)[0]
            drift += rate[number * 6 + i] * change
    np.testing.assert_allclose(drift / 4, exact, atol=1e-13)
    assert np.abs(exact).min() > 1e-3
