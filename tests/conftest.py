"""Fixtures that tests of several packages share."""

from __future__ import annotations

import pytest

from macrodyn.systems.ising import Ising, IsingParameters


@pytest.fixture(scope="session")
def make_ising():
    def make(temperature=2.5, field=0.1, algorithm="auto"):
        return Ising(IsingParameters(temperature=temperature, field=field, algorithm=algorithm))

    return make
