"""The system of a stage: with its parameters, where it computes, and what was prepared for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import described_system, stage_system
from macrodyn.systems.ising import Ising

CONFIG = {"system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}}}


class Recording(Ising):
    """Takes any device."""

    devices = ("cpu", "cuda", "elsewhere")

    def __init__(self, parameters, *, device="cpu", prepared=None):
        self.given = SimpleNamespace(parameters=parameters, device=device, prepared=prepared)


@pytest.fixture
def recorded(monkeypatch):
    """Let every stage's system be the one that writes down what it is given."""
    asked = []
    monkeypatch.setattr(
        "macrodyn.pipeline.stage_system.system_class", lambda name: asked.append(name) or Recording
    )
    return asked


def job_of(inputs):
    return Job(stage="evolve", config=CONFIG, inputs=inputs, outputs={})


def test_it_is_given_its_parameters_its_device_and_what_was_prepared(recorded):
    inputs = {
        "states": {"data": "small.nc"},
        "prepared/rates": {"data": "a/data.nc"},
        "prepared/model": {"model": "b/model.json", "training": Path("b/training.json")},
    }
    given = stage_system(job_of(inputs), "elsewhere").given
    assert recorded == ["ising"]
    assert (given.parameters.temperature, given.parameters.field) == (2.5, 0.1)
    assert given.device == "elsewhere"
    assert given.prepared == {
        "rates": {"data": Path("a/data.nc")},
        "model": {"model": Path("b/model.json"), "training": Path("b/training.json")},
    }


def test_it_computes_on_the_processor_where_nothing_is_said(recorded):
    given = stage_system(job_of({"states": {"data": "small.nc"}})).given
    assert given.device == "cpu" and not given.prepared


def test_a_device_that_it_has_no_kernels_for_is_refused():
    config = {"system": {"name": "curie-weiss", "parameters": {"temperature": 2.5}}}
    job = Job(stage="evolve", config=config, inputs={}, outputs={})
    with pytest.raises(ValueError, match="CurieWeiss runs on cpu only"):
        stage_system(job, "cuda")


def test_what_it_is_like_is_told_without_what_is_prepared():
    system = described_system(CONFIG)
    assert isinstance(system, Ising) and system.parameters.temperature == 2.5
