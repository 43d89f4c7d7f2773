"""Large snapshots kept along one relaxation, which is a history of the large system in patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import relax_sweeps
from macrodyn.sampling.upsample import METHODS, Method
from macrodyn.streams import Seeds, generator, seeds
from macrodyn.systems import PatchSystem

# What of a sweep is rounding, as in the number of sweeps of a relaxation.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Large snapshots of an age, relaxed patch by patch and recorded on the way.

    The relaxation goes through sweeps of one length, whatever is recorded. A time between two of
    them is reached from the sweep before it by a shorter one that leads nowhere else, so that no
    record depends on which others there are.

    Attributes:
        start: Age of the small snapshots t0, in units of the system's time.
        after: Times of the records since then, increasing, >= 0; the record's age is their sum.
        sweep: Physical time of one pass over all patches.
    """

    start: float
    after: tuple[float, ...]
    sweep: float

    @property
    def name(self) -> str:
        """Names its random streams: by its start, so that other chains do not matter."""
        return f"{self.start:.15g}"

    def begin(
        self,
        system: PatchSystem,
        pools: NDArray,
        macrostates: NDArray[np.float64],
        shape: Shape,
        *,
        method: Method,
        number: int,
        seed: int,
        groups: Sequence[int],
    ) -> NDArray:
        """Make the large states that the relaxation begins with.

        From age 0 these are initial states of the large system itself, which are known: no small
        ones are needed for them.

        Args:
            system: The system, under the conditions of the groups.
            pools: Small states of the age, [group, member, channel, *small]; not used from age 0.
            macrostates: Initial macrostates of the groups, [group, component].
            shape: The large lattice.
            method: How larger states are put together.
            number: Large states of each group.
            seed: The study's seed.
            groups: Numbers of the groups, which name their streams.

        Returns:
            Shape [group, number, channel, *shape].
        """
        if self.start == 0:
            keys = np.concatenate(
                [seeds(seed, "chain-initial", group, index=number) for group in groups]
            )
            states = system.initial_states(np.repeat(macrostates, number, axis=0), shape, keys)
            return states.reshape(len(groups), number, *states.shape[1:])
        rngs = [generator(seed, "chain", group, self.name) for group in groups]
        made = [
            METHODS[method](pool, shape, number, rng, system.periodic)
            for pool, rng in zip(pools, rngs, strict=True)
        ]
        return np.stack(made)

    def keys(self, seed: int, groups: Sequence[int], number: int) -> Seeds:
        """Return the streams of the relaxation, of all large states, group by group."""
        parts = [seeds(seed, "relax-chain", g, self.name, index=number) for g in groups]
        return np.concatenate(parts)

    def advance(
        self,
        record: int,
        system: PatchSystem,
        states: NDArray,
        patch: PatchGeometry,
        keys: Seeds,
        cost: Cost,
    ) -> tuple[NDArray, NDArray]:
        """Go on from one record to the next.

        Args:
            record: Number of the record to reach.
            system: The system.
            states: States after the last whole sweep before the record before it, or those that
                the relaxation began with, [batch, channel, *lattice].
            patch: Geometry of the patches that are relaxed.
            keys: One stream per state.
            cost: Adds up what it costs.

        Returns:
            The states after the last whole sweep before this record, from which to go on, and the
            states at the record.
        """
        begin, _ = self._place(self.after[record - 1]) if record else (0, 0.0)
        end, rest = self._place(self.after[record])
        states = relax_sweeps(system, states, patch, range(begin, end), self.sweep, keys, cost)
        if rest == 0:
            return states, states
        beside = relax_sweeps(system, states, patch, range(end, end + 1), rest, keys, cost)
        return states, beside

    def _place(self, time: float) -> tuple[int, float]:
        """Return the whole sweeps before a time, and what is left of it then."""
        sweeps = int(np.floor(time / self.sweep + _ROUNDING))
        rest = time - sweeps * self.sweep
        return sweeps, rest if rest > _ROUNDING * self.sweep else 0.0
