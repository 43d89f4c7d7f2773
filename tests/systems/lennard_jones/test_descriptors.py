"""Numbers of pairs, against sums over all pairs and images, and their derivatives."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from macrodyn.systems.lennard_jones import CellList, LennardJones, LennardJonesParameters
from macrodyn.systems.lennard_jones.descriptors import CLOSEST, RadialSplines

from .conftest import disordered
from .test_pair import BOXES

SPLINES = RadialSplines(number=5, cutoff=2.5)


def spline(t):
    """The cubic B-spline as a sum of truncated cubes."""
    weights = {-2: 1, -1: -4, 0: 6, 1: -4, 2: 1}
    return sum(w * np.maximum(t - at, 0) ** 3 for at, w in weights.items()) / 6


def by_all_images(splines, x, box):
    """The values g: every pair with every image."""
    sides = np.broadcast_to(np.asarray(box, dtype=float), 3)
    x = x % sides
    found = np.zeros(splines.number)
    reach = [range(-n, n + 1) for n in np.ceil(splines.cutoff / sides).astype(int)]
    for image in product(*reach):
        d = x[:, None] - x[None] - np.array(image) * sides
        r = np.sqrt((d**2).sum(axis=-1))
        r = r[(r > 0) & (r < splines.cutoff)]
        found += 0.5 * spline((r[:, None] - splines.radii) / splines.spacing).sum(axis=0)
    return found / len(x)


def case(name, seed=0):
    number, box, _ = BOXES[name]
    x = disordered(number, box)
    return x, np.random.default_rng(seed).normal(size=x.shape), box


@pytest.mark.parametrize("name", BOXES)
def test_values_are_sums_over_all_pairs_and_images(name):
    x, v, box = case(name)
    found = SPLINES.values(CellList.of(x, box, 2.5), v)[:5]
    np.testing.assert_allclose(found, by_all_images(SPLINES, x, box), rtol=1e-10, atol=1e-14)


def test_splines_lie_between_the_closest_distance_and_the_cutoff():
    radii, h = SPLINES.radii, SPLINES.spacing
    np.testing.assert_allclose([radii[0] - 2 * h, radii[-1] + 2 * h], [CLOSEST, 2.5])
    assert len(radii) == 5
    r = np.linspace(CLOSEST + 3 * h, 2.5 - 3 * h, 7)
    np.testing.assert_allclose(spline((r[:, None] - radii) / h).sum(1), 1.0)


@pytest.mark.parametrize("name", ["two cells", "less than a cell", "three sides"])
def test_rows_are_the_derivatives(name):
    x, v, box = case(name)
    rows = SPLINES.rows(CellList.of(x, box, 2.5), v)
    direction = np.random.default_rng(2).normal(size=(len(x), 6))
    step = 1e-6

    def at(s):
        return SPLINES.values(
            CellList.of(x + s * direction[:, :3], box, 2.5), v + s * direction[:, 3:]
        )

    expected = (at(step) - at(-step)) / (2 * step)
    np.testing.assert_allclose(
        np.einsum("kic,ic->k", rows, direction), expected, rtol=1e-6, atol=1e-8
    )


def test_flows_are_the_rates_of_change_of_the_pairs():
    x, v, box = case("two cells")
    step = 1e-6
    after, before = (SPLINES.values(CellList.of(x + s * v, box, 2.5), v) for s in (step, -step))
    found = SPLINES.values(CellList.of(x, box, 2.5), v)
    np.testing.assert_allclose(found[5:], (after - before)[:5] / (2 * step), rtol=1e-6, atol=1e-7)
    assert np.abs(found[5:]).max() > 1e-3


def test_fluid_describes_states_whichever_atom_is_which():
    fluid = LennardJones(LennardJonesParameters())
    rng = np.random.default_rng(1)
    states = np.stack(
        [np.hstack([disordered(200, fluid.box(200), s), rng.normal(size=(200, 3))]) for s in (0, 1)]
    )
    y = fluid.complement(states)
    found = fluid.descriptors(y)
    assert found.shape == (2, len(fluid.descriptor_names)) == (2, 24)
    np.testing.assert_allclose(
        fluid.descriptors(y[:, rng.permutation(200)]), found, rtol=1e-10, atol=1e-13
    )
    # They do not feel the temperature, and a state alone gives the same bits.
    hotter = states * np.array([1, 1, 1, 2, 2, 2])
    np.testing.assert_allclose(
        fluid.descriptors(fluid.complement(hotter)), found, rtol=1e-10, atol=1e-13
    )
    assert np.array_equal(fluid.descriptors(y[1:]), found[1:])
    assert fluid.descriptor_rows(y).shape == (2, 24, 200, 6)
    assert fluid.descriptor_rows(y[:0]).shape == (0, 24, 200, 6)
