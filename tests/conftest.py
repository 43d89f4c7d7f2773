"""Fixtures that tests of several packages share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.pipeline.planner import RunPlan, plan_run
from macrodyn.systems.ising import Ising, IsingParameters

# Every key whose edit a test looks at is given, so that an edit never meets a missing section.
BASE: dict[str, Any] = {
    "seed": 5,
    "system": {"name": "ising", "parameters": {"temperature": 2.5, "field": 0.1}},
    "sizes": {"small": [10, 6], "large": [30, 24]},
    "simulate": {"groups": 7, "replicas": 4, "times": [0, 1, 3]},
    "upsample": {"snapshots": 2, "relaxation": {"duration": 1, "sweep": 0.5}},
    "evolve": {"dt": 0.25, "lags": [1, 2], "patches": 3},
    "closure": {"dimension": 1},
    "dynamics": {"members": 2},
    "evaluate": {
        "initial": [-0.5, 0.5],
        "replicas": 4,
        "predicted_replicas": 3,
        "horizons": {"transient": {"spacing": 0.5, "points": 4}},
    },
    "baselines": ["naive", "full"],
    "execution": {"shards": {}, "device": "cpu"},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; the test's own, so that it does not lean on what is tested."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    """Numbers that a test draws from torch's own stream do not depend on which ran before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_ising():
    def make(temperature=2.5, field=0.1, algorithm="auto"):
        return Ising(IsingParameters(temperature=temperature, field=field, algorithm=algorithm))

    return make


@pytest.fixture(scope="session")
def chi_square():
    """p-value of observed numbers of classes against probabilities, rare classes merged."""

    def p_value(observed, probability, least=8.0):
        observed, expected = np.asarray(observed, float), np.asarray(probability) * np.sum(observed)
        order = np.argsort(expected)
        bins = np.zeros(len(expected), dtype=int)
        total, current = 0.0, 0
        for i in order:
            if total >= least:
                total, current = 0.0, current + 1
            bins[i] = current
            total += expected[i]
        o, e = np.bincount(bins, observed), np.bincount(bins, expected)
        assert len(e) > 1, "too few expected to test anything"
        return stats.chi2.sf(((o - e) ** 2 / e).sum(), len(e) - 1)

    return p_value


@pytest.fixture
def own_method(monkeypatch) -> str:
    """The module of a method and of a system from outside, which can be imported."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "house")
    return "own_method"


@pytest.fixture(scope="session")
def make_run() -> Callable[..., PartialEvolutionRun]:
    """Make the small run with changes."""
    return lambda changes=None: PartialEvolutionRun.model_validate(merged(BASE, changes or {}))


@pytest.fixture(scope="session")
def make_plan(make_run: Callable[..., PartialEvolutionRun]) -> Callable[..., RunPlan]:
    """Plan the small run with changes."""
    return lambda changes=None: plan_run("run", make_run(changes))
