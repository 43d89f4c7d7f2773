"""What trainings and their evaluation do, which no single argument of a function shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.dynamics.partial_likelihood import PartialLikelihood
from macrodyn.learning.loop import Course
from macrodyn.methods.partial_evolution import learn
from macrodyn.methods.partial_evolution.compare import markov_metrics

from .bench import BASE, Bench
from .table import LIKELIHOOD, TRAIN_CLOSURE


def test_closure_is_given_the_groups_and_snapshots_of_its_patches(bench: Bench) -> None:
    given = bench.observe("closure", {}, [TRAIN_CLOSURE], stop=True).train_closure[0]
    # 3 groups of 3 times and 2 snapshots, each of 4 patches; samples stand group by group.
    np.testing.assert_array_equal(given.snapshots, np.repeat(np.arange(18), 4))
    np.testing.assert_array_equal(given.groups, np.repeat([0, 1, 2], 24))


def test_closure_holds_out_whole_groups(bench: Bench) -> None:
    target = "macrodyn.closure.train:hold_out"
    split = bench.observe("closure", {}, [target]).hold_out[0]
    np.testing.assert_array_equal(split.group, np.repeat([0, 1, 2], 24))
    training, held_out = split.result
    assert len(training) == 48 and len(set(split.group[held_out])) == 1


@pytest.mark.parametrize("patches", [72, 36], ids=["all patches", "half of the patches"])
def test_closure_variables_are_scaled_over_whole_snapshots(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, patches: int
) -> None:
    """Over those of the training, or where it saw a part of their patches, over all."""
    monkeypatch.setattr(learn, "CLOSURE_PATCHES", patches)
    # Another width for each number of patches, as the bench keeps what it has seen.
    changes = {"closure": {"hidden": patches}}
    targets = [
        "macrodyn.closure.train:hold_out",
        "macrodyn.closure.model:PatchAutoencoder.fit_normalisation",
    ]
    seen = bench.observe("closure", changes, targets)
    zhat = bench.observe("encode", changes).result.z.values[:, 2:]
    assert len(zhat) == 18
    if len(seen.fit_normalisation[-1].closure) != len(zhat):
        assert patches == 72
        zhat = zhat[np.unique(seen.hold_out[0].result[0] // 4)]
    np.testing.assert_allclose(zhat.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(zhat.std(axis=0), 1, atol=1e-5)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Learning rate of each step of the optimiser, over the one that the configuration gives."""
    found: list[float] = []
    step = torch.optim.AdamW.step

    def recorded(self: torch.optim.AdamW, *args: Any) -> Any:
        (rate,) = {group["lr"] for group in self.param_groups}
        found.append(rate)
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    return found


def test_learning_rate_of_the_closure_falls_on_a_cosine(bench: Bench, rates: list[float]) -> None:
    # Of a width of its own, as the bench keeps what it has seen.
    bench.observe("closure", {"closure": {"hidden": 9}})
    peak, steps = BASE["closure"]["learning_rate"], BASE["closure"]["steps"]
    expected = [0.5 * peak * (1 + math.cos(math.pi * k / steps)) for k in range(steps)]
    assert rates == pytest.approx(expected)


def test_learning_rate_of_the_dynamics_rises_stays_and_falls(
    bench: Bench, rates: list[float]
) -> None:
    bench.observe("dynamics", {"dynamics": {"steps": 100}})
    found = np.array(rates[-100:]) / BASE["dynamics"]["learning_rate"]
    np.testing.assert_allclose(found[:2], [0.5, 1.0])
    np.testing.assert_allclose(found[2:50], 1.0)
    np.testing.assert_allclose(found[50:], 0.5 * (1 + np.cos(np.pi * np.arange(50) / 50)))


def test_average_of_the_parameters_is_validated_and_kept(bench: Bench) -> None:
    """Of the iterates, the latest weighing most; over ten steps at first, then over 1 / 0.005."""
    changes = {"dynamics": {"learning_rate": 0.01, "validation_every": 20}}
    given = bench.observe("dynamics", changes, [LIKELIHOOD]).PartialLikelihood[0]
    problem = PartialLikelihood(given.ensemble, given.training, given.validation, given.settings)
    course = Course(problem, given.settings, seed=3)
    average = {name: value.detach().clone() for name, value in problem.parameters.items()}
    for step in range(1, 21):
        course.advance()
        decay = min(0.995, step / (step + 9))
        for name, value in problem.parameters.items():
            average[name] = decay * average[name] + (1 - decay) * value.detach()
    course.validate()
    for name, value in average.items():
        torch.testing.assert_close(course.best[name], value)
    moved = [(problem.parameters[name] - value).abs().max() for name, value in average.items()]
    assert max(moved) > 1e-3
    assert course.told().best_step == [20, 20]


@pytest.mark.parametrize(("samples", "bins"), [(100, 4), (700, 7), (4000, 20)])
def test_markov_diagnostic_has_bins_for_its_samples(samples: int, bins: int) -> None:
    rng = np.random.default_rng(0)
    latents = xr.Dataset(
        {
            "z": (("sample", "variable"), rng.uniform(size=(samples, 1))),
            "increment": (
                ("sample", "patch", "lag", "variable"),
                rng.normal(size=(samples, 2, 1, 1)),
            ),
            "elapsed": (("sample", "patch", "lag"), np.ones((samples, 2, 1))),
            "condition_values": (("sample", "condition"), np.zeros((samples, 0))),
        },
        coords={"variable": ["mean"], "lag": [1], "condition": np.array([], dtype=str)},
        attrs={"patches_total": 4, "dt": 1.0, "n_observables": 1},
    )
    diagnostic, _ = markov_metrics(latents)
    assert diagnostic.sizes["bin"] == bins
