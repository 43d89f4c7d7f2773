"""A stage's key is a digest of what its result depends on, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macrodyn.pipeline.kind import StageKind
from macrodyn.pipeline.stage import Stage

KIND = StageKind(name="fit", work="own:fit")
SOURCE = Stage(StageKind(name="sample", work="own:sample"), {"seed": 1})
OTHER = Stage(StageKind(name="sample", work="own:sample"), {"seed": 2})
BASE: dict[str, Any] = {"kind": KIND, "config": {"b": 1, "a": {"y": 2, "x": [{"d": 1, "c": 2}]}}}
STAGE = Stage(**BASE, parents={"data": SOURCE})

SAME: dict[str, Stage] = {
    "the order of the configuration": Stage(
        KIND, {"a": {"x": [{"c": 2, "d": 1}], "y": 2}, "b": 1}, {"data": SOURCE}
    ),
    "how it is cut and where it runs": replace(STAGE, execution={"shards": 7, "device": "cuda"}),
    "what it reads beside": replace(STAGE, beside={"more": OTHER}),
    "its subject": replace(STAGE, subject="base"),
    "its memory": replace(STAGE, kind=replace(KIND, memory=1, minutes=1, environment="learn")),
    "its work": replace(STAGE, kind=replace(KIND, work="elsewhere:fit")),
}


@pytest.mark.parametrize("stage", SAME.values(), ids=SAME)
def test_key_does_not_change_with(stage):
    assert stage.key == STAGE.key


CHANGED: dict[str, Stage] = {
    "a value": replace(STAGE, config={**BASE["config"], "b": 2}),
    "the order of a list": replace(STAGE, config={"b": [1, 2]}),
    "a further key": replace(STAGE, config={**BASE["config"], "z": None}),
    "a parent": replace(STAGE, parents={"data": OTHER}),
    "the role of a parent": replace(STAGE, parents={"source": SOURCE}),
    "a further parent": replace(STAGE, parents={"data": SOURCE, "more": OTHER}),
    "its version": replace(STAGE, kind=replace(KIND, version=2)),
    "the version of a parent": replace(
        STAGE, parents={"data": replace(SOURCE, kind=replace(SOURCE.kind, version=2))}
    ),
    "its name": replace(STAGE, kind=replace(KIND, name="other")),
}


@pytest.mark.parametrize("stage", CHANGED.values(), ids=CHANGED)
def test_key_changes_with(stage):
    assert stage.key != STAGE.key


def test_params_are_the_same_text_whatever_the_order():
    """Snakemake runs a rule again whose params come in another order."""
    assert repr(SAME["the order of the configuration"].config) == repr(STAGE.config)


def test_inputs_are_its_parents_and_what_it_reads_beside():
    stage = replace(STAGE, beside={"more": OTHER})
    assert stage.inputs == {"data": SOURCE, "more": OTHER}
    # What stands beside is in the key of some parent already: it is no ancestor of its own.
    assert list(stage.ancestors()) == [SOURCE.id, stage.id]


def test_ancestors_come_before_what_reads_them_and_once():
    middle = Stage(StageKind(name="join", work="own:join"), {}, {"a": SOURCE, "b": OTHER})
    last = Stage(KIND, {}, {"c": middle, "d": SOURCE})
    found = list(last.ancestors().values())
    assert found == [SOURCE, OTHER, middle, last]


@pytest.mark.parametrize(
    ("place", "folder"),
    [("run", "mine"), ("analysis", "analyses/mine"), ("study", "."), ("digest", None)],
)
def test_folder_is_that_of_its_place(place, folder):
    stage = Stage(replace(KIND, place=place), {}, subject="" if place == "digest" else "mine")
    assert stage.folder == (folder or f"stages/fit/{stage.key}")
    assert stage.id == ("fit", stage.key if place == "digest" else "mine")


def test_one_job_on_the_processor_where_nothing_is_said():
    assert (STAGE.shards, STAGE.device) == (1, "cpu")
    moved = SAME["how it is cut and where it runs"]
    assert (moved.shards, moved.device) == (7, "cuda")
