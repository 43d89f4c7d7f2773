"""The figure of sampled equilibria."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.figures_sampled import sampled_means
from macrodyn.evaluation.sampled import sampled_equilibrium


@pytest.fixture
def places():
    rng = np.random.default_rng(1)

    def place(mean):
        return sampled_equilibrium(
            mean + rng.normal(0, 0.1, (2, 4, 10, 2)),
            mean + rng.normal(0, 0.1, (2, 8, 20, 2)),
            mean + rng.normal(0, 0.1, (3, 2, 8, 20, 2)),
            np.arange(20.0),
            fraction=0.25,
        )

    return [place(mean) for mean in (3.0, 1.0, 2.0)]


def drawn(panel):
    """Places and heights of the markers, by kind."""
    return [
        (line.get_xdata(), line.get_ydata()) for line in panel.lines if line.get_marker() in "os^"
    ]


def test_means_stand_at_their_values_in_order(places):
    figure = sampled_means(places, at=[300.0, 100.0, 200.0], axis="temperature", names=["a", "b"])
    for k, panel in enumerate(figure.axes):
        (x, y), *others = drawn(panel)
        np.testing.assert_allclose(x, [100, 200, 300], atol=3)
        np.testing.assert_allclose(y, [places[n].mean[k] for n in (1, 2, 0)])
        assert len(others) == 2
        assert panel.get_xlabel() == "temperature"
        np.testing.assert_allclose(
            others[1][1], [places[n].predicted[:, k].mean() for n in (1, 2, 0)]
        )


def test_places_without_a_value_stand_by_name(places):
    figure = sampled_means(places[:1], at=["here"], axis=None, names=["a", "b"])
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["here"]
    places_of = [x[0] for x, _ in drawn(figure.axes[0])]
    assert places_of == sorted(places_of) and len(set(places_of)) == 3


def test_without_direct_trajectories_there_is_no_mark_of_them():
    rng = np.random.default_rng(1)
    chains, predicted = rng.normal(size=(2, 4, 10, 2)), rng.normal(size=(3, 2, 8, 20, 2))
    alone = sampled_equilibrium(chains, None, predicted, np.arange(20.0), fraction=0.25)
    figure = sampled_means([alone], at=["here"], axis=None, names=["a", "b"])
    assert len(drawn(figure.axes[0])) == 2
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["sampled equilibrium", "late predictions"]
