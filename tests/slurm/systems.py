"""Ising that takes its time, or memory: the same bits, in jobs that last long enough to be hit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.ising import Ising

# Names the file that says how slow and how large jobs are; without it they are neither.
VARIABLE = "MACRODYN_TEST_BURDEN"


def burden() -> dict[str, float]:
    """Read the file anew, as a test changes it while a job runs."""
    path = Path(os.environ.get(VARIABLE, "/nonexistent"))
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class Burdened(Ising):
    """Ising with a burden: seconds for each state that is evolved, megabytes for each call."""

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        load = burden()
        ballast = np.ones(int(load.get("megabytes", 0)) * 2**17)
        time.sleep(len(states) * load.get("seconds", 0) * float(ballast.size >= 0))
        return super().evolve(states, duration, seeds)
