"""What trainings and their evaluation do, which no single argument of a function shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.dynamics.train import Trainer
from macrodyn.methods.partial_evolution import learn
from macrodyn.methods.partial_evolution.compare import markov_metrics

from .bench import BASE, Bench
from .table import TRAIN_CLOSURE, TRAIN_DYNAMICS, UPDATE


def test_closure_is_given_the_groups_and_snapshots_of_its_patches(bench: Bench) -> None:
    given = bench.observe("closure", {}, [TRAIN_CLOSURE], stop=True).train_closure[0]
    # 3 groups of 3 times and 2 snapshots, each of 4 patches; samples stand group by group.
    np.testing.assert_array_equal(given.snapshots, np.repeat(np.arange(18), 4))
    np.testing.assert_array_equal(given.groups, np.repeat([0, 1, 2], 24))


def test_closure_holds_out_whole_groups(bench: Bench) -> None:
    target = "macrodyn.closure.train:split_groups"
    split = bench.observe("closure", {}, [target]).split_groups[0]
    np.testing.assert_array_equal(split.groups, np.repeat([0, 1, 2], 24))
    training, held_out = split.result
    assert len(training) == 48 and len(set(split.groups[held_out])) == 1


@pytest.mark.parametrize("patches", [72, 36], ids=["all patches", "half of the patches"])
def test_closure_variables_are_scaled_over_whole_snapshots(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, patches: int
) -> None:
    """Over those of the training, or where it saw a part of their patches, over all."""
    monkeypatch.setattr(learn, "CLOSURE_PATCHES", patches)
    # Another width for each number of patches, as the bench keeps what it has seen.
    changes = {"closure": {"hidden": patches}}
    targets = [
        "macrodyn.closure.train:split_groups",
        "macrodyn.closure.model:PatchAutoencoder.fit_normalisation",
    ]
    seen = bench.observe("closure", changes, targets)
    zhat = bench.observe("encode", changes).result.z.values[:, 2:]
    assert len(zhat) == 18
    if len(seen.fit_normalisation[-1].closure) != len(zhat):
        assert patches == 72
        zhat = zhat[np.unique(seen.split_groups[0].result[0] // 4)]
    np.testing.assert_allclose(zhat.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(zhat.std(axis=0), 1, atol=1e-5)


def test_learning_rate_of_the_closure_falls_on_a_cosine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def recorded(self: torch.optim.Adam, *args: Any) -> Any:
        rates.extend(group["lr"] for group in self.param_groups)
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    bench.observe("closure", {}, [UPDATE])
    peak, steps = BASE["closure"]["learning_rate"], BASE["closure"]["steps"]
    expected = [0.5 * peak * (1 + math.cos(math.pi * k / steps)) for k in range(steps)]
    assert rates == pytest.approx(expected)


def test_learning_rate_of_the_dynamics_rises_stays_and_falls(bench: Bench) -> None:
    updates = bench.observe("dynamics", {"dynamics": {"steps": 100}}, [UPDATE]).update
    assert [call.step for call in updates] == list(range(1, 101))
    rates = np.array([call.rate for call in updates]) / BASE["dynamics"]["learning_rate"]
    np.testing.assert_allclose(rates[:2], [0.5, 1.0])
    np.testing.assert_allclose(rates[2:50], 1.0)
    np.testing.assert_allclose(rates[50:], 0.5 * (1 + np.cos(np.pi * np.arange(50) / 50)))


def test_average_of_the_parameters_is_validated_and_kept(bench: Bench) -> None:
    """Of the iterates, the latest weighing most; over ten steps at first, then over 1 / 0.005."""
    changes = {"dynamics": {"learning_rate": 0.01}}
    given = bench.observe("dynamics", changes, [TRAIN_DYNAMICS], stop=True).train_ensemble[0]
    trainer = Trainer(given.data_train, given.data_val, given.settings)
    average = trainer.optimiser.flat.clone()
    for step in range(1, 21):
        trainer.advance()
        decay = min(0.995, step / (step + 9))
        average = decay * average + (1 - decay) * trainer.optimiser.flat
    latest = trainer.optimiser.flat.clone()
    trainer.validate()
    ensemble, history = trainer.result()
    kept = torch.cat([parameter.flatten() for parameter in ensemble.parameters()])
    torch.testing.assert_close(kept, average)
    assert (latest - average).abs().max() > 1e-3
    assert history.best_step == [20, 20]


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
