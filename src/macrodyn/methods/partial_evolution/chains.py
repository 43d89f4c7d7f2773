"""Step 2 another way: large snapshots along relaxations, see `macrodyn.sampling.chain`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, upsampling_levels
from macrodyn.methods.partial_evolution.config import (
    UNUSED_BY_CHAINS,
    ChainConfig,
    PartialEvolutionRun,
    UpsampleConfig,
)
from macrodyn.methods.partial_evolution.samples import condition_names
from macrodyn.sampling.chain import Chain
from macrodyn.sampling.groups import by_condition
from macrodyn.sampling.work import Work
from macrodyn.systems import PatchSystem


def shown_record(chains: tuple[ChainConfig, ...]) -> tuple[int, int]:
    """Choose the chain and its record that the figure of snapshots shows: the middle ones."""
    chain = len(chains) // 2
    return chain, len(chains[chain].after) // 2


def upsample_chains(
    system: PatchSystem,
    source: xr.Dataset,
    config: dict[str, Any],
    shown: NDArray[np.int64],
    work: Work,
) -> dict[str, NDArray]:
    """Make large snapshots of every group at every record of every chain.

    Args:
        system: The system with its own parameters.
        source: Small snapshots of the groups.
        config: The stage's configuration.
        shown: Rows of the groups that are examples.
        work: Goes through the groups, and adds up what they cost.

    Returns:
        ``states`` [group, record, snapshot, channel, *large], the chains one after the other; and
        of one record ``level_0_relaxed`` [example, channel, *large] with the states that its chain
        began with, ``level_0_raw``.
    """
    settings = UpsampleConfig(**config["upsample"])
    groups, number, seed = source.group.values, settings.snapshots, config["seed"]
    large = tuple(config["large"])
    relaxation = settings.relaxation
    patch = PatchGeometry(tuple(config["patch"]), system.halo, boundary=relaxation.boundary)
    chains = [Chain(start=c.start, after=c.after, sweep=relaxation.sweep) for c in settings.chains]
    example = shown_record(settings.chains)
    records = [(c, i) for c, chain in enumerate(chains) for i in range(len(chain.after))]
    state = (system.channels, *large)
    arrays = {
        "states": np.empty((len(groups), len(records), number, *state), dtype=system.dtype),
        # States after the last whole sweep, from which the next record is reached.
        "now": np.empty((len(groups), number, *state), dtype=system.dtype),
        "level_0_raw": np.empty((len(shown), *state), dtype=system.dtype),
        "level_0_relaxed": np.empty((len(shown), *state), dtype=system.dtype),
    }
    parts = list(by_condition(system, condition_names(source), source.condition_values.values))
    segments = list(product(parts, enumerate(records)))
    for segment, block in work.blocks([len(rows) for (_, rows), _ in segments], arrays):
        (part, rows), (r, (c, i)) = segments[segment]
        rows, chain = rows[block], chains[c]
        names = [int(group) for group in groups[rows]]
        _, here, place = np.intersect1d(rows, shown, return_indices=True)
        if i == 0:
            arrays["now"][rows] = chain.begin(
                part,
                _pools(source, chain.start, rows),
                source.macrostate.values[rows],
                large,
                method=settings.method,
                number=number,
                seed=seed,
                groups=names,
            )
            if c == example[0]:
                arrays["level_0_raw"][place] = arrays["now"][rows[here], 0]
        flat = arrays["now"][rows].reshape(-1, *state)
        keys = chain.keys(seed, names, number)
        now, record = (
            states.reshape(len(rows), number, *state)
            for states in chain.advance(i, part, flat, patch, keys, work.cost)
        )
        arrays["now"][rows], arrays["states"][rows, r] = now, record
        if (c, i) == example:
            arrays["level_0_relaxed"][place] = record[here, 0]
    del arrays["now"]
    return arrays


def _pools(source: xr.Dataset, start: float, rows: NDArray[np.int64]) -> NDArray:
    """Small states of an age, [group, member, channel, *small]; none are needed from age 0."""
    if start == 0:
        return np.empty(0)
    (time,) = np.flatnonzero(source.time.values == start)
    return np.asarray(source.states.values[rows, time])


def relaxed_lattices(run: PartialEvolutionRun) -> list[Shape]:
    """Return the lattices that are relaxed patch by patch, each once."""
    upsample, trained = run.upsample, run.trained
    if upsample.chains:
        return list(trained) if any(chain.after[-1] > 0 for chain in upsample.chains) else []
    if upsample.relaxation.duration == 0:
        return []
    levels = (level for size in trained for level in upsampling_levels(run.sizes.small, size))
    return list(dict.fromkeys(levels))


def check_chains(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that chains begin where there are small snapshots, and go on in time."""
    known = run.simulate.times
    starts = [chain.start for chain in run.upsample.chains]
    for number, chain in enumerate(run.upsample.chains):
        key = f"upsample.chains.{number}"
        if chain.start not in (0, *known):
            yield (
                f"{key}.from",
                f"there are no small snapshots of {chain.start:g} to begin with: take one of "
                f"simulate.times ({', '.join(f'{time:g}' for time in known)}), or add it there",
            )
        if chain.start in starts[:number]:
            yield (
                f"{key}.from",
                f"another chain begins at {chain.start:g}: put the times of both into one",
            )
        if list(chain.after) != sorted(set(chain.after)):
            yield f"{key}.after", "must grow from entry to entry"


def unused_settings(run: PartialEvolutionRun) -> Iterator[str]:
    """Yield what is set and not used, as there are chains."""
    if not run.upsample.chains:
        return
    for name in UNUSED_BY_CHAINS:
        if name in run.upsample.relaxation.model_fields_set:
            yield (
                f"upsample.relaxation.{name} is not used: upsample.chains say how long snapshots "
                "are relaxed"
            )
    starts = {chain.start for chain in run.upsample.chains}
    idle = [time for time in run.simulate.times if time not in starts]
    if idle and "naive" not in run.baselines:
        yield (
            f"small snapshots of {', '.join(f'{time:g}' for time in idle)} (simulate.times) are "
            "not used: no chain of upsample.chains begins there, and there is no baseline naive"
        )
