"""The figures of a run: the nearest snapshots, and learned beside exact moments."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.evaluation.equilibrium import equilibrium
from macrodyn.methods.partial_evolution.compare import Comparison
from macrodyn.methods.partial_evolution.run_figures import (
    comparison_figures,
    learned_moments,
    snapshot_figure,
)


class Waves:
    """A system of two fields on a line, whose observables are their means."""

    dimension, channels, time_unit = 1, 2, "s"
    observables = observable_names = ("prey", "predator")
    labels, state_labels = {"predator": r"predators $\bar v$"}, {}

    def __init__(self, rate: float = 2.0) -> None:
        self.rate = rate

    def with_parameters(self, rate: float) -> Waves:
        return Waves(rate)

    def observe(self, states: np.ndarray) -> np.ndarray:
        return states.mean(axis=2, dtype=np.float64)

    def exact_moments(self, values: np.ndarray, shape: tuple[int, ...]):
        covariance = np.eye(2) * self.rate / np.prod(shape)
        return np.full_like(values, np.nan), np.broadcast_to(covariance, (len(values), 2, 2))


def _fields(prey: list[float], predator: list[float], sites: int) -> np.ndarray:
    means = np.stack([prey, predator], axis=1)
    return np.repeat(means[:, :, None], sites, axis=2).astype(np.float32)


def _stores() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """True snapshots at 0, 2e-12 and 5e-12 s; the middle one of example 1 is (0.5, 0.6).

    Example 1 of the large ones is near it in both observables, example 0 in prey alone.
    """
    small = _fields([0.5, 0.52, 0.8], [0.1, 0.61, 0.6], 100)[:, None, None]
    small = np.concatenate([small + 7, small, small + 7], axis=1)
    large = _fields([0.5, 0.53, 0.9], [0.2, 0.62, 0.6], 200)
    true = _fields([0.9, 0.5], [0.1, 0.6], 200)[:, None]
    true = np.concatenate([true + 7, true, true + 7], axis=1)
    axes = ("example", "channel", "x")
    return (
        xr.Dataset(
            {"states": (("group", "time", "replica", "channel", "x"), small)},
            coords={"time": [0.0, 2e-12, 4e-12]},
        ),
        xr.Dataset({"level_0_raw": (axes, large + 1), "level_0_relaxed": (axes, large)}),
        xr.Dataset(
            {"example_states": (("example", "example_time", "channel", "x"), true)},
            coords={"example_time": [0.0, 2.1e-12, 5e-12]},
        ),
    )


def test_snapshots_shown_are_of_one_time_and_nearest_in_all_observables() -> None:
    figure = snapshot_figure(*_stores(), Waves(), "base")
    drawn = [[line.get_ydata()[0] for line in panel.lines] for panel in figure.axes if panel.lines]
    np.testing.assert_allclose(drawn[0], [0.52, 0.61], rtol=1e-6)
    np.testing.assert_allclose(drawn[1], [1.53, 1.62], rtol=1e-6)
    np.testing.assert_allclose(drawn[2], [0.53, 0.62], rtol=1e-6)
    np.testing.assert_allclose(drawn[3], [0.5, 0.6], rtol=1e-6)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["prey", "predator"]


def test_snapshots_say_their_time_and_macrostate() -> None:
    figure = snapshot_figure(*_stores(), Waves(), "base")
    heads = [panel.get_title() for panel in figure.axes]
    assert heads[0] == "after upsampling" and heads[2] == "direct simulation"
    assert heads[1] == "after relaxation\n$t$ = 2e-12 s\nprey = 0.52, $\\bar v$ = 0.61"
    assert heads[3:] == [
        "$t$ = 2e-12 s\nprey = 1.53, $\\bar v$ = 1.62",
        "$t$ = 2e-12 s\nprey = 0.53, $\\bar v$ = 0.62",
        "$t$ = 2.1e-12 s\nprey = 0.5, $\\bar v$ = 0.6",
    ]


def test_snapshots_without_a_reference_are_those_nearest_to_the_middle_example() -> None:
    small, large, _ = _stores()
    figure = snapshot_figure(small, large, None, Waves(), "base")
    drawn = [[line.get_ydata()[0] for line in panel.lines] for panel in figure.axes if panel.lines]
    np.testing.assert_allclose(drawn, [[0.52, 0.61], [1.53, 1.62], [0.53, 0.62]], rtol=1e-6)
    assert "direct simulation" not in "".join(panel.get_title() for panel in figure.axes)


def test_snapshots_without_upsampling() -> None:
    small, _, reference = _stores()
    figure = snapshot_figure(small, xr.Dataset(), reference, Waves(), "base")
    drawn = [[line.get_ydata()[0] for line in panel.lines] for panel in figure.axes]
    np.testing.assert_allclose(drawn, [[0.52, 0.61], [0.5, 0.6]], rtol=1e-6)


def test_channels_that_are_not_the_observables_are_numbered() -> None:
    system = Waves()
    system.observables = system.observable_names = ("prey",)
    system.observe = lambda states: states[:, 0].mean(axis=1, keepdims=True)
    figure = snapshot_figure(*_stores(), system, "base")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["channel 1", "channel 2"]


def _latents(conditions: int) -> xr.Dataset:
    rng = np.random.default_rng(0)
    names = ["rate"][:conditions]
    given = rng.choice([1.0, 4.0], (300, conditions))
    return xr.Dataset(
        {
            "z": (("sample", "variable"), rng.normal(size=(300, 3))),
            "condition_values": (("sample", "condition"), given),
        },
        coords={"variable": ["prey", "predator", "closure_0"], "condition": names},
    )


class Learned:
    """Diffusion right for the rate it is given, or for 2; twice as large in the second member."""

    def drift(self, z: torch.Tensor, conditions: torch.Tensor | None) -> torch.Tensor:
        return torch.stack([z, z])

    def covariance(self, z: torch.Tensor, conditions: torch.Tensor | None) -> torch.Tensor:
        rate = torch.full((len(z), 1), 2.0) if conditions is None else conditions
        once = torch.eye(3) * (rate / 200)[:, None]
        return torch.stack([once, 2 * once])


@pytest.mark.parametrize("conditions", [0, 1], ids=["no-condition", "one-condition"])
def test_learned_diffusion_is_compared_at_each_sample_s_condition(conditions: int) -> None:
    latents = _latents(conditions)
    found = learned_moments(latents, Learned(), Waves(), (200,), seed=1)
    assert found.z.shape == (300, 3) and found.drift.shape == (2, 300, 3)
    assert found.exact is not None and found.comparison is not None
    assert np.isnan(found.exact[0]).all()
    summary = found.comparison.summary()
    assert summary["drift"] == {}
    for name in ("prey", "predator"):
        members = summary["diffusion"][name]["max"]["members"]
        np.testing.assert_allclose(members, [0.0, 1.0], atol=1e-5)
        assert summary["diffusion"][name]["max"]["ensemble"] == pytest.approx(0.5, abs=1e-5)


def test_system_that_knows_nothing_is_not_compared() -> None:
    system = SimpleNamespace(observable_names=("prey",), exact_moments=lambda values, shape: None)
    found = learned_moments(_latents(0), Learned(), system, (200,), seed=1)
    assert found.exact is None and found.comparison is None


def _comparison() -> Comparison:
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(2, 8, 20, 2))
    prediction = rng.normal(size=(2, 2, 8, 20, 2))
    return Comparison(
        time=np.arange(20.0),
        initial=np.array([[0.4], [0.6]]),
        components=("prey",),
        reference=reference,
        predictions={"ours": prediction},
        equilibria={"ours": equilibrium(prediction, reference)},
    )


def test_figures_write_observables_as_the_system_says() -> None:
    system = Waves()
    system.labels = {"prey": r"hares $\bar u$"}
    figures = dict(
        (kind, figure)
        for kind, _, figure in comparison_figures(_comparison(), system, "late", "base")
    )
    trajectories, equilibria = figures["trajectories"], figures["equilibrium"]
    assert [panel.get_ylabel() for panel in trajectories.axes] == [
        r"hares $\bar u$",
        "predator",
        r"mean $\bar u$, difference",
        "mean predator, difference",
        r"initial hares $\bar u$",
    ]
    assert [panel.get_xlabel() for panel in equilibria.axes] == [r"hares $\bar u$", "predator"]
    assert equilibria.axes[0].get_ylabel() == r"probability density of $\bar u$"
