"""Fixtures that tests of several packages share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from macrodyn.systems.ising import Ising, IsingParameters


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
