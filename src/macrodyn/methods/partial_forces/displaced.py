"""Configurations beside the trajectories.

A trajectory says how z moves along it. It says nothing of what brings z back, should a prediction
leave it, as predictions do by the error of their model. Microscopic dynamics mostly leads back, and
the forces at configurations close by tell how.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.streams import generator

PAIRS = 2
"""Differences that a displacement is the sum of."""


def draw_displacements(
    number: int, share: float, distance: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw which of n configurations x_i are displaced, and along which differences of others.

    ::

        x_i + distance / sqrt(PAIRS) sum_k xi_k (x_{a_k} - x_{b_k}),   xi_k ~ N(0, 1)

    So the displacements have the covariance of the configurations, times 2 distance^2: along each
    mode they are as small as what is found along it.

    Args:
        number: n.
        share: Share of the configurations that are displaced.
        distance: See above.
        seed: The study's seed.

    Returns:
        a and b, of n, shape [n, PAIRS, 2]; and the factors of the differences, shape [n, PAIRS],
        zero for what stays where it is.
    """
    rng = generator(seed, "displaced")
    moved = np.zeros(number, bool)
    moved[rng.permutation(number)[: round(share * number)]] = True
    others = rng.integers(number, size=(number, PAIRS, 2))
    factors = distance / np.sqrt(PAIRS) * rng.standard_normal((number, PAIRS))
    return others, np.where(moved[:, None], factors, 0.0)


def configurations_at(states: NDArray[np.floating], given: xr.Dataset) -> NDArray[np.float64]:
    """The configurations of a part of what `sample.partial_forces` makes.

    Args:
        states: Of all trajectories, shape [run, time, particle, component].
        given: Its ``run`` and ``record`` [sample]; where some are displaced also ``other_run`` and
            ``other_record`` [sample, pair, end], and ``factor`` [sample, pair].

    Returns:
        Shape [sample, particle, component].
    """
    found = states[given.run.values, given.record.values].astype(np.float64)
    if "factor" not in given:
        return found
    factors = given.factor.values
    moved = np.flatnonzero(factors.any(axis=1))
    runs, records = given.other_run.values[moved], given.other_record.values[moved]
    for pair in range(factors.shape[1]):
        first, second = (
            states[runs[:, pair, end], records[:, pair, end]].astype(np.float64) for end in (0, 1)
        )
        found[moved] += factors[moved, pair, None, None] * (first - second)
    return found
