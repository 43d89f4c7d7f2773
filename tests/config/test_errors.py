"""Each wrong key is told on one line: what it should be, what was given, what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from macrodyn.config.errors import problems, shown
from macrodyn.config.load import ConfigError, load_study

BASE = """\
study: s
system: {name: ising, parameters: {temperature: 2.5}}
sizes: {small: [8, 6], large: [16, 18]}
"""
RUNS = "runs: {a: {}}\n"
EMPTY = "is empty: write its keys below it, or remove it"
FACTOR = "must be 'theory' or 'estimated', or "
SCALAR = "must be a finite number, text, true, false or null, not "
YES = ": put it in quotes, as YAML reads yes, no, on and off as true and false"
NAME = "must be letters, digits, '_', '.' and '-', and begin with a letter or digit, not "
SHARDS = (
    "no stage of this name is scattered; those are: "
    "equilibrium, evolve, reference, simulate, upsample"
)

# What is added to the base, and the lines that follow.
WRONG = {
    "section left empty": ("evolve:", f"evolve: {EMPTY}"),
    "section that is a number": ("evolve: 3", "evolve: must have keys below it, not 3"),
    "nested section left empty": ("upsample: {relaxation: }", f"upsample.relaxation: {EMPTY}"),
    "horizon left empty": ("evaluate: {horizons: {h: }}", f"evaluate.horizons.h: {EMPTY}"),
    "section of a run left empty": ("runs: {a: {evolve: }}", f"runs.a.evolve: {EMPTY}"),
    "section of a run that is a number": (
        "runs: {a: {execution: 5}}",
        "runs.a.execution: must have keys below it, not 5",
    ),
    "value left empty": (
        "evolve: {dt: }",
        "evolve.dt: is empty, but must be a number, or 'auto': give it a value, or remove it",
    ),
    "one of two forms, a word": (
        "dynamics: {covariance_factor: auto}",
        f"dynamics.covariance_factor: {FACTOR}a number, not 'auto'",
    ),
    "one of two forms, a number": (
        "dynamics: {covariance_factor: -1}",
        f"dynamics.covariance_factor: {FACTOR}greater than 0, not -1",
    ),
    "one of two forms, empty": (
        "dynamics: {covariance_factor: }",
        f"dynamics.covariance_factor: is empty, but {FACTOR}a number: give it a value, or "
        "remove it",
    ),
    "run named by a number": (
        "runs: {8: {}}",
        "runs.8: the name must be text, not 8: put it in quotes",
    ),
    "run named no": ("runs: {no: {}}", f"runs.false: the name must be text, not false{YES}"),
    "run named by a path": ("runs: {a/b: {}}", f"runs.a/b: the name {NAME}'a/b'"),
    "run named on two lines": ('runs: {"a\\nb": {}}', f"runs.'a\\nb': the name {NAME}'a\\nb'"),
    "key that is a number": ("8: 3", "8: the name must be text, not 8: put it in quotes"),
    "nested key that is a number": (
        "evolve: {8: 3}",
        "evolve.8: the name must be text, not 8: put it in quotes",
    ),
    "stage that is not cut, with a wrong number": (
        "execution: {shards: {x: 0}}",
        "execution.shards.x: must be greater than 0, not 0",
    ),
    "stage that is not cut": (
        "execution: {shards: {closure: 2}}",
        f"execution.shards.closure: {SHARDS}",
    ),
    "stage that there is not, in a run": (
        "runs: {a: {execution: {shards: {x: 2}}}}",
        f"runs.a.execution.shards.x: {SHARDS}",
    ),
    "memory of a stage that there is not": (
        "execution: {memory: {evolved: 2}}",
        "execution.memory.evolved: there is no stage of this name; there are: closure, dynamics, "
        "encode, equilibrium, evaluate, evolve, predict, recommend, reference, simulate, "
        "trained_model, upsample",
    ),
    "minutes of a stage that there is not, in a run": (
        "runs: {a: {execution: {minutes: {gather: 2}}}}",
        "runs.a.execution.minutes.gather: there is no stage of this name; there are: closure, "
        "dynamics, encode, equilibrium, evaluate, evolve, predict, recommend, reference, simulate, "
        "trained_model, upsample",
    ),
    "stage whose name cannot be one": (
        'execution: {shards: {"a b": 2}}',
        f"execution.shards.a b: the name {NAME}'a b'",
    ),
    "no runs": ("runs: {}", "runs: is empty: give at least 1 entry"),
    "no list": ("baselines: naive", "baselines: must be a list in brackets, not 'naive'"),
    "number in place of a list": (
        "conditions: {temperature: 2.5}",
        "conditions.temperature: must be a list in brackets, not 2.5",
    ),
    "list without entries": (
        "closure: {channels: []}",
        "closure.channels: is empty: give at least 1 entry",
    ),
    "no hidden layers": (
        "dynamics: {hidden: []}",
        "dynamics.hidden: is empty: give at least 1 entry",
    ),
    "range of one": (
        "simulate: {initial_range: [0]}",
        "simulate.initial_range: entry 2 is missing: add it to the list",
    ),
    "range of three": (
        "simulate: {initial_range: [0, 1, 2]}",
        "simulate.initial_range: must have at most 2 entries, not 3",
    ),
    "range of three by name": (
        "simulate: {initial_range: {magnetisation: [0, 1, 2]}}",
        "simulate.initial_range.magnetisation: must have at most 2 entries, not 3",
    ),
    "word in place of a number": (
        "evolve: {dt: x}",
        "evolve.dt: must be a number, or 'auto', not 'x'",
    ),
    "word in place of a count": (
        "simulate: {groups: many}",
        "simulate.groups: must be a whole number, not 'many'",
    ),
    "fraction in place of a count": ("seed: 1.5", "seed: must be a whole number, not 1.5"),
    "number in place of text": ("title: 5", "title: must be text, not 5: put it in quotes"),
    "word in place of yes": (
        "upsample: {relaxation: {up_to_age: maybe}}",
        "upsample.relaxation.up_to_age: must be true or false, not 'maybe'",
    ),
    "yes in place of a word": (
        "evolve: {boundary: off}",
        f"evolve.boundary: must be 'frozen' or 'periodic', not false{YES}",
    ),
    "parameter that is a list": (
        "runs: {a: {system: {parameters: {field: [1]}}}}",
        f"runs.a.system.parameters.field: {SCALAR}[1]",
    ),
    "infinite parameter": (
        "runs: {a: {system: {parameters: {field: -.inf}}}}",
        f"runs.a.system.parameters.field: {SCALAR}-.inf",
    ),
    "infinite time": (
        "simulate: {times: [0, 1, .inf]}",
        "simulate.times.2: must be finite, not .inf",
    ),
    "infinite relaxation": (
        "upsample: {relaxation: {duration: .inf}}",
        "upsample.relaxation.duration: must be finite, not .inf",
    ),
    "infinite weight decay": (
        "dynamics: {weight_decay: .inf}",
        "dynamics.weight_decay: must be finite, not .inf",
    ),
    "weight decay that is no number": (
        "dynamics: {weight_decay: .nan}",
        "dynamics.weight_decay: must be finite, not .nan",
    ),
    "infinite condition": (
        "conditions: {temperature: [2.5, .inf]}",
        "conditions.temperature.1: must be finite, not .inf",
    ),
    "infinite initial macrostate": (
        "evaluate: {initial: [.inf]}",
        "evaluate.initial.0: must be finite, not .inf",
    ),
    "infinite end of a range": (
        "simulate: {initial_range: [0, .inf]}",
        "simulate.initial_range.1: must be finite, not .inf",
    ),
    "infinite spacing": (
        "evaluate: {horizons: {h: {spacing: .inf, points: 3}}}",
        "evaluate.horizons.h.spacing: must be finite, not .inf",
    ),
    "horizon without points": (
        "evaluate: {horizons: {h: {spacing: 1}}}",
        "evaluate.horizons.h.points: is missing: add it",
    ),
    "unknown key": (
        "evolv: {}",
        "evolv: unknown key: remove it or correct its spelling; the nearest one is evolve",
    ),
}


def lines(text: str) -> list[str]:
    """What is said of a configuration, below the first line."""
    with pytest.raises(ConfigError) as caught:
        load_study(yaml.safe_load(text), "a.yaml")
    first, *rest = str(caught.value).split("\n")
    assert first == "a.yaml is wrong:"
    return [line.removeprefix("  ") for line in rest]


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_key_is_told_on_one_line(changes, expected):
    runs = "" if changes.startswith("runs") else RUNS
    assert lines(f"{BASE}{runs}{changes}\n") == [expected]


def test_wrong_keys_are_told_one_by_one():
    told = lines(
        f"{BASE}{RUNS}seed: x\nevolve: {{dt: 0, stop: x}}\nsimulate: {{times: [-1, x]}}\nfoo: 1\n"
    )
    assert told == [
        "seed: must be a whole number, not 'x'",
        "simulate.times.0: must be at least 0, not -1",
        "simulate.times.1: must be a number, not 'x'",
        "evolve.dt: must be greater than 0, or 'auto', not 0",
        "evolve.stop: must be 'time' or 'events', not 'x'",
        "foo: unknown key: remove it or correct its spelling",
    ]


JARGON = re.compile(
    r"pydantic|instance of|valid (tuple|dict|string)|validation|\[key\]|constrained"
)


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG)
def test_no_word_of_the_library_reaches_the_user(changes, expected):
    runs = "" if changes.startswith("runs") else RUNS
    assert not JARGON.search("\n".join(lines(f"{BASE}{runs}{changes}\n")))


TOGETHER = {
    "one group": (
        {"simulate": {"groups": 1}},
        "simulate.groups: 1 is too few: give at least 2, as whole groups are held out for "
        "validation",
    ),
    "fewer small systems than snapshots, of equal size": (
        {
            "sizes": {"small": [8, 6], "large": [8, 6]},
            "simulate": {"replicas": 3},
            "evolve": {"patches": 1},
        },
        "simulate.replicas: 3 is less than upsample.snapshots (8), but the snapshots are the small "
        "systems themselves where sizes.small is sizes.large: raise the one or lower the other",
    ),
    "published errors of no horizon": (
        {"published": {"papr": {"theirs": 0.1}, "transient": {"theirs": 0.1}}},
        "published.papr: is no horizon of evaluate.horizons (transient): correct the name or add "
        "the horizon",
    ),
}
FITTING: dict[str, dict[str, Any]] = {
    "one group at each of two conditions": {
        "simulate": {"groups": 1},
        "conditions": {"temperature": [2.4, 2.6]},
    },
    "as many small systems as snapshots, of equal size": {
        "sizes": {"small": [8, 6], "large": [8, 6]},
        "simulate": {"replicas": 8},
        "evolve": {"patches": 1},
    },
    "fewer small systems than snapshots, of other size": {"simulate": {"replicas": 3}},
    "published errors of a named horizon": {
        "published": {"paper": {"theirs": 0.1}},
        "evaluate": {"horizons": {"paper": {"spacing": 1, "points": 3}}},
    },
}


@pytest.mark.parametrize(("changes", "expected"), TOGETHER.values(), ids=TOGETHER)
def test_what_a_job_would_refuse_is_told_before(changes, expected):
    assert lines(yaml.safe_dump({**yaml.safe_load(BASE + RUNS), **changes})) == [expected]
    # In a run that alone has it, the run is named.
    (line,) = lines(yaml.safe_dump({**yaml.safe_load(BASE), "runs": {"a": {}, "b": changes}}))
    assert line == f"runs.b.{expected}"


@pytest.mark.parametrize("changes", FITTING.values(), ids=FITTING)
def test_what_no_job_refuses_is_accepted(changes):
    load_study({**yaml.safe_load(BASE + RUNS), **changes})


class Model(BaseModel, extra="forbid"):
    """A model as a system's author may write it."""

    number: Annotated[float, Field(ge=0.5, le=1.25, multiple_of=0.25)] = 1.0
    word: Annotated[str, Field(pattern="^a+$", max_length=3)] = "a"
    below: Annotated[int, Field(lt=3)] = 1
    either: int | list[int] = 1

    @field_validator("below")
    @classmethod
    def _not_two(cls, value: int) -> int:
        if value == 2:
            raise ValueError("Two is no good")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Model:
        if self.number == self.below and self.word == "aa":
            raise ValueError("Number\n is below")
        return self


OTHERS = {
    "at least": ({"number": 0.25}, {"number": "must be at least 0.5, not 0.25"}),
    "at most": ({"number": 1.5}, {"number": "must be at most 1.25, not 1.5"}),
    "other demand": ({"number": 0.6}, {"number": "must be a multiple of 0.25, not 0.6"}),
    "less than": ({"below": 3}, {"below": "must be less than 3, not 3"}),
    "pattern": ({"word": "b"}, {"word": "must match the pattern ^a+$, not 'b'"}),
    "length": ({"word": "aaaa"}, {"word": "must have at most 3 characters, not 'aaaa'"}),
    "its own check": ({"below": 2}, {"below": "two is no good, not 2"}),
    "check of the whole": ({"number": 1, "word": "aa"}, {"": "number is below"}),
    "two forms": (
        {"either": "x"},
        {"either": "must be a whole number, or a list in brackets, not 'x'"},
    ),
    "two forms, one entry": (
        {"either": ["x"]},
        {
            "either": "must be a whole number, not ['x']",
            "either.0": "must be a whole number, not 'x'",
        },
    ),
}


@pytest.mark.parametrize(("content", "expected"), OTHERS.values(), ids=OTHERS)
def test_models_of_other_authors_are_put_in_words(content, expected):
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(content)
    assert problems(caught.value, content) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (float("-inf"), "-.inf"),
        (float("nan"), ".nan"),
        ("no", "'no'"),
        (["x" * 99], f"['{'x' * 55}..."),
    ],
    ids=repr,
)
def test_values_are_shown_as_in_the_file(value, text):
    assert shown(value) == text


def test_long_names_are_cut():
    (line,) = lines(f"{BASE}{RUNS}{'x' * 500}: 1\n")
    assert line == f"{'x' * 57}...: unknown key: remove it or correct its spelling"


def test_own_check_of_parameters_names_the_parameters(tmp_path, monkeypatch):
    Path(tmp_path / "own_errors.py").write_text(
        "from pydantic import model_validator\n"
        "from macrodyn.systems.ising import Ising, IsingParameters\n"
        "class Parameters(IsingParameters):\n"
        "    @model_validator(mode='after')\n"
        "    def _cold(self):\n"
        "        if self.field > self.temperature:\n"
        "            raise ValueError('field is above temperature')\n"
        "        return self\n"
        "class Own(Ising):\n"
        "    Parameters = Parameters\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    system = {"name": "own_errors:Own", "parameters": {"temperature": 1, "field": 2}}
    told = lines(yaml.safe_dump({**yaml.safe_load(BASE + RUNS), "system": system}))
    assert told == ["system.parameters: field is above temperature"]
