"""Kinds of stages: what makes no rule is refused where it is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from macrodyn.pipeline.kind import Scatter, StageKind

SCATTER = Scatter(dimension="group", order="number")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ""}, "cannot be called ''"),
    "upper case": ({"name": "Fit"}, "cannot be called 'Fit'"),
    "a dash": ({"name": "fit-rate"}, "use lower-case letters, digits and _"),
    "a digit first": ({"name": "2fit"}, "cannot be called '2fit'"),
    "the rule of all": ({"name": "all"}, "cannot be called 'all'"),
    "the rule that gathers": ({"name": "gather"}, "cannot be called 'gather'"),
    "work without a function": ({"work": "own"}, "fit.work must be module:function, not 'own'"),
    "work with two": ({"work": "own:a:b"}, "must be module:function, not 'own:a:b'"),
    "no outputs": ({"outputs": {}}, "fit has no outputs"),
    "a scattered model": (
        {"scatter": SCATTER, "outputs": {"model": "model.json"}},
        "fit is scattered: its only output is data, data.nc",
    ),
    "scattered with something beside": (
        {"scatter": SCATTER, "outputs": {"data": "data.nc", "log": "log.txt"}},
        "its only output is data",
    ),
    "scattered under another name": (
        {"scatter": SCATTER, "outputs": {"data": "values.nc"}},
        "its only output is data",
    ),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_rule_is_refused(changes, told):
    with pytest.raises(ValueError) as refusal:
        StageKind(**{"name": "fit", "work": "own:fit", **changes})
    assert told in str(refusal.value)


def test_what_is_left_out():
    kind = StageKind(name="fit_2", work="own:fit")
    assert dict(kind.outputs) == {"data": "data.nc"} and kind.result == "data.nc"
    assert (kind.place, kind.devices, kind.version, kind.scatter) == ("digest", "cpu", 1, None)
    assert StageKind(name="fit_2", work="own:fit") == kind != StageKind(name="fit", work="own:fit")


def test_its_result_is_its_first_output():
    outputs = {"fit": "fit.json", "log": "log.txt"}
    assert StageKind(name="fit", work="own:fit", outputs=outputs).result == "fit.json"


@pytest.mark.parametrize(
    ("environment", "file"),
    [("learn", "../../envs/learn.yaml"), ("own/a.yaml", None), ("/elsewhere/b.yml", None)],
    ids=["named", "a path", "an absolute path"],
)
def test_its_environment_is_one_of_the_workflow_or_a_file(environment, file):
    kind = StageKind(name="fit", work="own:fit", environment=environment)
    assert kind.environment_file == (file or str(Path(environment).absolute()))
