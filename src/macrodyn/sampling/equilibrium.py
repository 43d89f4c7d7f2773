"""Equilibrium of the large system by moves that are no dynamics."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.sampling.work import Work
from macrodyn.streams import seeds, substreams
from macrodyn.systems import PatchSystem


def sample_equilibrium(
    system: PatchSystem,
    shape: Shape,
    *,
    initial: NDArray[np.float64],
    numbers: NDArray[np.int64],
    burn_in: int,
    samples: int,
    spacing: int,
    seed: int,
    work: Work,
) -> xr.Dataset:
    """Sample the equilibrium distribution by chains of states.

    Args:
        system: The system.
        shape: The large lattice.
        initial: Initial macrostate of each chain, [chain, component].
        numbers: Global numbers of the chains, which name their streams.
        burn_in: Sweeps before the first sample.
        samples: Samples of each chain.
        spacing: Sweeps between two samples.
        seed: The study's seed.
        work: Goes through the chains, and adds up what they cost: a sweep counts as a unit of time.

    Returns:
        ``observables`` [chain, sample, observable].
    """
    keys = seeds(seed, "equilibrium", index=numbers)
    now = system.initial_states(initial, shape, seeds(seed, "equilibrium-initial", index=numbers))
    values = np.empty((len(initial), samples, len(system.observables)))
    arrays = {"now": now, "values": values}
    for i, rows in work.blocks([len(initial)] * samples, arrays):
        sweeps = spacing if i else burn_in
        own = substreams(keys[rows], i)
        moved = system.equilibrate(arrays["now"][rows], sweeps, own, first=i == 0)
        arrays["now"][rows] = moved
        arrays["values"][rows, i] = system.observe(moved)
        work.cost.add((rows.stop - rows.start) * int(np.prod(shape)), float(sweeps))
    return xr.Dataset(
        {
            "observables": (
                ("chain", "sample", "observable"),
                arrays["values"],
                {"long_name": "macroscopic observables at equilibrium", "units": "1"},
            ),
            "number": ("chain", numbers),
        },
        coords={"observable": list(system.observable_names)},
    )
