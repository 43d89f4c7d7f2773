"""Kinetic Monte Carlo of vacancies in a bcc crystal: exact residence times, state by state.

A vacancy exchanges with one of its eight neighbours at the rate nu exp(-Eb / kT). Its time is the
system's: after each jump the rates of the vacancies whose surroundings have changed are made anew.

Source: Bortz, Kalos and Lebowitz, J. Comput. Phys. 17, 10 (1975), for rejection-free jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN, KINDS, RELU, BarrierModel
from macrodyn.systems.nbmota.crystal import DIRECTIONS
from macrodyn.systems.nbmota.flicker import LARGEST
from macrodyn.systems.nbmota.surroundings import SLOTS, evaluate, look
from macrodyn.systems.nbmota.walk import walk

_JUMPS = len(DIRECTIONS)


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What some walks did.

    Attributes:
        states: Where they ended, shaped like the states they began with.
        times: Time that passed, shape [batch].
        jumps: Number of jumps, shape [batch].
        chains: How many of the jumps left a chain of states, shape [batch]. What happened within
            one is no jump that is counted.
        evaluations: How often the eight barriers of a vacancy were computed, shape [batch].
        ended: `TIME`, `EVENTS` or `STUCK` (no jump is possible), shape [batch].
    """

    states: NDArray[np.uint8]
    times: NDArray[np.float64]
    jumps: NDArray[np.int64]
    chains: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    ended: NDArray[np.int64]


class Kinetics:
    """Walks of vacancies by the barriers of a model.

    Args:
        model: The barriers.
        frequency: Attempt frequency nu, per unit of time.
        cache: Whether rates of surroundings that were seen are kept. It changes no result.
        chain: Most states among which a vacancy that has just jumped to and fro is not followed
            jump by jump: when it leaves them, and from which of them, is drawn at once
            (`flicker.leave`). 0 for none, else 2 to 4. Times and states have the same
            distribution.

    Raises:
        ValueError: If a chain is of other lengths.
    """

    def __init__(
        self, model: BarrierModel, frequency: float, *, cache: bool = True, chain: int = 0
    ) -> None:
        if chain != 0 and not 2 <= chain <= LARGEST:
            raise ValueError(f"a chain has 0 or 2 to {LARGEST} states, not {chain}")
        self.model, self.frequency, self.cache, self.chain = model, frequency, cache, chain

    @cached_property
    def tables(self) -> tuple[NDArray, ...]:
        """Channel and cell of each site that is read, by the channel of the vacancy."""
        channel = np.arange(2)[:, None, None]
        position = channel + self.model.offsets[None]
        channels = position[..., 0] % 2
        cells = (position - channels[..., None]) // 2
        return channels.astype(np.int64), cells.astype(np.int64)

    @property
    def margin(self) -> int:
        """Cells around a vacancy's own that its barriers depend on."""
        return int(np.abs(self.tables[1]).max())

    def walk(
        self,
        states: NDArray[np.uint8],
        temperature: NDArray[np.float64] | float,
        seeds: Seeds,
        *,
        duration: float = math.inf,
        events: int | None = None,
        inside: tuple[slice, ...] | None = None,
    ) -> Walk:
        """Let vacancies walk until a time has passed, or a number of jumps.

        Args:
            states: Species of periodic blocks of cells, shape [batch, 2, *cells]; left unchanged.
            temperature: In K, of each state or of all.
            seeds: One stream per state, shape [batch].
            duration: Time after which walks end; the jump that would come later is not made.
            events: Jumps after which walks end; not with chains, in which jumps are not counted.
            inside: Cells that may change, along each axis; all by default. Vacancies stay inside,
                and those outside rest. The block then is a window, and must have a `margin` on each
                side, so that nothing is read across its ends.

        Returns:
            Where they ended, and when.

        Raises:
            ValueError: If neither ends the walks, if chains are to end after jumps, or a block or
                a margin is too narrow.
        """
        if self.chain and events is not None:
            raise ValueError("jumps within chains are not counted: let a duration end the walk")
        if not math.isfinite(duration) and events is None:
            raise ValueError("a walk needs a duration or a number of events")
        shape = states.shape[2:]
        low, high = np.zeros(3, np.int64), np.array(shape, np.int64)
        if inside is not None:
            for axis, part in enumerate(inside):
                low[axis], high[axis], _ = part.indices(shape[axis])
                if low[axis] < self.margin or high[axis] > shape[axis] - self.margin:
                    raise ValueError(
                        f"a window of {shape[axis]} cells needs {self.margin} beyond each end of "
                        f"what may change along axis {axis}"
                    )
        after = np.ascontiguousarray(states, dtype=np.uint8).copy()
        n = len(after)
        beta = 1.0 / (BOLTZMANN * np.broadcast_to(np.asarray(temperature, np.float64), (n,)))
        times = np.empty(n)
        jumps, evaluations, ended, chains = (np.empty(n, np.int64) for _ in range(4))
        tables = (*self.tables, self.model.jumpers, self._nets, self._adds)
        for i in range(n):
            times[i], jumps[i], evaluations[i], ended[i], chains[i] = walk(
                after[i],
                low,
                high,
                beta[i],
                self.frequency,
                duration,
                -1 if events is None else events,
                seeds[i],
                tables,
                self._memory if self.cache else self._no_memory,
                self.chain,
            )
        return Walk(
            states=after,
            times=times,
            jumps=jumps,
            chains=chains,
            evaluations=evaluations,
            ended=ended,
        )

    def barriers(self, states: NDArray[np.uint8], vacancies: NDArray[np.int64]) -> NDArray:
        """Barriers of the eight jumps of one vacancy of each state, by the kernel.

        Args:
            states: Shape [batch, 2, *cells].
            vacancies: Channel and cell of a vacancy of each, shape [batch, 4].

        Returns:
            In eV, shape [batch, 8]; infinite where the neighbour is a vacancy.
        """
        found = np.empty((len(states), _JUMPS), np.float64)
        channels, cells = self.tables
        around = np.empty(channels.shape[1], np.uint8)
        for i, (state, vacancy) in enumerate(zip(states, vacancies, strict=True)):
            look(state, vacancy, channels, cells, around)
            evaluate(around, self.model.jumpers, self._nets, self._adds, found[i])
        return found

    @cached_property
    def _nets(self) -> tuple[Any, ...]:
        model = self.model
        return (
            *_listed(model.rows),
            model.table,
            model.bias,
            # A product from the right reads rows.
            np.ascontiguousarray(model.weights.transpose(0, 2, 1)),
            model.biases,
            model.out,
            model.level,
            model.activation == RELU,
        )

    @cached_property
    def _adds(self) -> NDArray[np.float64]:
        """What a site adds to the barriers by itself, shape [n, species, 8 jumps of 4 species].

        Half the change of the energy and the lines of the saddle, for every species that may jump:
        a row is read for each site, and not a number for each site and jump. Sites at the end that
        add nothing are left out.
        """
        model = self.model
        places, change = model.changes
        found = np.zeros((len(model.offsets), KINDS, len(DIRECTIONS), KINDS))
        for d in range(len(DIRECTIONS)):
            used = places[d] >= 0
            found[used, :, d] += 0.5 * change[places[d, used]].transpose(0, 2, 1)
            if len(model.lines):
                used = model.rows[d] >= 0
                found[used, :, d] += model.lines[model.rows[d, used]].transpose(0, 2, 1)
        told = np.flatnonzero(found.any(axis=(1, 2, 3)))
        return found.reshape(len(found), KINDS, -1)[: told[-1] + 1 if told.size else 0]

    @cached_property
    def _memory(self) -> tuple[NDArray, NDArray]:
        return np.zeros(SLOTS, np.uint64), np.zeros((SLOTS, _JUMPS))

    @cached_property
    def _no_memory(self) -> tuple[NDArray, NDArray]:
        return np.zeros(0, np.uint64), np.zeros((0, _JUMPS))


def _listed(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which sites have a row for each jump, and which row: as many for every jump, [8, k] each."""
    sites = np.array([np.flatnonzero(row >= 0) for row in rows])
    return sites, np.take_along_axis(rows, sites, axis=1)
